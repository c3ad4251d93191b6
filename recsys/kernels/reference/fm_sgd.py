"""Readable numpy twin of the gradient steps of factorization machines: the same arguments, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STEEP = 30.0  # margins beyond which the logistic loss is a straight line


def fm_sgd(
    indptr: NDArray[np.int64],
    features: NDArray[np.int32],
    values: NDArray[np.float32] | None,
    rows: NDArray[np.int32],
    targets: NDArray[np.float32],
    sample_weight: NDArray[np.float32] | None,
    blocks: NDArray[np.int32],
    block_size: int,
    loss: str,
    limit: float,
    learning_rate: float,
    regularization: float,
    weight_regularization: float,
    bias: NDArray[np.float32],
    weights: NDArray[np.float32],
    vectors: NDArray[np.float32],
    threads: int,
    bias_state: NDArray[np.float32] | None = None,
    squares: NDArray[np.float32] | None = None,
    momentum: float = 0.0,
    step: int = 0,
    velocity: NDArray[np.float32] | None = None,
    weight_velocity: NDArray[np.float32] | None = None,
    touched: NDArray[np.int64] | None = None,
    field_of: NDArray[np.int32] | None = None,
    field_weights: NDArray[np.float32] | None = None,
    field_state: NDArray[np.float32] | None = None,
) -> float:
    """Gradient steps of a factorization machine on blocks of samples; return the sum of the loss.

    A sample of weight s is one step against the gradient of its part of the objective (Rendle 2010, Factorization
    machines; with field weights r, otherwise 1, Pan et al. 2018, Field-weighted factorization machines)::

        s [loss(y, target) + 1/2 sum_j (regularization |v_j|^2 + weight_regularization w_j^2)],  j its features
        y = w0 + sum_j w_j x_j + sum_{j<l} r_{f(j) f(l)} <v_j, v_l> x_j x_l
        S_f = sum of x_j v_j over the features of field f,  T_f = sum_g r_fg S_g
        dy/dw0 = 1,  dy/dw_j = x_j,  dy/dv_j = x_j (T_f(j) - r_ff x_j v_j)
        dy/dr_fg = <S_f, S_g>,  dy/dr_ff = 1/2 (|S_f|^2 - sum over f of x_j^2 |v_j|^2)

    The state that is given chooses the optimizer: none for steps of `learning_rate`; `squares` for AdaGrad (Duchi,
    Hazan and Singer 2011) with one sum for each vector; `velocity` for momentum.

    Parameters
    ----------
    indptr, features : int64 of shape (n_rows + 1,) and int32
        Rows of features, CSR; a sample has no feature twice.
    values : float32 of the length of `features`, or None
        None where all are 1.
    rows : ndarray of shape (n, parts), int32
        The rows that make up each sample.
    targets : ndarray of shape (n,), float32
        -1 or 1 for the logistic and the hinge loss.
    sample_weight : ndarray of shape (n,), float32, or None
    blocks : ndarray of int32
        Block b is the samples from ``b * block_size`` on; worked on in this order.
    block_size : int
    loss : {"squared", "logistic", "hinge"}
        ``1/2 (y - t)^2``, ``log(1 + exp(-t y))`` or ``max(0, 1 - t y)``.
    limit : float
        The derivative of the squared loss by y is held within +-limit.
    learning_rate, regularization, weight_regularization : float
    bias, weights, vectors : ndarray of shape (1,), (n_features,) and (n_features, d), float32
        w0, w and v, updated; d is a multiple of 8 and may be 0.
    threads : int
        With more than one, blocks are worked on at once without locks. Ignored here.
    bias_state : ndarray of shape (1,), float32, or None
        With AdaGrad and momentum: the sum of squared gradients, or the velocity, of w0; updated.
    squares : ndarray of shape (n_features, 2), float32, or None
        Sums of squared gradients, without the penalty, of w_j and of the whole of v_j; above 0, updated.
    momentum : float
        A velocity u moves ``u <- momentum u - (1 - momentum) learning_rate gradient`` in every step of any sample.
    step : int
        Number of the last step before these blocks; all blocks count as full.
    velocity, weight_velocity : float32 of the shapes of `vectors` and `weights`, or None
        Of v and w; updated.
    touched : int64 of the shape of `weights`, or None
        Number of the step up to which w_j and v_j have been moved; updated.
    field_of : ndarray of shape (n_features,), int32, or None
    field_weights : ndarray of shape (n_fields, n_fields), float32, or None
        r, symmetric.
    field_state : ndarray of shape (n_fields, n_fields), float32, or None
        As `bias_state`, where the row is at most the column. None where the field weights stay as they are; without an
        optimizer's state any array of this shape has them trained.
    """
    optimizer = _Optimizer(learning_rate, momentum, squares, velocity, weight_velocity, touched)
    state = np.zeros(1, np.float32) if bias_state is None else bias_state
    total = 0.0
    for number, place in _places(blocks, block_size, len(rows), step):
        entries = np.array([e for row in rows[place] for e in range(indptr[row], indptr[row + 1])], int)
        j = features[entries]
        x = np.ones(len(j)) if values is None else values[entries].astype(np.float64)
        optimizer.arrive(j, number, weights, vectors)
        v = vectors[j].astype(np.float64)
        one_field = np.zeros(len(j), int), np.ones((1, 1))
        field, r = (
            one_field if field_of is None or field_weights is None else (field_of[j], field_weights.astype(float))
        )
        s = np.zeros((len(r), v.shape[1]))
        np.add.at(s, field, x[:, None] * v)
        own = np.bincount(field, x**2 * (v**2).sum(axis=1), len(r))
        t = r @ s
        y = bias[0] + x @ weights[j] + 0.5 * ((s * t).sum() - np.diag(r) @ own)
        weight = 1.0 if sample_weight is None else float(sample_weight[place])
        value, slope = _LOSSES[loss](float(y), float(targets[place]), limit)
        total, slope = total + weight * value, weight * slope
        optimizer.scalar(bias, state, (0,), slope)
        by_v = slope * x[:, None] * (t[field] - (r[field, field] * x)[:, None] * v)
        optimizer.weights(j, weights, slope * x, weight * weight_regularization)
        optimizer.vectors(j, vectors, by_v, weight * regularization)
        if field_weights is not None and field_state is not None:
            by_r = s @ s.T - 0.5 * np.diag(np.diag(s @ s.T) + own)
            present = np.unique(field)
            for f, g in ((f, g) for f in present for g in present if f <= g):
                optimizer.scalar(field_weights, field_state, (f, g), slope * by_r[f, g])
                field_weights[g, f] = field_weights[f, g]
    return total


def _places(blocks: NDArray[np.int32], block_size: int, n: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the number of each step, and the sample it is taken on."""
    for at, block in enumerate(blocks):
        for k in range(min(block_size, n - block * block_size)):
            yield step + at * block_size + k + 1, int(block * block_size + k)


