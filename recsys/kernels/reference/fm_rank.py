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
    step = _Step(learning_rate, regularization, weight_regularization, vectors, weights, vector_sums, weight_sums)
    table = _Table(indptr, features, values, first_item)
    pool = _Draws(items, block_size, None if in_batch else candidates, threshold, alias, negatives, key)
    screen = None if loss != "warp" or table.has_only_ids else _Screen(step, table, len(log_q), block_size)
    learner = _Learner(step, table, screen, loss, negatives, log_q, len(candidates))
    total = 0.0
    for number, block in enumerate(blocks):
        if screen:
            screen.renew(screen.parts[number % len(screen.parts)])
        places = [int(place) for place in np.arange(len(users))[block * block_size : (block + 1) * block_size]]
        queries = [[table.row(int(one)) for one in query_rows[place]] for place in places]
        below: list[NDArray[np.bool_] | None] = [None] * len(places)
        for now in range(-SCREENED_AHEAD, len(places)):
            later = now + SCREENED_AHEAD
            if screen and later < len(places):
                below[later] = screen.below(step.sum(queries[later]), pool.of(places[later]))
            if now < 0 or (sample_weight is not None and not sample_weight[places[now]]):
                continue
            weight = 1.0 if sample_weight is None else float(sample_weight[places[now]])
            has = user_items[user_indptr[users[places[now]]] : user_indptr[users[places[now]] + 1]]
            total += weight * learner.learn(queries[now], pool.of(places[now]), has, below[now], weight)
    return total


SCREENED_AHEAD = 2  # positives
"""How far ahead of its step the negatives of a positive are screened."""


@dataclass
class _Table:
    """Rows of features; those from `first_item` on are items."""

    indptr: NDArray[np.int64]
    features: NDArray[np.int32]
    values: NDArray[np.float32] | None
    first_item: int

    @property
    def has_only_ids(self) -> bool:
        return self.values is None and np.array_equal(self.indptr, np.arange(len(self.indptr)))

    def row(self, number: int) -> Row:
        entries = slice(self.indptr[number], self.indptr[number + 1])
        features = self.features[entries]
        return features, np.ones(len(features)) if self.values is None else self.values[entries].astype(np.float64)

    def item(self, number: int) -> Row:
        return self.row(self.first_item + int(number))


@dataclass
class _Draws:
    """The positive at a place and what is drawn for it; without candidates, items of its block."""

    items: NDArray[np.int32]
    block_size: int
    candidates: NDArray[np.int32] | None
    threshold: NDArray[np.uint32] | None
    alias: NDArray[np.int32] | None
    negatives: int
    key: int

    def of(self, place: int) -> NDArray[np.int32]:
        pool, by = self.candidates, (self.threshold, self.alias)
        if pool is None:
            first = place // self.block_size * self.block_size
            pool, by = self.items[first : first + self.block_size], (None, None)
        return np.append(self.items[place], pool[draws(self.key, place, self.negatives, len(pool), *by)]).astype(
            np.int32
        )


class _Screen:
    """The table of q_i and of scores to P = 0 that WARP looks for its negative in."""

    def __init__(self, step: _Step, table: _Table, n_items: int, block_size: int) -> None:
        self.step, self.table = step, table
        self.own = [step.own(table.item(i)) for i in range(n_items)]
        self.parts = np.split(np.arange(n_items), np.arange(block_size, n_items, block_size))

    def renew(self, items: NDArray[np.integer]) -> None:
        for i in items:
            self.own[i] = self.step.own(self.table.item(i))

    def below(self, p: NDArray[np.float64], drawn: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which negatives are below the margin of the positive, which comes first."""
        s = np.array([_score(p, *self.own[i]) for i in drawn])
        out: NDArray[np.bool_] = 1 - s[0] + s[1:] <= 0
        return out


@dataclass
class _Learner:
    """Makes the step of a positive."""

    step: _Step
    table: _Table
    screen: _Screen | None
    loss: str
    negatives: int
    log_q: NDArray[np.float32]
    n_candidates: int

    def learn(
        self,
        query: list[Row],
        drawn: NDArray[np.int32],
        has: NDArray[np.int32],
        below: NDArray[np.bool_] | None,
        weight: float,
    ) -> float:
        """Learn from a positive, the first of what was drawn; return its loss."""
        p = self.step.sum(query)
        s = np.array([_score(p, *self.step.own(self.table.item(i))) for i in drawn])
        free = ~np.isin(drawn[1:], has)
        if self.loss == "warp":
            below = 1 - s[0] + s[1:] <= 0 if below is None else below
            free |= below
            s[1:][below] = -np.inf
        found = np.append(0, 1 + np.flatnonzero(free)[: self.negatives])
        if len(found) == 1:
            return 0.0
        chosen, numbers = drawn[found], np.arange(len(found), dtype=np.int32)
        kept, c, value = LOSSES[self.loss](numbers, s[found], self.log_q[chosen], max(self.n_candidates, 2))
        if len(kept):
            self.step.move(p, query, [self.table.item(i) for i in chosen[kept]], weight * c)
        if self.screen:
            self.screen.renew(chosen[kept])
        return float(value)


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
