"""Readable numpy twin of the ranking losses: the same arguments, the same draws, the same answers up to rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Step = tuple[NDArray[np.int32], NDArray[np.float64], float]
"""What moves, positive first; the coefficient of each, minus the derivative of the loss by its score; the loss."""

_SCORE_LIMIT = 30.0  # of differences of scores: exp stays finite, and the gradient is 0 or 1 by then


def bpr_blocks(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    blocks: NDArray[np.int32],
    block_size: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    threshold: NDArray[np.uint32] | None,
    alias: NDArray[np.int32] | None,
    log_q: NDArray[np.float32],
    loss: str,
    negatives: int,
    key: int,
    learning_rate: float,
    regularization: float,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    bias: NDArray[np.float32],
    x_sum: NDArray[np.float32] | None,
    y_sum: NDArray[np.float32] | None,
    bias_sum: NDArray[np.float32] | None,
    threads: int,
) -> float:
    """Gradient steps of a ranking loss on blocks of positives; return the sum of the loss.

    With ``s_i = x_u . y_i + bias_i`` and c the coefficients of a positive and its negatives, one step is::

        x_u += rate (sum_i c_i y_i - regularization x_u)
        y_i += rate (c_i x_u - regularization y_i),  bias_i += rate (c_i - regularization bias_i)

    all from the values before. AdaGrad's sums grow by the squared length of the gradient without the penalty, and the
    rate of a row is ``learning_rate / sqrt(its sum)`` (Duchi, Hazan and Singer 2011, one sum a row).

    Parameters
    ----------
    users, items : ndarray of shape (n,), int32
        The positives.
    blocks : ndarray of int32
        Block b is the positives from ``b * block_size`` on; worked on in this order.
    block_size : int
    indptr, indices : int64 of shape (n_users + 1,) and int32
        Items of each user, CSR, ascending: never drawn for that user.
    threshold, alias : ndarray of shape (n_items,), uint32 and int32, or None
        Alias table of the distribution of draws; without it all items are alike.
    log_q : ndarray of shape (n_items,), float32
        Logarithm of that distribution.
    loss : {"bpr", "warp", "softmax"}
        As in `recsys.models.BPR`.
    negatives : int
        Drawn for each positive. A positive is skipped where no draw finds an item its user does not have.
    key : int
        Of the draws, which are a function of this and of the place of the positive; 64 bits.
    learning_rate, regularization : float
    x, y, bias : ndarray of shape (n_users, d), (n_items, d) and (n_items,), float32
        Updated; d is a multiple of 8.
    x_sum, y_sum, bias_sum : ndarray of shape (n_users,), (n_items,) and (n_items,), float32, or None
        AdaGrad's sums, above 0; updated. None for a rate that is `learning_rate` itself.
    threads : int
        With more than one, blocks are worked on at once without locks. Ignored here.
    """
    total = 0.0
    places = np.arange(len(users))
    for place in (int(p) for b in blocks for p in places[b * block_size : (b + 1) * block_size]):
        u = users[place]
        drawn = draws(key, place, negatives, len(y), threshold, alias)
        found = drawn[~np.isin(drawn, indices[indptr[u] : indptr[u + 1]])][:negatives]
        if not len(found):
            continue
        rows = np.append(items[place], found).astype(np.int32)
        s = y[rows].astype(np.float64) @ x[u] + bias[rows]
        rows, c, value = LOSSES[loss](rows, s, log_q[rows], len(y))
        total += value
        if len(rows):
            _step(u, rows, c, learning_rate, regularization, x, y, bias, x_sum, y_sum, bias_sum)
    return total


def draws(
    key: int,
    place: int,
    negatives: int,
    n_items: int,
    threshold: NDArray[np.uint32] | None,
    alias: NDArray[np.int32] | None,
) -> NDArray[np.int32]:
    """All draws of one positive, before the user's own items are taken out: splitmix64 (Steele, Lea and Flood 2014)."""
    count = 2 * negatives + 30
    z = np.uint64(key) + (np.uint64(place * count) + np.arange(count, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    slot = ((z >> np.uint64(32)) * np.uint64(n_items) >> np.uint64(32)).astype(np.int32)
    if threshold is None or alias is None:
        return slot
    return np.where(z.astype(np.uint32) < threshold[slot], slot, alias[slot])


def _bpr(rows: NDArray[np.int32], s: NDArray[np.float64], _log_q: NDArray[np.float32], _n_items: int) -> Step:
    """``-log sigmoid(s_i - s_j)`` with the highest negative."""
    j = 1 + int(np.argmax(s[1:]))
    e = np.exp(np.clip(s[j] - s[0], -_SCORE_LIMIT, _SCORE_LIMIT))
    return rows[[0, j]], np.array([1, -1]) * e / (1 + e), float(np.log(1 + e))


def _warp(rows: NDArray[np.int32], s: NDArray[np.float64], _log_q: NDArray[np.float32], n_items: int) -> Step:
    """``log(1 + rank) / log(n_items) (1 - s_i + s_j)`` with the first negative where that is above 0."""
    hinge = 1 - s[0] + s[1:]
    violating = np.flatnonzero(hinge > 0)
    if not len(violating):
        return rows[:0], s[:0], 0.0
    first = violating[0]
    weight = np.log(1 + (n_items - 1) // (first + 1)) / np.log(n_items)
    return rows[[0, first + 1]], np.array([weight, -weight]), float(weight * hinge[first])


def _softmax(rows: NDArray[np.int32], s: NDArray[np.float64], log_q: NDArray[np.float32], _n_items: int) -> Step:
    """``-log p_i``, p in proportion to ``exp(s)`` for the positive and ``exp(s) / (n q)`` for its n negatives."""
    corrected = s[1:] - s[0] - np.log(len(s) - 1) - log_q[1:]
    e = np.append(1, np.exp(np.clip(corrected, -_SCORE_LIMIT, _SCORE_LIMIT)))
    c = -e / e.sum()
    c[0] += 1
    return rows, c, float(np.log(e.sum()))


LOSSES = {"bpr": _bpr, "warp": _warp, "softmax": _softmax}


def _step(
    u: int,
    rows: NDArray[np.int32],
    c: NDArray[np.float64],
    learning_rate: float,
    regularization: float,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    bias: NDArray[np.float32],
    x_sum: NDArray[np.float32] | None,
    y_sum: NDArray[np.float32] | None,
    bias_sum: NDArray[np.float32] | None,
) -> None:
    """Move the user and the items; an item drawn twice moves twice, one after the other."""

    def rate(sums: NDArray[np.float32] | None, row: int, squared: float) -> float:
        if sums is None:
            return learning_rate
        sums[row] += squared
        return float(learning_rate / np.sqrt(sums[row]))

    of_user, gradient = x[u].astype(np.float64), np.zeros(x.shape[1])
    for row, weight in zip(rows, c, strict=True):
        gradient += weight * y[row]
        bias[row] += rate(bias_sum, row, weight**2) * (weight - regularization * bias[row])
        y[row] += rate(y_sum, row, float(weight**2 * (of_user @ of_user))) * (
            weight * of_user - regularization * y[row]
        )
    x[u] += rate(x_sum, u, float(gradient @ gradient)) * (gradient - regularization * of_user)
