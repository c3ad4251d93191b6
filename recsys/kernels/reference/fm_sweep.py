"""Readable numpy twins of block coordinate descent for factorization machines, in float64 where the kernels use it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GROUP = 4


def fm_stream(
    q: NDArray[np.float32] | None,
    e: NDArray[np.float32],
    sample_weight: NDArray[np.float32] | None,
    moved: NDArray[np.int32] | None,
    moves: NDArray[np.float32] | None,
    rows: NDArray[np.int32] | None,
    sums: NDArray[np.float32] | None,
    statistics: NDArray[np.float64] | None,
    threads: int,
) -> None:
    """Let samples follow a block that has moved, and count them in the rows of the block that moves next.

    In a block b sample n has row r(n) with ``sums_r = sum_j x_rj v_j``; q_n is the sum over all blocks, and
    ``o_n = q_n - sums_r`` what the others add up to. With ``z_n = (1, o_n)`` the statistics of a row are::

        sum w_n z_n z_n',   sum w_n e_n z_n        over the samples n of the row

    They are all a feature of the block has to know of the samples (Rendle 2013, Scaling factorization machines to
    relational data).

    Parameters
    ----------
    q : ndarray of shape (n, 4), float32, or None
        Updated, for four factors. None for the linear part, where z is (1).
    e : ndarray of shape (n,), float32
        Residuals, target minus prediction; updated.
    sample_weight : ndarray of shape (n,), float32, or None
    moved : ndarray of shape (n,), int32, or None
        Row of each sample in the block that has moved.
    moves : ndarray of shape (n_moved, 8 or 1), float32
        By how much `sums` of that row has moved, and the part of the move of y that is the same for all its samples:
        ``y_n += moves_4 + moves_0..3 . q_n``. Of the linear part, the move of y.
    rows : ndarray of shape (n,), int32, or None
        Row of each sample in the block that moves next.
    sums : ndarray of shape (n_rows, 4), float32
    statistics : ndarray of shape (n_rows, 20 or 2), float64
        The lower triangle of ``sum w z z'`` by rows, then ``sum w e z``; added to.
    threads : int
        Results do not depend on it. Ignored here.
    """
    if moved is not None and moves is not None:
        move = moves[moved].astype(np.float64)
        if q is None:
            e -= move[:, 0]
        else:
            e -= move[:, _GROUP] + np.einsum("nk,nk->n", move[:, :_GROUP], q)
            q += move[:, :_GROUP]
    if rows is not None and statistics is not None:
        z = np.ones((len(e), 1))
        if q is not None and sums is not None:
            z = np.column_stack([z, q.astype(np.float64) - sums[rows]])
        w = np.ones(len(e)) if sample_weight is None else sample_weight.astype(np.float64)
        i, j = np.tril_indices(z.shape[1])
        np.add.at(statistics, rows, np.column_stack([z[:, i] * z[:, j], z * e[:, None]]) * w[:, None])


def fm_solve(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    values: NDArray[np.float32] | None,
    field_of: NDArray[np.int32],
    begin: int,
    end: int,
    noise_precision: float,
    precision: NDArray[np.float32],
    mean: NDArray[np.float32],
    noise: NDArray[np.float32] | None,
    factors: NDArray[np.float32],
    first: int,
    sums: NDArray[np.float32] | None,
    statistics: NDArray[np.float64],
    moves: NDArray[np.float32],
) -> None:
    """Move features of a block, one after the other, to the mode or to a draw of their conditional distribution.

    y is linear in the factors v of one feature: by ``h_n = x_r (o_n + c_r)``, ``c_r = sums_r - x_r v``, which is
    ``x_r T_r z_n`` with ``T_r = (c_r, 1)``. With a the precision of the noise, and that of the prior on the diagonal of
    L, v moves by ``P^-1 (a sum w e h + L (mean - v))``, ``P = a sum w h h' + L``, and for a draw by ``R^-1 noise``
    more, ``P = R' R``.

    Parameters
    ----------
    indptr, rows, values : int64 of shape (n_features + 1,), int32, float32 or None
        Rows of the block that have a feature, and its value there; None where all are 1.
    field_of : ndarray of shape (n_features,), int32
    begin, end : int
        Features to move.
    noise_precision : float
    precision, mean : ndarray of shape (n_fields, 4 or 1), float32
        Of the normal prior.
    noise : ndarray of shape (n_features, 4 or 1), float32, or None
        Standard normal; None for the mode.
    factors : ndarray of shape (n_features, width), float32
        Columns from `first` on are updated. Of the linear part the weights, one wide.
    first : int
    sums : ndarray of shape (n_rows, 4), float32, or None
        Updated. None for the linear part.
    statistics : ndarray of shape (n_rows, 20 or 2), float64
        As `fm_stream` leaves them; ``sum w e z`` is kept up to date.
    moves : ndarray of shape (n_rows, 8 or 1), float32
        Added to; as `fm_stream` takes them.
    """
    width = 1 if sums is None else 1 + _GROUP
    i, j = np.tril_indices(width)
    for feature in range(begin, end):
        entries = slice(indptr[feature], indptr[feature + 1])
        r = rows[entries]
        x = np.ones(len(r)) if values is None else values[entries].astype(np.float64)
        v = factors[feature, first : first + precision.shape[1]]
        zz = np.zeros((len(r), width, width))
        zz[:, i, j] = zz[:, j, i] = statistics[r, : len(i)]
        t = np.ones((len(r), 1, 1))
        if sums is not None:
            c = sums[r].astype(np.float64) - x[:, None] * v
            t = np.concatenate([c[:, :, None], np.broadcast_to(np.eye(_GROUP), (len(r), _GROUP, _GROUP))], axis=2)
        t *= x[:, None, None]
        prior = precision[field_of[feature]].astype(np.float64)
        p = noise_precision * np.einsum("riz,rzy,rjy->ij", t, zz, t) + np.diag(prior)
        b = noise_precision * np.einsum("riz,rz->i", t, statistics[r, len(i) :])
        b += prior * (mean[field_of[feature]].astype(np.float64) - v)
        after = (v + _step(p, b, None if noise is None else noise[feature].astype(np.float64))).astype(np.float32)
        step = after.astype(np.float64) - v
        m = np.einsum("i,riz->rz", step, t)  # y of the samples of a row moves by m . z
        statistics[r, len(i) :] -= np.einsum("rzy,ry->rz", zz, m)
        if sums is None:
            moves[r] += m
        else:
            start = sums[r].astype(np.float64) - moves[r, :_GROUP]
            moves[r, _GROUP] += m[:, 0] - np.einsum("rk,rk->r", m[:, 1:], start)
            moves[r, :_GROUP] += m[:, 1:]
            sums[r] += m[:, 1:].astype(np.float32)
        v[:] = after


def _step(p: NDArray[np.float64], b: NDArray[np.float64], noise: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Solve by Cholesky; a pivot that is rounding belongs to a direction nothing decides: no step along it."""
    lower, y = np.zeros_like(p), np.zeros_like(b)
    for i in range(len(b)):
        for k in range(i):
            lower[i, k] = (p[i, k] - lower[i, :k] @ lower[k, :k]) / lower[k, k] if lower[k, k] else 0.0
        pivot = p[i, i] - lower[i, :i] @ lower[i, :i]
        if pivot > 1e-6 * p[i, i]:
            lower[i, i] = np.sqrt(pivot)
            y[i] = (b[i] - lower[i, :i] @ y[:i]) / lower[i, i]
    if noise is not None:
        y = y + noise
    for i in reversed(range(len(b))):
        y[i] = (y[i] - lower[i + 1 :, i] @ y[i + 1 :]) / lower[i, i] if lower[i, i] else 0.0
    return y