def _squared(y: float, target: float, limit: float) -> tuple[float, float]:
    return 0.5 * (y - target) ** 2, min(max(y - target, -limit), limit)


def _logistic(y: float, target: float, _limit: float) -> tuple[float, float]:
    margin = target * y
    odds = np.exp(-min(max(margin, -_STEEP), _STEEP))
    return np.log1p(odds) + max(-_STEEP - margin, 0), -target * odds / (1 + odds)


def _hinge(y: float, target: float, _limit: float) -> tuple[float, float]:
    margin = target * y
    return max(0.0, 1 - margin), -target if margin < 1 else 0.0


_LOSSES = {"squared": _squared, "logistic": _logistic, "hinge": _hinge}
"""The loss, and its derivative by y."""


@dataclass(frozen=True)
class _Optimizer:
    """What becomes of gradients: plain steps, AdaGrad where there are squares, momentum where there are velocities."""

    learning_rate: float
    momentum: float
    squares: NDArray[np.float32] | None
    velocity: NDArray[np.float32] | None
    weight_velocity: NDArray[np.float32] | None
    touched: NDArray[np.int64] | None

    def arrive(
        self, j: NDArray[np.int32], number: int, weights: NDArray[np.float32], vectors: NDArray[np.float32]
    ) -> None:
        """Make up for the steps without these features."""
        if self.velocity is None or self.weight_velocity is None or self.touched is None:
            return
        left = self.momentum ** np.maximum(number - 1 - self.touched[j], 0)
        moved = self.momentum * (1 - left) / (1 - self.momentum)
        self.touched[j] = number
        for table, velocity in ((weights.T, self.weight_velocity.T), (vectors.T, self.velocity.T)):
            table[..., j] += moved * velocity[..., j]
            velocity[..., j] *= left

    def scalar(
        self, table: NDArray[np.float32], state: NDArray[np.float32], at: tuple[int, ...], gradient: float
    ) -> None:
        """Move one number that every sample has a part in."""
        if self.squares is not None:
            state[at] += gradient**2
            table[at] -= self.learning_rate / np.sqrt(state[at]) * gradient
        elif self.velocity is not None:
            state[at] = self.momentum * state[at] - (1 - self.momentum) * self.learning_rate * gradient
            table[at] += state[at]
        else:
            table[at] -= self.learning_rate * gradient

    def weights(
        self, j: NDArray[np.int32], weights: NDArray[np.float32], gradient: NDArray[np.float64], penalty: float
    ) -> None:
        """Move w of the features of a sample."""
        squares = None if self.squares is None else self.squares[:, :1]
        velocity = None if self.weight_velocity is None else self.weight_velocity[:, None]
        self._move(j, weights[:, None], gradient[:, None], penalty, squares, velocity)

    def vectors(
        self, j: NDArray[np.int32], vectors: NDArray[np.float32], gradient: NDArray[np.float64], penalty: float
    ) -> None:
        """Move v of the features of a sample."""
        squares = None if self.squares is None else self.squares[:, 1:]
        self._move(j, vectors, gradient, penalty, squares, self.velocity)

    def _move(
        self,
        j: NDArray[np.int32],
        table: NDArray[np.float32],
        gradient: NDArray[np.float64],
        penalty: float,
        squares: NDArray[np.float32] | None,
        velocity: NDArray[np.float32] | None,
    ) -> None:
        direction = gradient + penalty * table[j]
        if squares is not None:
            squares[j] += (gradient**2).sum(axis=1, keepdims=True)
            table[j] -= self.learning_rate / np.sqrt(squares[j]) * direction
        elif velocity is not None:
            velocity[j] = self.momentum * velocity[j] - (1 - self.momentum) * self.learning_rate * direction
            table[j] += velocity[j]
        else:
            table[j] -= self.learning_rate * direction
