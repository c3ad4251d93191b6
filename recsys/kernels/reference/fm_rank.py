"""Readable numpy twin of the ranking losses of factorization machines: the same arguments, draws and answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.reference.bpr import LOSSES, draws

Row = tuple[NDArray[np.int32], NDArray[np.float64]]
"""Features of a row of the table, and their values x."""


def fm_rank(
    users: NDArray[np.int32],
    query_rows: NDArray[np.int32],
    items: NDArray[np.int32],
    sample_weight: NDArray[np.float32] | None,
    blocks: NDArray[np.int32],
    block_size: int,
    indptr: NDArray[np.int64],
    features: NDArray[np.int32],
    values: NDArray[np.float32] | None,
    first_item: int,
    user_indptr: NDArray[np.int64],
    user_items: NDArray[np.int32],
    user_bits: NDArray[np.uint16],
    candidates: NDArray[np.int32],
    threshold: NDArray[np.uint32] | None,
    alias: NDArray[np.int32] | None,
    log_q: NDArray[np.float32],
    in_batch: bool,
    loss: str,
    negatives: int,
    key: int,
    learning_rate: float,
    regularization: float,
    weight_regularization: float,
    vectors: NDArray[np.float32],
    weights: NDArray[np.float32],
    vector_sums: NDArray[np.float32] | None,
    weight_sums: NDArray[np.float32] | None,
    threads: int,
) -> float:
    """Gradient steps of a ranking loss of a factorization machine on blocks of positives; return the sum of the loss.

    With ``P = sum_j x_j v_j`` over the features of the query and ``q_i`` the same sum over those of item i, the part of
    the prediction that differs between items is::

        s_i = <P, q_i> + sum_j x_j w_j + 1/2 (|q_i|^2 - sum_j x_j^2 |v_j|^2)        j over the features of item i

    and, with c the coefficients of a positive and its negatives, one step is::

        v_j += rate (c_i x_j (P + q_i - x_j v_j) - regularization v_j)       for the features of every item i, then
        v_j += rate (x_j sum_i c_i q_i - regularization v_j)                 for those of the query,
        w_j += rate (c_i x_j - weight_regularization w_j)                    for the features of every item i

    with P, q and c from before the step. A feature of several of these items moves once for each, one after the other,
    and its own share of q, ``x_j v_j``, is what it is by then.
    WARP on items that are more than ids finds its negative by a table of q_i and of the score to ``P = 0``: the first
    draw that it puts within the margin, that the user does not have, and that is within the margin by the formula too.
    The table is made at the beginning of a call; rows of the two items a step moves are renewed after it, and one in
    ``n_items / block_size`` parts of all rows before each block. A search runs two positives ahead of its step.
    AdaGrad's sums grow by the squared length of the gradient without the penalty, and the rate of a feature is
    ``learning_rate / sqrt(its sum)`` (Duchi, Hazan and Singer 2011, one sum a vector).

    Parameters
    ----------
    users, items : ndarray of shape (n,), int32
        The positives.
    query_rows : ndarray of shape (n, n_query), int32
        Rows of the table that together are the query of each positive.
    sample_weight : ndarray of shape (n,), float32, or None
        Multiplies loss and coefficients; what has weight 0 is not there.
    blocks : ndarray of int32
        Block b is the positives from ``b * block_size`` on; worked on in this order.
    block_size : int
    indptr, features, values : int64 of shape (n_rows + 1,), int32, and float32 or None
        The table: features of each row, CSR, distinct within a row, and their values, None where all are 1.
    first_item : int
        Item i is row ``first_item + i`` of the table.
    user_indptr, user_items : int64 of shape (n_users + 1,) and int32
        Items of each user, CSR, ascending: never drawn for that user.
    user_bits : ndarray of shape (len(user_items),), uint16
        Sixteen bits for each of them, of which every item sets the one it hashes to (`recsys.models.fm.ranking`); the
        kernel looks there first. Ignored here.
    candidates : ndarray of shape (n_candidates,), int32
        The items that can be drawn.
    threshold, alias : ndarray of shape (n_candidates,), uint32 and int32, or None
        Alias table of the distribution of draws; without it all candidates are alike.
    log_q : ndarray of shape (n_items,), float32
        Logarithm of that distribution.
    in_batch : bool
        Draw the item of a positive of the same block instead.
    loss : {"bpr", "warp", "softmax"}
        As in `recsys.models.BPR`, with the number of candidates, 2 at least, for that of items.
    negatives : int
        Drawn for each positive. Items its user has are drawn anew; with ``"warp"``, only where they are within the
        margin: what is below it costs nothing to anybody, and is counted without a look at what the user has. A
        positive is skipped where no draw counts.
    key : int
        Of the draws, which are a function of this and of the place of the positive; 64 bits.
    learning_rate, regularization, weight_regularization : float
    vectors, weights : ndarray of shape (n_features, d) and (n_features,), float32
        Updated; d is a multiple of 8.
    vector_sums, weight_sums : ndarray of shape (n_features,), float32, or None
        AdaGrad's sums, above 0; updated. None for a rate that is `learning_rate` itself.
    threads : int
        With more than one, blocks are worked on at once without locks. Ignored here.
    """

    def row(number: int) -> Row:
        entries = slice(indptr[number], indptr[number + 1])
        x = np.ones(len(features[entries])) if values is None else values[entries].astype(np.float64)
        return features[entries], x

    def item(number: int) -> Row:
        return row(first_item + int(number))

    def query(place: int) -> list[Row]:
        return [row(int(number)) for number in query_rows[place]]

    def candidates_of(place: int) -> NDArray[np.int32]:
        first = place // block_size * block_size
        pool = items[first : first + block_size] if in_batch else candidates
        drawn = draws(key, place, negatives, len(pool), *((None, None) if in_batch else (threshold, alias)))
        return np.append(items[place], pool[drawn]).astype(np.int32)

    def below(place: int) -> NDArray[np.bool_]:
        """Which negatives the table puts below the margin."""
        p = step.sum(query(place))
        s = np.array([_score(p, *table[i]) for i in candidates_of(place)])
        out: NDArray[np.bool_] = 1 - s[0] + s[1:] <= 0
        return out

    def learn(place: int, screened_out: NDArray[np.bool_] | None) -> float:
        chosen, p = candidates_of(place), step.sum(query(place))
        s = np.array([_score(p, *step.own(item(i))) for i in chosen])
        free = ~np.isin(chosen[1:], user_items[user_indptr[users[place]] : user_indptr[users[place] + 1]])
        if loss == "warp":
            out = 1 - s[0] + s[1:] <= 0 if screened_out is None else screened_out
            free |= out
            s[1:][out] = -np.inf
        weight = 1.0 if sample_weight is None else float(sample_weight[place])
        found = np.append(0, 1 + np.flatnonzero(free)[:negatives])
        if len(found) == 1 or not weight:
            return 0.0
        chosen, s = chosen[found], s[found]
        kept, c, value = LOSSES[loss](np.arange(len(chosen), dtype=np.int32), s, log_q[chosen], max(len(candidates), 2))
        if len(kept):
            step.move(p, query(place), [item(i) for i in chosen[kept]], weight * c)
        for i in chosen[kept] if screens else []:
            table[i] = step.own(item(i))
        return weight * value

    step = _Step(learning_rate, regularization, weight_regularization, vectors, weights, vector_sums, weight_sums)
    screens = loss == "warp" and not (values is None and np.array_equal(indptr, np.arange(len(indptr))))
    n_items, total = len(log_q), 0.0
    table = [step.own(item(i)) for i in range(n_items)] if screens else []
    parts = np.split(np.arange(n_items), np.arange(block_size, n_items, block_size))
    for number, block in enumerate(blocks):
        for i in parts[number % len(parts)] if screens else []:
            table[i] = step.own(item(i))
        places = [int(place) for place in np.arange(len(users))[block * block_size : (block + 1) * block_size]]
        ahead: list[NDArray[np.bool_] | None] = []
        for now in range(-SCREENED_AHEAD, len(places)):
            if now + SCREENED_AHEAD < len(places):
                ahead.append(below(places[now + SCREENED_AHEAD]) if screens else None)
            if now >= 0:
                total += learn(places[now], ahead[now])
    return total


SCREENED_AHEAD = 2  # positives
"""How far ahead of its step the negatives of a positive are screened."""


def _score(p: NDArray[np.float64], q: NDArray[np.float64], own: float) -> float:
    return float(p @ q + own)


@dataclass
class _Step:
    """Score items, and move what they and the query are made of."""

    learning_rate: float
    regularization: float
    weight_regularization: float
    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]
    vector_sums: NDArray[np.float32] | None
    weight_sums: NDArray[np.float32] | None

    def sum(self, rows: list[Row]) -> NDArray[np.float64]:
        return sum((x @ self.vectors[f] for f, x in rows), np.zeros(self.vectors.shape[1]))

    def own(self, item: Row) -> tuple[NDArray[np.float64], float]:
        """Return q_i, and the score of item i to P = 0."""
        f, x = item
        xv = x[:, None] * self.vectors[f]
        q = xv.sum(axis=0)
        return q, float(x @ self.weights[f] + 0.5 * (q @ q - (xv**2).sum()))

    def move(self, p: NDArray[np.float64], query: list[Row], items: list[Row], c: NDArray[np.float64]) -> None:
        q = [x @ self.vectors[f] for f, x in items]
        of_query = sum((weight * one for weight, one in zip(c, q, strict=True)), np.zeros(len(p)))
        for (features, values), weight, one in zip(items, c, q, strict=True):
            for f, x in zip(features, values, strict=True):
                self._move_weight(f, weight * x)
                others = one - x * self.vectors[f] if len(features) > 1 else 0
                self._move_vector(f, weight * x * (p + others))
        for features, values in query:
            for f, x in zip(features, values, strict=True):
                self._move_vector(f, x * of_query)

    def _move_weight(self, f: int, gradient: float) -> None:
        rate = self._rate(self.weight_sums, f, gradient**2)
        self.weights[f] += rate * (gradient - self.weight_regularization * self.weights[f])

    def _move_vector(self, f: int, gradient: NDArray[np.float64]) -> None:
        rate = self._rate(self.vector_sums, f, float(gradient @ gradient))
        self.vectors[f] += rate * (gradient - self.regularization * self.vectors[f])

    def _rate(self, sums: NDArray[np.float32] | None, f: int, squared: float) -> float:
        if sums is None:
            return self.learning_rate
        sums[f] += squared
        return float(self.learning_rate / np.sqrt(sums[f]))
