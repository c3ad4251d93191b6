"""Gradient steps on ranking losses: a factorization machine that puts what was chosen above what was not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys import kernels
from recsys.errors import DataError
from recsys.models.fm.design import Design, Table
from recsys.models.fm.parameters import Parameters
from recsys.models.negatives import Negatives
from recsys.models.sgd import guarded

_BLOCK = 2048  # positives
_WORK = 2**28  # numbers read by a kernel call: a fraction of a second
_FIRST_SUM = 0.01  # of squared gradients: bounds the first steps, and the share of a vector the penalty takes at once
_WORSE_THAN_NONE = 10.0  # a mean loss this far above that of equal scores: the training diverges


def ranking_epochs(
    design: Design,
    users: NDArray[np.int32],
    user_items: sp.csr_matrix,
    sample_weight: NDArray[np.float32] | None,
    parameters: Parameters,
    *,
    item_block: int,
    loss: str,
    optimizer: str,
    learning_rate: float,
    regularization: float,
    weight_regularization: float,
    negatives: int,
    sampling: str,
    popularity_exponent: float,
    iterations: int,
    asynchronous: bool,
    threads: int,
    rng: np.random.Generator,
) -> Iterator[float]:
    """Train vectors and weights in place on samples that are all positives; yield the mean loss of each epoch.

    Each positive meets items the user does not have, in the same query, that is with the rows of all other blocks. The
    losses are those of `recsys.models.BPR`, with this for the score of item i to a query of vector sum P::

        <P, q_i> + sum_j x_j w_j + 1/2 (|q_i|^2 - sum_j x_j^2 |v_j|^2),    q_i = sum_j x_j v_j over the item's features

    which is y(x) up to what is alike for all items. So the bias, the weights of the query and interactions within the
    query do not move. Items nobody has are never drawn: what is not known of is not pushed down.

    Parameters
    ----------
    design : Design
        Of the positives; row i of block `item_block` is item i.
    users : ndarray of shape (n,), int32
        Rows of `user_items`.
    user_items : csr_matrix of shape (n_users, n_items)
        What each user has, with sorted indices: never drawn for that user.
    sample_weight : ndarray of shape (n,), float32, or None
        Multiplies the loss of each positive; what has weight 0 is not there.
    parameters : Parameters
        Without field weights; vectors and weights are updated.
    item_block : int
    loss : {"bpr", "warp", "softmax"}
    optimizer : {"sgd", "adagrad"}
        AdaGrad keeps one sum of squared gradients for each vector and weight.
    learning_rate, regularization, weight_regularization : float
        The penalties are on the vectors and weights a step touches.
    negatives : int
        Drawn for each positive; at most, with ``"warp"``, which ends with the first within the margin. There an item
        the user has is drawn anew only if it is within the margin; below it, it counts like any other. Where items
        have features besides an id, ``"warp"`` looks for its negative in a table of all q_i, ``4 (d + 1)`` bytes an
        item, that lags behind by the steps on other items, about as many as there are items at most; what it finds
        there counts only if it is within the margin by the q_i of that moment.
    sampling : {"uniform", "popularity", "in_batch"}
        Draw all items that somebody has alike, in proportion to ``count ** popularity_exponent``, or the items of
        other positives of the same block of 2048.
    popularity_exponent : float
    iterations : int
        Epochs, each one step for every positive.
    asynchronous : bool
        Train on all `threads` without locks (Recht et al. 2011, Hogwild): alike in quality, other numbers every time.
        Without it one thread trains, and the same `rng` gives the same bits.
    threads : int
    rng : numpy.random.Generator

    Raises
    ------
    DataError
        If users, items and weights do not fit the design, or a weight is negative or not finite.
    TrainingDivergedError
        If the numbers grow beyond all bounds, even with a learning rate halved several times.
    """
    _validate(design, users, user_items, sample_weight, item_block)
    positives = _Positives.of(design, users, user_items, sample_weight, item_block, rng)
    draws = _Draws.of(user_items, positives.items, sampling, popularity_exponent)
    sums = _first_sums(parameters) if optimizer == "adagrad" else []
    step = _Step(loss, negatives, regularization, weight_regularization, threads if asynchronous else 1)
    ceiling = _WORSE_THAN_NONE + {"bpr": math.log(2), "warp": 1.0, "softmax": math.log(1 + len(draws.items))}[loss]
    rate = learning_rate
    for _ in range(iterations):
        blocks = rng.permutation(-(-len(design) // _BLOCK)).astype(np.int32)
        key = int(rng.integers(2**63))
        descend = partial(step.epoch, design.table, positives, draws, parameters, sums, blocks, key)
        mean, rate = guarded([parameters.vectors, parameters.weights, *sums], descend, rate, ceiling=ceiling)
        if sums and parameters.squares is not None:
            parameters.squares[:] = np.stack(sums, axis=1)
        yield mean


def _first_sums(parameters: Parameters) -> list[NDArray[np.float32]]:
    """Return the sums of squared gradients of weights and of vectors to begin with."""
    known = np.zeros((len(parameters.weights), 2), np.float32) if parameters.squares is None else parameters.squares
    return [np.maximum(column, np.float32(_FIRST_SUM)) for column in known.T]


def _validate(
    design: Design,
    users: NDArray[np.int32],
    user_items: sp.csr_matrix,
    sample_weight: NDArray[np.float32] | None,
    item_block: int,
) -> None:
    """Raise `DataError` where the positives do not fit together."""
    n_users, n_items = user_items.shape
    if n_items != len(design.blocks[item_block]):
        raise DataError(f"user_items has {n_items:,} items, the item block {len(design.blocks[item_block]):,}")
    if len(users) != len(design) or (len(users) and not 0 <= users.min() <= users.max() < n_users):
        raise DataError(
            f"users must name one of the {n_users:,} rows of user_items for each of {len(design):,} samples"
        )
    if len(users) and not user_items.nnz:
        raise DataError("user_items is empty, but there are samples; it holds their items at least")
    if sample_weight is not None and not (
        len(sample_weight) == len(design) and np.isfinite(sample_weight).all() and (sample_weight >= 0).all()
    ):
        raise DataError("sample_weight must be finite and not negative, one for each sample", field="weight")


@dataclass(frozen=True, eq=False)
class _Positives:
    """The samples in random order, so that neighbours are not of one user; blocks of them are permuted every epoch."""

    users: NDArray[np.int32]
    query_rows: NDArray[np.int32]
    items: NDArray[np.int32]
    sample_weight: NDArray[np.float32] | None
    first_item: int  # row of the table
    user_indptr: NDArray[np.int64]
    user_items: NDArray[np.int32]
    user_bits: NDArray[np.uint16]
    entries: float  # of a row of an item, in the mean

    @classmethod
    def of(
        cls,
        design: Design,
        users: NDArray[np.int32],
        user_items: sp.csr_matrix,
        sample_weight: NDArray[np.float32] | None,
        item_block: int,
        rng: np.random.Generator,
    ) -> _Positives:
        order = rng.permutation(len(design))
        block = design.blocks[item_block]
        return cls(
            users[order],
            np.ascontiguousarray(np.delete(design.table_rows, item_block, axis=1)[order]),
            np.ascontiguousarray(design.parts[order, item_block]),
            None if sample_weight is None else sample_weight[order],
            int(design.first_rows[item_block]),
            user_items.indptr.astype(np.int64),
            user_items.indices.astype(np.int32, copy=False),
            user_bits(user_items.indptr, user_items.indices),
            len(block.features) / max(len(block), 1),
        )

    @property
    def total_weight(self) -> float:
        """Return what the sum of the loss is divided by."""
        weight = len(self.items) if self.sample_weight is None else float(self.sample_weight.sum(dtype=np.float64))
        return weight or 1.0

    def calls(self, blocks: NDArray[np.int32], negatives: int, width: int, n_items: int) -> Iterator[NDArray[np.int32]]:
        """Split an epoch into calls of the kernel, so that Ctrl-C is answered in between; a call may read all items."""
        each = max(n_items // _BLOCK, 1, int(_WORK / (_BLOCK * (negatives + 1) * (width + 8) * (self.entries + 1))))
        return (blocks[start : start + each] for start in range(0, len(blocks), each))


def user_bits(indptr: NDArray[np.integer], items: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Return sixteen bits for each item of a user, of which an item sets the one it hashes to (Bloom 1970)."""
    lengths = np.diff(indptr)
    hashed = (items.astype(np.uint32) * np.uint32(0x9E3779B1)).astype(np.uint64)
    bit = hashed * np.repeat(lengths, lengths).astype(np.uint64) >> np.uint64(28)
    place = np.repeat(indptr[:-1], lengths).astype(np.int64) + (bit >> np.uint64(4)).astype(np.int64)
    bits = np.zeros(len(items), np.uint16)
    np.bitwise_or.at(bits, place, np.uint16(1) << (bit & np.uint64(15)).astype(np.uint16))
    return bits


