"""Epochs of ranking losses: what stands between the compiled gradient steps and the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys import kernels
from recsys.models.negatives import Negatives

_BLOCK = 2048  # positives
_LANES = 8
_WORK = 2**28  # rows of a kernel call times their width: a fraction of a second
_LINE = 16  # floats
_FIRST_SUM = 0.01  # of squared gradients: bounds the first steps, and the share of a vector the penalty takes at once


Sums = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]] | tuple[None, None, None]
"""AdaGrad's sums of squared gradients, one a row: of user vectors, item vectors and item biases."""


@dataclass(frozen=True, eq=False)
class Positives:
    """The observed pairs in random order, and the items of each user.

    They are shuffled once, so that neighbours are not of one user; after that blocks of them are permuted, which
    misses the cache less.

    Parameters
    ----------
    users, items : ndarray of shape (n,), int32
    indptr, indices : int64 of shape (n_users + 1,) and int32 of shape (n,)
        Items of each user, CSR, ascending.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]

    @classmethod
    def of(cls, user_items: sp.csr_matrix, rng: np.random.Generator) -> Positives:
        """Shuffle the entries of a matrix with sorted indices."""
        users = np.repeat(np.arange(user_items.shape[0], dtype=np.int32), np.diff(user_items.indptr))
        indices = user_items.indices.astype(np.int32, copy=False)
        order = rng.permutation(len(users))
        return cls(users[order], indices[order], user_items.indptr.astype(np.int64), indices)

    def blocks(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """Return all blocks in a new order."""
        return rng.permutation(-(-len(self.users) // _BLOCK)).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Tables:
    """What is learned, ``score(u, i) = x_u . y_i + bias_i``, and what AdaGrad keeps of its steps.

    Parameters
    ----------
    x, y : ndarray of shape (n_users, padded d) and (n_items, padded d), float32
        The columns beyond d stay zero.
    bias : ndarray of shape (n_items,), float32
    sums : tuple of ndarray of shape (n_users,), (n_items,) and (n_items,), float32, or of None
        None for plain steps.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    bias: NDArray[np.float32]
    sums: Sums

    @classmethod
    def zeros(cls, n_users: int, n_items: int, width: int, *, adagrad: bool) -> Tables:
        """Tables before anything is known."""
        bias = np.zeros(n_items, np.float32)
        sums = [np.full(n, _FIRST_SUM, np.float32) for n in (n_users, n_items, n_items)]
        x, y = (_aligned(n, -(-width // _LANES) * _LANES) for n in (n_users, n_items))
        return cls(x, y, bias, (sums[0], sums[1], sums[2]) if adagrad else (None, None, None))

    def all(self) -> list[NDArray[np.float32]]:
        """Return every array an epoch changes."""
        return [self.x, self.y, self.bias, *(one for one in self.sums if one is not None)]


def _aligned(n_rows: int, width: int) -> NDArray[np.float32]:
    """Zeros whose rows begin with a cache line, where the width allows it: a quarter faster at 64 factors."""
    room = np.zeros(n_rows * width + _LINE, np.float32)
    skipped = -(room.ctypes.data // room.itemsize) % _LINE
    return room[skipped : skipped + n_rows * width].reshape(n_rows, width)


@dataclass(frozen=True, eq=False)
class RankingLoss:
    """A ranking loss over positives and negatives drawn for each of them.

    Parameters
    ----------
    loss : {"bpr", "warp", "softmax"}
    positives : Positives
    negatives : Negatives
    draws : int
        Negatives per positive.
    regularization : float
    threads : int
        With more than one, updates of different threads meet in no fixed order.
    """

    loss: str
    positives: Positives
    negatives: Negatives
    draws: int
    regularization: float
    threads: int

    def of_nothing(self) -> float:
        """Return the mean loss where all scores are equal."""
        n_items = len(self.negatives.log_q)
        return {"bpr": math.log(2), "warp": 1.0, "softmax": math.log(n_items)}[self.loss]

    def descend(self, tables: Tables, blocks: NDArray[np.int32], key: int, learning_rate: float) -> float:
        """Take one step for every positive, in place; return the mean loss on the way.

        The kernel is called for a bounded amount of work at a time, so that Ctrl-C is answered in between.
        """
        data, drawn = self.positives, self.negatives
        x_sum, y_sum, bias_sum = tables.sums
        total = 0.0
        for some in self._calls(blocks, tables.x.shape[1]):
            total += kernels.bpr_blocks(
                data.users,
                data.items,
                some,
                _BLOCK,
                data.indptr,
                data.indices,
                drawn.threshold,
                drawn.alias,
                drawn.log_q,
                self.loss,
                self.draws,
                key,
                learning_rate,
                self.regularization,
                tables.x,
                tables.y,
                tables.bias,
                x_sum,
                y_sum,
                bias_sum,
                self.threads,
            )
        return total / max(len(data.users), 1)

    def _calls(self, blocks: NDArray[np.int32], width: int) -> Iterator[NDArray[np.int32]]:
        each = max(1, _WORK // (_BLOCK * (self.draws + 1) * width))
        return (blocks[start : start + each] for start in range(0, len(blocks), each))
