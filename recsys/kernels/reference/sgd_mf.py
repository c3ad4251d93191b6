"""Steps of biased matrix factorization, written down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sgd_mf(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    ratings: NDArray[np.float32],
    starts: NDArray[np.int64],
    order: NDArray[np.int32],
    learning_rate: float,
    bias_rate: float,
    regularization: float,
    limit: float,
    user_factors: NDArray[np.float32],
    item_factors: NDArray[np.float32],
    user_bias: NDArray[np.float32],
    item_bias: NDArray[np.float32],
    loss: NDArray[np.float64],
    asynchronous: bool,
    threads: int,
    user_squares: NDArray[np.float32] | None = None,
    item_squares: NDArray[np.float32] | None = None,
    momentum: float = 0.0,
    steps: NDArray[np.int64] | None = None,
    user_velocity: NDArray[np.float32] | None = None,
    item_velocity: NDArray[np.float32] | None = None,
    user_bias_velocity: NDArray[np.float32] | None = None,
    item_bias_velocity: NDArray[np.float32] | None = None,
    user_touched: NDArray[np.int64] | None = None,
    item_touched: NDArray[np.int64] | None = None,
) -> None:
    """Gradient steps of biased matrix factorization (Koren, Bell and Volinsky 2009), one on each rating of the blocks.

    With ``e = r - (b_u + b_i + p_u.q_i)``, held within ``+-limit``, a step goes along minus the gradient of
    ``1/2 [e^2 + regularization (|p_u|^2 + b_u^2 + |q_i|^2 + b_i^2)]``: of the factors by `learning_rate`, of the biases
    by `bias_rate` times that. The state that is given says how: squares, AdaGrad (Duchi, Hazan and Singer 2011) with
    one sum for the factors of a row; velocities, momentum, ``v <- momentum v + (1 - momentum) rate g; x <- x + v`` in
    every step and for every row, made up for when a row is next needed; none, plainly.

    Parameters
    ----------
    users, items : ndarray of shape (n,), int32
        Rows of each rating, sorted by block.
    ratings : ndarray of shape (n,), float32
    starts : ndarray of shape (n_blocks + 1,), int64
        First rating of each block.
    order : ndarray of shape (n_strata, n_parallel), int32
        Blocks to work on; those of one row share no user and no item.
    learning_rate, bias_rate, regularization, limit : float
    user_factors, item_factors : ndarray of shape (n_users, d) and (n_items, d), float32
        Changed; d is a multiple of 8.
    user_bias, item_bias : ndarray of shape (n_users,) and (n_items,), float32
        Changed.
    loss : ndarray of shape (n_blocks,), float64
        Written for the blocks of `order`: sum of e^2, each e before its own step and not held back.
    asynchronous : bool
        Threads do not wait for each other at the end of a row of `order`. Ignored here.
    threads : int
        Ignored here.
    user_squares, item_squares : ndarray of shape (n_users, 2) and (n_items, 2), float32, or None
        Changed: summed squared gradients, mean over the factors, and of the bias.
    momentum : float
    steps : ndarray of shape (n_strata, n_parallel), int64, or None
        Number of the last step before each block of `order`.
    user_velocity, item_velocity : ndarray of shape (n_users, d) and (n_items, d), float32, or None
    user_bias_velocity, item_bias_velocity : ndarray of shape (n_users,) and (n_items,), float32, or None
        Changed: what the last step added.
    user_touched, item_touched : ndarray of shape (n_users,) and (n_items,), int64, or None
        Changed: number of the row's last step.
    """
    of_user = _SgdSide(user_factors, user_bias, user_squares, user_velocity, user_bias_velocity, user_touched)
    of_item = _SgdSide(item_factors, item_bias, item_squares, item_velocity, item_bias_velocity, item_touched)
    for at, block in enumerate(order.ravel()):
        loss[block] = 0
        for rating in range(starts[block], starts[block + 1]):
            u, i = users[rating], items[rating]
            if steps is not None:
                step = int(steps.flat[at] + rating - starts[block] + 1)
                of_user.catch_up(u, step, momentum)
                of_item.catch_up(i, step, momentum)
            p, q = user_factors[u].astype(np.float64), item_factors[i].astype(np.float64)
            e = float(ratings[rating] - (user_bias[u] + item_bias[i] + p @ q))
            loss[block] += e * e
            e = min(max(e, -limit), limit)
            for side, row, own, other in ((of_user, u, p, q), (of_item, i, q, p)):
                gradient = e * other - regularization * own
                of_bias = e - regularization * float(side.bias[row])
                side.step(row, gradient, of_bias, learning_rate, bias_rate, momentum)


class _SgdSide:
    """Users or items of `sgd_mf`, and how their rows move."""

    def __init__(
        self,
        factors: NDArray[np.float32],
        bias: NDArray[np.float32],
        squares: NDArray[np.float32] | None,
        velocity: NDArray[np.float32] | None,
        bias_velocity: NDArray[np.float32] | None,
        touched: NDArray[np.int64] | None,
    ) -> None:
        self.factors, self.bias, self.squares = factors, bias, squares
        self.momentum = None if touched is None or velocity is None or bias_velocity is None else (
            velocity, bias_velocity, touched
        )  # fmt: skip

    def catch_up(self, row: int, step: int, momentum: float) -> None:
        """Make up for the steps since the row's last one, in which its gradient was 0."""
        assert self.momentum is not None
        velocity, bias_velocity, touched = self.momentum
        left = momentum ** max(step - 1 - int(touched[row]), 0)
        moved = momentum * (1 - left) / (1 - momentum)  # momentum + ... + momentum^missed
        touched[row] = step
        self.factors[row] += moved * velocity[row]
        self.bias[row] += moved * bias_velocity[row]
        velocity[row] *= left
        bias_velocity[row] *= left

    def step(
        self, row: int, gradient: NDArray[np.float64], of_bias: float, rate: float, bias_rate: float, momentum: float
    ) -> None:
        """Move a row and its bias along the given directions."""
        rates = np.array([rate, rate])
        if self.squares is not None:
            self.squares[row] += (gradient @ gradient / len(gradient), of_bias**2)
            rates = rate / np.sqrt(np.maximum(self.squares[row], np.finfo(np.float32).tiny), dtype=np.float64)
        move, of_bias = rates[0] * gradient, rates[1] * bias_rate * of_bias
        if self.momentum is not None:
            velocity, bias_velocity, _ = self.momentum
            velocity[row] = move = momentum * velocity[row] + (1 - momentum) * move
            bias_velocity[row] = of_bias = momentum * bias_velocity[row] + (1 - momentum) * of_bias
        self.factors[row] += move
        self.bias[row] += of_bias