@dataclass(frozen=True, eq=False)
class _Draws:
    """The items that are drawn, as `Negatives` tells how, and the logarithm of the probability of each item."""

    items: NDArray[np.int32]
    threshold: NDArray[np.uint32] | None
    alias: NDArray[np.int32] | None
    log_q: NDArray[np.float32]
    in_batch: bool

    @classmethod
    def of(cls, user_items: sp.csr_matrix, positives: NDArray[np.int32], sampling: str, exponent: float) -> _Draws:
        n_items = user_items.shape[1]
        counts = np.bincount(user_items.indices, minlength=n_items).astype(np.float32)
        items = np.flatnonzero(counts).astype(np.int32)
        slots = Negatives.of(counts[items], exponent if sampling == "popularity" and len(items) else 0.0)
        log_q = np.zeros(n_items, np.float32)
        log_q[items] = slots.log_q
        if sampling == "in_batch":
            shares = np.bincount(positives, minlength=n_items) / max(len(positives), 1)
            log_q = np.log(shares, where=shares > 0, out=np.zeros(n_items)).astype(np.float32)
        return cls(items, slots.threshold, slots.alias, log_q, sampling == "in_batch")


@dataclass(frozen=True)
class _Step:
    """What a step does, but for its rate."""

    loss: str
    negatives: int
    regularization: float
    weight_regularization: float
    threads: int

    def epoch(
        self,
        table: Table,
        positives: _Positives,
        draws: _Draws,
        parameters: Parameters,
        sums: list[NDArray[np.float32]],
        blocks: NDArray[np.int32],
        key: int,
        rate: float,
    ) -> float:
        """Take one step for every positive of these blocks; return the mean loss."""
        weight_sums, vector_sums = sums or (None, None)
        total = 0.0
        for some in positives.calls(blocks, self.negatives, parameters.vectors.shape[1], len(draws.log_q)):
            total += kernels.fm_rank(
                positives.users,
                positives.query_rows,
                positives.items,
                positives.sample_weight,
                some,
                _BLOCK,
                table.indptr,
                table.features,
                table.values,
                positives.first_item,
                positives.user_indptr,
                positives.user_items,
                positives.user_bits,
                draws.items,
                draws.threshold,
                draws.alias,
                draws.log_q,
                draws.in_batch,
                self.loss,
                self.negatives,
                key,
                rate,
                self.regularization,
                self.weight_regularization,
                parameters.vectors,
                parameters.weights,
                vector_sums,
                weight_sums,
                self.threads,
            )
        return total / positives.total_weight
