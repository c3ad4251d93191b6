"""Epochs of stochastic gradient for biased matrix factorization, between the compiled steps and the model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys import kernels
from recsys.data.interactions import Interactions

_BLOCK = 4096  # ratings a block holds on average: its rows stay in the cache, and there are blocks enough to permute
_WORK = 2**28  # ratings times factors of one kernel call: a fraction of a second
_BIAS_RATE = 0.25  # of the rate of the factors: biases that learn as fast fit noise; AdaGrad slows them by itself
_SQUARES = 10.0  # AdaGrad's sums begin here, in squared standard deviations: a row's first ratings move it no further


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
        Sorted by block, and within by the side with more rows: each of them is fetched once a block, while those of the
        other side stay in the cache.
    starts : ndarray of shape (B * B + 1,), int64
        First rating of each block; the block of user range i and item range j is B * i + j.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, interactions: Interactions, ratings: NDArray[np.float32]) -> Blocks:
        """Sort interactions into blocks, with the given ratings in place of their weights."""
        side = max(1, int((len(interactions) / _BLOCK) ** 0.5))
        columns = (interactions.user, interactions.item)
        of_user, of_item = (_ranges(rows, n, side)[rows] for rows, n in zip(columns, interactions.shape, strict=True))
        block = of_user * side + of_item
        order = np.lexsort((columns[int(np.argmax(interactions.shape))], block))
        starts = np.append(0, np.cumsum(np.bincount(block, minlength=side * side))).astype(np.int64)
        return cls(interactions.user[order], interactions.item[order], ratings[order], starts)

    def strata(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """All blocks in a new order, one stratum a row: int32 of shape (B, B)."""
        side = round((len(self.starts) - 1) ** 0.5)
        of_user, of_item = np.arange(side), rng.permutation(side)
        blocks: NDArray[np.int32] = (of_user * side + of_item[(of_user + of_user[:, None]) % side]).astype(np.int32)
        return blocks


def _ranges(rows: NDArray[np.int32], n_rows: int, n_ranges: int) -> NDArray[np.int64]:
    """Range of each row, so that all hold about as many entries of `rows`."""
    counts = np.bincount(rows, minlength=n_rows)
    return (np.cumsum(counts) - counts) * n_ranges // len(rows)


@dataclass(frozen=True, eq=False)
class Side:
    """What is learned of the users, or of the items, and the state of the optimizer in use.

    Parameters
    ----------
    factors : ndarray of shape (n_rows, padded d), float32
    bias : ndarray of shape (n_rows,), float32
    squares : ndarray of shape (n_rows, 2), float32, or None
        AdaGrad: summed squared gradients, mean over the factors, and of the bias.
    velocity, bias_velocity : ndarray of shape (n_rows, padded d) and (n_rows,), float32, or None
        Momentum: what the last step added.
    touched : ndarray of shape (n_rows,), int64, or None
        Momentum: number of the row's last step in this epoch.
    """

    factors: NDArray[np.float32]
    bias: NDArray[np.float32]
    squares: NDArray[np.float32] | None = None
    velocity: NDArray[np.float32] | None = None
    bias_velocity: NDArray[np.float32] | None = None
    touched: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, factors: NDArray[np.float32], bias: NDArray[np.float32], optimizer: str) -> Side:
        """Wrap tables, to be changed in place, and the state in which an optimizer begins."""
        if optimizer == "adagrad":
            return cls(factors, bias, np.full((len(bias), 2), _SQUARES, np.float32))
        if optimizer == "momentum":
            return cls(factors, bias, None, np.zeros_like(factors), np.zeros_like(bias), np.zeros(len(bias), np.int64))
        return cls(factors, bias)

    def tables(self) -> list[NDArray[Any]]:
        """All arrays that are there."""
        return [table for table in vars(self).values() if table is not None]

    def catch_up(self, momentum: float, step: int) -> None:
        """Make up for the steps without a row since it was last touched, and count from 0 again."""
        if self.velocity is None or self.bias_velocity is None or self.touched is None:
            return
        left = momentum ** (step - self.touched)
        moved = (momentum * (1 - left) / (1 - momentum)).astype(np.float32)
        for table, velocity in ((self.factors.T, self.velocity.T), (self.bias, self.bias_velocity)):
            table += moved * velocity
            velocity *= left.astype(np.float32)
        self.touched[:] = 0


@dataclass(frozen=True, eq=False)
class Epochs:
    """Epochs of gradient steps over blocks of ratings.

    Parameters
    ----------
    blocks : Blocks
    users, items : Side
        Changed in place.
    regularization : float
    limit : float
        Errors count as no larger.
    momentum : float
    asynchronous : bool
        Threads do not wait for each other between strata.
    threads : int
    """

    blocks: Blocks
    users: Side
    items: Side
    regularization: float
    limit: float
    momentum: float
    asynchronous: bool
    threads: int

    def run(self, learning_rate: float, strata: NDArray[np.int32]) -> float:
        """Step once on every rating, stratum after stratum; return the sum of squared errors."""
        sizes = np.diff(self.blocks.starts)[strata]
        steps = (np.cumsum(sizes).reshape(sizes.shape) - sizes).astype(np.int64)
        loss = np.zeros(len(self.blocks.starts) - 1)
        if self.users.squares is not None:
            learning_rate *= _SQUARES**0.5  # so that it is the rate of a row's first steps, as without AdaGrad
        for part in self._parts(sizes):
            self._steps(learning_rate, strata[part], steps[part], loss)
        for side in (self.users, self.items):
            side.catch_up(self.momentum, len(self.blocks.ratings))
        return float(loss.sum())

    def _parts(self, sizes: NDArray[np.int64]) -> Iterator[slice]:
        """Cut the strata so that Ctrl-C is answered in between."""
        done = np.cumsum(sizes.sum(axis=1)) * self.users.factors.shape[1] // _WORK
        cuts = [0, *(np.flatnonzero(np.diff(done)) + 1).tolist(), len(sizes)]
        return (slice(begin, end) for begin, end in itertools.pairwise(cuts))

    def _steps(
        self, learning_rate: float, strata: NDArray[np.int32], steps: NDArray[np.int64], loss: NDArray[np.float64]
    ) -> None:
        users, items, blocks = self.users, self.items, self.blocks
        kernels.sgd_mf(
            blocks.users,
            blocks.items,
            blocks.ratings,
            blocks.starts,
            strata,
            learning_rate,
            _BIAS_RATE if users.squares is None else 1.0,
            self.regularization,
            self.limit,
            users.factors,
            items.factors,
            users.bias,
            items.bias,
            loss,
            self.asynchronous,
            self.threads,
            user_squares=users.squares,
            item_squares=items.squares,
            momentum=self.momentum,
            steps=None if users.velocity is None else steps,
            user_velocity=users.velocity,
            item_velocity=items.velocity,
            user_bias_velocity=users.bias_velocity,
            item_bias_velocity=items.bias_velocity,
            user_touched=users.touched,
            item_touched=items.touched,
        )
