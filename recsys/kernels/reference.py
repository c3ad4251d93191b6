"""Readable numpy twins of the compiled kernels: the same arguments, the same answers.

Scores may differ from the compiled ones in the last bits, where the order of summation shows; on numbers whose
products and sums are exact in float32 the lists are equal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def instruction_set() -> str:
    """Name of the instruction set in use."""
    return "numpy"


def instruction_sets() -> list[str]:
    """Names of the instruction sets this machine supports, best first."""
    return ["numpy"]


def search(
    queries: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    item_bias: NDArray[np.float32] | None,
    item_scale: NDArray[np.float32] | None,
    exclude_indptr: NDArray[np.int64] | None,
    exclude_rows: NDArray[np.int32] | None,
    allowed: NDArray[np.uint8] | None,
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    threads: int,
) -> None:
    """Exact top-k of ``queries @ item_vectors.T * item_scale + item_bias``, written to `rows` and `scores`.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, d), float32
    item_vectors : ndarray of shape (n_items, d), float32
    item_bias, item_scale : ndarray of shape (n_items,), float32, or None
    exclude_indptr, exclude_rows : int64 of shape (n_queries + 1,) and int32, or None
        ``exclude_rows[exclude_indptr[q]:exclude_indptr[q + 1]]`` are the items query q may not get, ascending.
    allowed : ndarray of shape (ceil(n_items / 8),), uint8, or None
        One bit an item, least significant first: items any query may get.
    rows, scores : ndarray of shape (n_queries, k), int32 and float32
        Written: best first, ties by ascending row, padded with -1 and -inf.
    threads : int
        Ignored here.
    """
    for q in range(0, len(queries), 64):  # bounded memory: 64 rows of scores at a time
        block = queries[q : q + 64] @ item_vectors.T
        if item_scale is not None:
            block *= item_scale
        if item_bias is not None:
            block += item_bias
        indptr = None if exclude_indptr is None else exclude_indptr[q : q + len(block) + 1]
        select(block, indptr, exclude_rows, allowed, rows[q : q + 64], scores[q : q + 64], threads)


def select(
    scores: NDArray[np.float32],
    exclude_indptr: NDArray[np.int64] | None,
    exclude_rows: NDArray[np.int32] | None,
    allowed: NDArray[np.uint8] | None,
    rows: NDArray[np.int32],
    out_scores: NDArray[np.float32],
    threads: int,
) -> None:
    """Exact top-k of given scores; arguments as in `search`."""
    n_items, k = scores.shape[1], rows.shape[1]
    for q, of_query in enumerate(scores):
        free = (
            np.ones(n_items, bool) if allowed is None else np.unpackbits(allowed, count=n_items, bitorder="little") > 0
        )
        if exclude_indptr is not None and exclude_rows is not None:
            excluded = exclude_rows[exclude_indptr[q] : exclude_indptr[q + 1]]
            free[excluded[(excluded >= 0) & (excluded < n_items)]] = False
        candidates = np.flatnonzero(free & ~np.isnan(of_query))
        best = candidates[np.lexsort((candidates, -of_query[candidates]))[:k]]
        rows[q, : len(best)], rows[q, len(best) :] = best, -1
        out_scores[q, : len(best)], out_scores[q, len(best) :] = of_query[best], -np.inf


def als_cg(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    weights: NDArray[np.float32] | None,
    weight: float,
    shift: float,
    factors: NDArray[np.float32],
    dense: NDArray[np.float32],
    penalty: NDArray[np.float32],
    order: NDArray[np.int32],
    steps: int,
    relaxation: float,
    x: NDArray[np.float32],
    loss: NDArray[np.float64],
    threads: int,
) -> None:
    """Preconditioned conjugate gradients on rows of implicit ALS (Takacs, Pilaszy and Tikk 2011), from `x` on.

    With ``s_j = x . y_j`` over the row's columns and ``D = dense + penalty_u`` on the diagonal, row u minimises
    ``f(x) = sum_j [c_j (1 - s_j)^2 + shift (1 - 2 s_j)] + x' D x``. D is the preconditioner.

    Parameters
    ----------
    indptr, indices : int64 of shape (n_rows + 1,) and int32 of shape (nnz,)
        Columns of each row, CSR.
    weights : ndarray of shape (nnz,), float32, or None
        c of each entry; all are `weight` without them.
    weight, shift : float
    factors : ndarray of shape (n_columns, d), float32
        In the eigenbasis of their Gram matrix; d is a multiple of 8.
    dense : ndarray of shape (d,), float32
        Eigenvalues times the weight of unobserved entries.
    penalty : ndarray of shape (n_rows,), float32
    order : ndarray of int32
        Rows to solve, each at most once, in the order in which to work on them.
    steps : int
    relaxation : float
        Factor on the way from the start to the solution.
    x : ndarray of shape (n_rows, d), float32
        Start; overwritten by the solution. Rows without entries become zero.
    loss : ndarray of shape (n_rows,), float64
        Written: f at the solution.
    threads : int
        Ignored here.
    """
    for u in order:
        y, c = _row(u, indptr, indices, weights, weight, factors)
        start = x[u].astype(np.float64) if len(c) else np.zeros(x.shape[1])
        diagonal = dense.astype(np.float64) + penalty[u]
        s = y @ start
        value = (c * (1 - s) ** 2 + shift * (1 - 2 * s)).sum() + start @ (diagonal * start)
        r = y.T @ (c * (1 - s) + shift) - diagonal * start  # b - A x
        moved, gained = np.zeros_like(start), 0.0
        z = r / diagonal
        p, rz = z, r @ z
        solved = max(1e-14 * rz, 1e-30)  # beyond it, steps would work on rounding errors
        for _ in range(steps):
            q = diagonal * p + y.T @ (c * (y @ p))  # A p
            if rz <= solved or p @ q <= 0:
                break
            length = rz / (p @ q)
            moved, r, gained = moved + length * p, r - length * q, gained + length * rz
            z = r / diagonal
            p, rz = z + (r @ z) / rz * p, r @ z
        x[u] = start + relaxation * moved
        # Along the line from start to solution f falls by w (2 - w) times what it gains at w = 1.
        loss[u] = value - relaxation * (2 - relaxation) * gained


def als_exact(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    weights: NDArray[np.float32] | None,
    weight: float,
    shift: float,
    factors: NDArray[np.float32],
    dense: NDArray[np.float32],
    penalty: NDArray[np.float32],
    order: NDArray[np.int32],
    x: NDArray[np.float32],
    loss: NDArray[np.float64],
    threads: int,
) -> None:
    """Exact solution of rows of implicit ALS; arguments as in `als_cg`."""
    for u in order:
        y, c = _row(u, indptr, indices, weights, weight, factors)
        system = np.diag(dense.astype(np.float64) + penalty[u]) + y.T @ (c[:, None] * y)
        b = y.T @ (c + shift)
        solution = np.linalg.lstsq(system, b, rcond=None)[0]
        x[u], loss[u] = solution, (c + shift).sum() - b @ solution


def _row(
    u: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    weights: NDArray[np.float32] | None,
    weight: float,
    factors: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors and confidences of one row's entries, in double precision."""
    entries = slice(indptr[u], indptr[u + 1])
    y = factors[indices[entries]].astype(np.float64)
    return y, np.full(len(y), weight) if weights is None else weights[entries].astype(np.float64)


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
