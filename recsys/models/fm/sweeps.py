"""Block coordinate descent for factorization machines: what least squares, Gibbs sampling and iCD share.

Rendle 2012, Factorization machines with libFM; Rendle 2013, Scaling factorization machines to relational data. Block by
block the samples are boiled down to statistics of its rows, from which its features are moved one by one, four factors
at a time; then the samples follow. What is kept of a sample is its residual and its sum of vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys import kernels
from recsys.errors import ConfigError, TrainingDivergedError
from recsys.models.fm.blocks import Block
from recsys.models.fm.design import Design
from recsys.models.fm.hyperparameters import Hyperparameters
from recsys.models.fm.parameters import Parameters, aligned

GROUP = 4  # factors moved together
_STATISTICS, _MOVE = 20, 8  # of a row, for a group
_SAMPLES = 2**24  # in one call of the kernel
_REFRESHED = 8  # sweeps after which residuals and sums are computed anew, so that rounding does not pile up


class Sweep:
    """A machine in training, its parameters updated in place.

    Parameters
    ----------
    design : Design
        Best with blocks whose rows repeat, see `repeating`.
    targets : ndarray of shape (n,), float32
        Copied.
    sample_weight : ndarray of shape (n,), float32, or None
    parameters : Parameters
        Without field weights.
    threads : int
        Results do not depend on it.

    Attributes
    ----------
    residuals : ndarray of shape (n,), float32
        Target minus prediction.
    """

    def __init__(
        self,
        design: Design,
        targets: NDArray[np.float32],
        sample_weight: NDArray[np.float32] | None,
        parameters: Parameters,
        threads: int,
    ) -> None:
        if parameters.field_weights is not None:
            raise ConfigError("coordinate descent has no field weights; train them by gradient steps")
        self.blocks = [Block.of(design, number) for number in range(len(design.blocks))]
        self.targets = targets.astype(np.float32)
        self.sample_weight = sample_weight
        self.parameters = parameters
        self.threads = threads
        self.groups = range(0, parameters.factors, GROUP)
        self.q = aligned(len(self.groups) * len(design), GROUP).reshape(len(self.groups), len(design), GROUP)
        self.sums = [np.zeros((len(self.groups), b.matrix.shape[0], GROUP), np.float32) for b in self.blocks]
        self.total_weight = float(len(design) if sample_weight is None else sample_weight.sum(dtype=np.float64))
        self.swept = 0
        self.refresh()

    def refresh(self) -> None:
        """Compute residuals and sums from the parameters: all blocks move from zero to where they are."""
        self.residuals = self.targets - self.parameters.bias
        self.q[:] = 0
        for block, sums in zip(self.blocks, self.sums, strict=True):
            self._stream(None, (block, (block.matrix @ self.parameters.weights[block.features])[:, None]))
            for g, first in enumerate(self.groups):
                v = self.parameters.vectors[block.features, first : first + GROUP]
                sums[g] = block.matrix @ v
                moves = np.zeros((len(sums[g]), _MOVE), np.float32)
                moves[:, :GROUP] = sums[g]
                moves[:, GROUP] = self._own(block, sums[g], v)
                self._stream(g, (block, moves))

    def run(self, hyper: Hyperparameters, rng: np.random.Generator | None = None) -> None:
        """Move everything once: to the mode of its conditional distribution, or with `rng` to a draw from it."""
        self.swept += 1
        if self.swept % _REFRESHED == 0:
            self.refresh()
        self._move_bias(hyper, rng)
        for g in (None, *range(len(self.groups))):
            moved = None
            for number, block in enumerate(self.blocks):
                statistics = self._statistics(number, g)
                self._stream(g, moved, (number, statistics))
                moved = block, self._solve(number, g, statistics, hyper, rng)
            if moved is not None:
                self._stream(g, moved)

    def predictions(self) -> NDArray[np.float32]:
        """Return y of the samples."""
        return self.targets - self.residuals

    def aim(self, targets: NDArray[np.float32]) -> None:
        """Go on with other targets."""
        self.residuals += targets - self.targets
        self.targets = targets

    def per_weight(self, loss: float) -> float:
        """Return a sum over samples per unit of weight, or raise where it is no number any more."""
        if not np.isfinite(loss):
            raise TrainingDivergedError("the loss is no longer finite; scale targets and feature values to about 1")
        return loss / self.total_weight if self.total_weight else 0.0

    def squared_error(self) -> float:
        """Sum of weight times squared residual."""
        weighted = self.residuals if self.sample_weight is None else self.residuals * self.sample_weight
        return float(np.einsum("n,n->", weighted, self.residuals, dtype=np.float64))

    @staticmethod
    def _own(block: Block, sums: NDArray[Any], v: NDArray[Any]) -> NDArray[np.float64]:
        """Part of y that is the pairs of features within each row of the block."""
        lengths = np.einsum("jk,jk->j", v, v, dtype=np.float64)
        own = np.einsum("rk,rk->r", sums, sums, dtype=np.float64) - block.squared @ lengths
        return np.asarray(0.5 * own)

    def _statistics(self, number: int, g: int | None) -> NDArray[np.float64]:
        """Return what the statistics of a block begin with."""
        return np.zeros((self.blocks[number].matrix.shape[0], 2 if g is None else _STATISTICS))

    def _move_bias(self, hyper: Hyperparameters, rng: np.random.Generator | None) -> None:
        count, error = self._bias_statistics()
        precision = hyper.noise_precision * count + hyper.bias_precision
        if precision <= 0:
            return
        bias = self.parameters.bias
        step = (hyper.noise_precision * error - hyper.bias_precision * float(bias[0])) / precision
        if rng is not None:
            step += rng.standard_normal() / precision**0.5
        before = bias.copy()
        bias += np.float32(step)
        self.residuals -= bias - before

    def _bias_statistics(self) -> tuple[float, float]:
        weighted = self.residuals if self.sample_weight is None else self.residuals * self.sample_weight
        return self.total_weight, float(weighted.sum(dtype=np.float64))

    def _solve(
        self,
        number: int,
        g: int | None,
        statistics: NDArray[np.float64],
        hyper: Hyperparameters,
        rng: np.random.Generator | None,
    ) -> NDArray[np.float32]:
        """Move the features of a block; return how its rows have moved."""
        block, parameters = self.blocks[number], self.parameters
        if g is None:
            first, sums, factors, width = 0, None, parameters.weights[block.features, None], 1
            precision, mean = hyper.weight_precision, hyper.weight_mean
        else:
            first, sums, factors, width = (
                self.groups[g],
                self.sums[number][g],
                parameters.vectors[block.features],
                _MOVE,
            )
            here = slice(first, first + GROUP)
            precision, mean = (np.ascontiguousarray(p[:, here]) for p in (hyper.vector_precision, hyper.vector_mean))
        moves = np.zeros((len(statistics), width), np.float32)
        noise = None if rng is None else rng.standard_normal((len(factors), precision.shape[1]), np.float32)
        if noise is not None and g is not None:
            noise[:, max(0, parameters.factors - first) :] = 0
        for begin, end in block.stretches:
            kernels.fm_solve(
                *block.columns, block.field_of, begin, end, hyper.noise_precision, precision, mean, noise, factors,
                first, sums, statistics, moves,
            )  # fmt: skip
        return moves

    def _stream(
        self,
        g: int | None,
        moved: tuple[Block, NDArray[np.float32]] | None = None,
        counted: tuple[int, NDArray[np.float64]] | None = None,
    ) -> None:
        """Let the samples follow a block that has moved, and count them in the rows of another."""
        block, statistics = (None, None) if counted is None else (self.blocks[counted[0]], counted[1])
        sums = None if counted is None or g is None else self.sums[counted[0]][g]
        for start in range(0, len(self.residuals), _SAMPLES):
            here = slice(start, start + _SAMPLES)
            kernels.fm_stream(
                None if g is None else self.q[g, here],
                self.residuals[here],
                None if self.sample_weight is None else self.sample_weight[here],
                None if moved is None else moved[0].samples[here],
                None if moved is None else moved[1],
                None if block is None else block.samples[here],
                sums,
                statistics,
                self.threads,
            )


def squared(table: NDArray[np.float32]) -> float:
    """Return the sum of squares, in float64."""
    return float(np.einsum("n,n->", table.ravel(), table.ravel(), dtype=np.float64))
