"""Epochs of stochastic gradient for biased matrix factorization: what stands between the compiled steps and the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys import kernels
from recsys.data.interactions import Interactions

_BLOCK = 4096  # ratings a block holds on average: its rows stay in the cache, and there are blocks enough to permute
_WORK = 2**28  # ratings times factors of one kernel call: a fraction of a second


@dataclass(frozen=True, eq=False)
class Blocks:
    """Ratings in a square grid of blocks: users cut into B ranges, items too, with equal numbers of ratings.

    B blocks no two of which share a range make a stratum; they share no row of the factors, so that they can be worked
    on at once and give the bits they give one after the other (Gemulla et al. 2011, Large-scale matrix factorization
    with distributed stochastic gradient descent).

    Parameters
    ----------
    users, items : ndarray of shape (n,), int32
    ratings : ndarray of shape (n,), float32
        Sorted by block, in random order within.
    starts : ndarray of shape (B * B + 1,), int64
        First rating of each block; the block of user range i and item range j is B * i + j.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, interactions: Interactions, rng: np.random.Generator) -> Blocks:
        """Sort interactions into blocks."""
        side = max(1, int((len(interactions) / _BLOCK) ** 0.5))
        columns = (interactions.user, interactions.item)
        of_user, of_item = (_ranges(rows, n, side)[rows] for rows, n in zip(columns, interactions.shape, strict=True))
        block = of_user * side + of_item
        order = rng.permutation(len(interactions))
        order = order[np.argsort(block[order], kind="stable")]
        starts = np.append(0, np.cumsum(np.bincount(block, minlength=side * side))).astype(np.int64)
        return cls(interactions.user[order], interactions.item[order], interactions.weight[order], starts)

    def strata(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """All blocks in a new order, one stratum a row: int32 of shape (B, B)."""
        side = round((len(self.starts) - 1) ** 0.5)
        of_user, of_item = np.arange(side), rng.permutation(side)
        return (of_user * side + of_item[(of_user + of_user[:, None]) % side]).astype(np.int32)


def _ranges(rows: NDArray[np.int32], n_rows: int, n_ranges: int) -> NDArray[np.int64]:
    """Range of each row, so that all hold about as many entries of `rows`."""
    counts = np.bincount(rows, minlength=n_rows)
    return (np.cumsum(counts) - counts) * n_ranges // len(rows)


@dataclass(frozen=True, eq=False)
class Tables:
    """What is learned, both sides in one order: users, items.

    Parameters
    ----------
    user_factors, item_factors : ndarray of shape (n_users, padded d) and (n_items, padded d), float32
    user_bias, item_bias : ndarray of shape (n_users,) and (n_items,), float32
    """

    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    user_bias: NDArray[np.float32]
    item_bias: NDArray[np.float32]
