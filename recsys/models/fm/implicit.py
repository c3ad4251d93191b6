"""Coordinate descent over all pairs of queries and items, observed or not, at the cost of the observed ones.

Bayer, He, Kanagal and Rendle 2017, A generic coordinate descent framework for learning from implicit feedback (iCD).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from recsys.data.features import FeatureMatrix
from recsys.models.fm.blocks import Block
from recsys.models.fm.design import Design
from recsys.models.fm.hyperparameters import Hyperparameters
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.sweeps import GROUP, Sweep, squared

_BLAS = ThreadpoolController().select(user_api="blas")


class ImplicitSweep(Sweep):
    """A sweep whose statistics begin with those of all pairs of a query and an item.

    A row of queries has the vector ``p = (1, own, sum of vectors)``, with ``own`` all of y that belongs to the row
    alone, a row of items ``q`` likewise, and ``y = p' J q`` with the bias in J. So all sums over the rows of one side
    come down to its Gram matrix.
    """

    def __init__(
        self, design: Design, confidence: NDArray[np.float32], parameters: Parameters, unobserved: float, threads: int
    ) -> None:
        self.unobserved = unobserved
        super().__init__(design, np.ones(len(design), np.float32), confidence, parameters, threads)

    def refresh(self) -> None:
        """Compute the vectors of the rows anew as well."""
        super().refresh()
        self.sides = [self._side(block) for block in self.blocks]

    def loss(self) -> float:
        """Return ``sum over observed c (1 - y)^2 + unobserved sum over all y^2``."""
        queries, items = (side.T @ side for side in self.sides)
        j = self._pairing()
        return self.squared_error() + self.unobserved * float(np.sum((j.T @ queries @ j) * items))

    def _side(self, block: Block) -> NDArray[np.float64]:
        weights, v = (
            table[block.features].astype(np.float64) for table in (self.parameters.weights, self.parameters.vectors)
        )
        sums = block.matrix @ v
        own = block.matrix @ weights + self._own(block, sums, v)
        return np.column_stack([np.ones(len(own)), own, sums[:, : self.parameters.factors]])

    def _pairing(self) -> NDArray[np.float64]:
        """J."""
        j = np.eye(2 + self.parameters.factors)
        j[:2, :2] = [[self.parameters.bias[0], 1], [1, 0]]
        return j

    def _statistics(self, number: int, g: int | None) -> NDArray[np.float64]:
        statistics = super()._statistics(number, g)
        other = self.sides[1 - number]
        columns = [0, *self._columns(g)]
        z = np.zeros((len(other), 1 if g is None else 1 + GROUP))
        z[:, : len(columns)] = other[:, columns]
        i, k = np.tril_indices(z.shape[1])
        statistics[:, : len(i)] = self.unobserved * (z.T @ z)[i, k]
        statistics[:, len(i) :] = -self.unobserved * (self.sides[number] @ (self._pairing() @ (other.T @ z)))
        return statistics

    def _columns(self, g: int | None) -> range:
        return range(0) if g is None else range(2 + GROUP * g, 2 + min(GROUP * (g + 1), self.parameters.factors))

    def _bias_statistics(self) -> tuple[float, float]:
        count, error = super()._bias_statistics()
        queries, items = (side.sum(axis=0) for side in self.sides)
        pairs = self.unobserved * queries[0] * items[0]
        return count + pairs, error - self.unobserved * float(queries @ self._pairing() @ items)

    def _solve(
        self,
        number: int,
        g: int | None,
        statistics: NDArray[np.float64],
        hyper: Hyperparameters,
        rng: np.random.Generator | None,
    ) -> NDArray[np.float32]:
        moves = super()._solve(number, g, statistics, hyper, rng)
        side, columns = self.sides[number], self._columns(g)
        if g is None:
            side[:, 1] += moves[:, 0]
        else:
            step = moves[:, : len(columns)].astype(np.float64)
            side[:, 1] += moves[:, GROUP] + np.einsum("rk,rk->r", step, side[:, columns])
            side[:, columns] += step
        return moves


def implicit_epochs(
    query: FeatureMatrix,
    query_rows: NDArray[np.int32],
    items: FeatureMatrix,
    item_rows: NDArray[np.int32],
    confidence: NDArray[np.float32],
    parameters: Parameters,
    *,
    unobserved_weight: float,
    regularization: float,
    weight_regularization: float,
    iterations: int,
    threads: int,
) -> Iterator[float]:
    """Minimise over the observed pairs and, in closed form, over all pairs of a query and an item.

    The objective is, with y of a row of `query` and a row of `items`::

        sum over observed c (1 - y)^2 + unobserved_weight sum over all y^2
            + regularization |V|^2 + weight_regularization |w|^2

    Parameters
    ----------
    query : FeatureMatrix
        Distinct queries: users, or users in contexts.
    query_rows : ndarray of shape (n,), int32
        Query of each observed pair.
    items : FeatureMatrix
    item_rows : ndarray of shape (n,), int32
        Item of each observed pair.
    confidence : ndarray of shape (n,), float32
        c.
    parameters : Parameters
        Updated in place; features of `query` first, then those of `items`.
    unobserved_weight, regularization, weight_regularization : float
    iterations, threads : int

    Yields
    ------
    float
        The objective after each sweep, which never rises, per unit of confidence.

    Raises
    ------
    TrainingDivergedError
        If numbers are no longer finite.
    """
    design = Design((query, items), np.stack([query_rows, item_rows], axis=1))
    sweep = ImplicitSweep(design, confidence, parameters, unobserved_weight, threads)
    ridge = Hyperparameters.ridge(parameters, regularization, weight_regularization)
    for _ in range(iterations):
        with _BLAS.limit(limits=1):  # its sums would depend on the number of its threads
            sweep.run(ridge)
            loss = sweep.loss()
        penalty = regularization * squared(parameters.vectors) + weight_regularization * squared(parameters.weights)
        yield sweep.per_weight(loss + penalty)
