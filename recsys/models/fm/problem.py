"""What a factorization machine is to learn from a dataset: samples, their targets, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.features import FeatureMatrix
from recsys.data.interactions import Interactions
from recsys.data.sampling import sample_negatives
from recsys.errors import DataError, InsufficientDataError
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.publish import rescaled
from recsys.models.fm.sides import Sides
from recsys.models.ratings import Scale

CLASSES = ("probit", "logistic", "hinge")
POINTWISE = ("squared", *CLASSES)
"""Losses of one sample at a time, so that plain rows can be learned too."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """What the solvers of pointwise losses learn from.

    Parameters
    ----------
    design : Design
    targets : ndarray of shape (n,), float32
    weight : ndarray of shape (n,), float32, or None
    """

    design: Design
    targets: NDArray[np.float32]
    weight: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Problem:
    """A dataset as one loss sees it.

    Parameters
    ----------
    sides : Sides
    rows : ndarray of shape (n,), int64
        The interactions learned from.
    targets : ndarray of shape (n,), float32
        Ratings at mean 0 and deviation 1, classes as -1 and 1, else weights.
    sample_weight : ndarray of shape (n,), float32, or None
    scale : Scale, or None
        Of ratings.
    loss : str
        One of those of `FactorizationMachine`.
    """

    sides: Sides
    rows: NDArray[np.int64]
    targets: NDArray[np.float32]
    sample_weight: NDArray[np.float32] | None
    scale: Scale | None
    loss: str

    @classmethod
    def of(cls, dataset: Dataset, loss: str, sample_weight: NDArray[np.float32] | None) -> Problem:
        """Everything of a dataset; `DataError` if the weights are not what the loss is about."""
        weight = dataset.interactions.weight
        scale = Scale.of(weight) if loss == "squared" else None
        rows = np.arange(len(weight)) if loss in POINTWISE else np.flatnonzero(weight != 0)
        problem = cls(Sides(dataset), rows, to_targets(weight[rows], loss, scale), None, scale, loss)
        if not len(rows):
            raise InsufficientDataError("no interaction has a weight above 0", remedy="Check the weights")
        if sample_weight is None:
            return problem
        return replace(problem, sample_weight=checked_weight(sample_weight, len(weight))[rows])

    def join(self, later: Interactions, *, only_new: bool) -> Problem:
        """Return the problem with later events; ratings keep their scale. What is learned from may be those alone."""
        dataset = self.sides.dataset.join(later)
        weight = dataset.interactions.weight
        first = len(self.sides.dataset.interactions) if only_new else 0
        rows = np.arange(first, len(weight))
        if self.loss not in POINTWISE:
            rows = rows[weight[rows] != 0]
        known = None if self.sample_weight is None else np.ones(len(weight), np.float32)
        if known is not None and self.sample_weight is not None:
            known[self.rows] = self.sample_weight
        return replace(
            self,
            sides=Sides(dataset),
            rows=rows,
            targets=to_targets(weight[rows], self.loss, self.scale),
            sample_weight=None if known is None else known[rows],
        )

    @property
    def users(self) -> NDArray[np.int32]:
        """User of each sample."""
        return self.sides.dataset.interactions.user[self.rows]

    @property
    def items(self) -> NDArray[np.int32]:
        """Item of each sample."""
        return self.sides.dataset.interactions.item[self.rows]

    @property
    def contexts(self) -> NDArray[np.int32] | None:
        """Context of each sample."""
        of_all = self.sides.dataset.context_rows
        return None if of_all is None else of_all[self.rows]

    def design(self) -> Design:
        """Return the samples as rows of blocks."""
        return self.sides.design(self.users, self.items, self.contexts)

    def observed(self) -> sp.csr_matrix:
        """Who has what, users x items; ratings are there whatever they are."""
        user_items = self.sides.dataset.user_items.copy()
        if self.scale is None:
            user_items.eliminate_zeros()
        return user_items

    def pairs(self) -> tuple[FeatureMatrix, NDArray[np.int32], FeatureMatrix, NDArray[np.int32]]:
        """Distinct queries and the row of each sample, and the same of the items that somebody has."""
        blocks, columns = [self.sides.users.take(self.users)], self.contexts
        if self.sides.contexts is not None and columns is not None:
            blocks.append(self.sides.contexts.take(columns))
        warm, item_rows = np.unique(self.items, return_inverse=True)
        queries = FeatureMatrix.side_by_side(blocks).distinct()
        return *queries, self.sides.items.take(warm), item_rows.astype(np.int32)

    def samples(self, negatives: int, sampling: str, exponent: float, seed: int) -> Labelled:
        """Return the samples with so many drawn pairs for each of the class +1, as members of the class -1."""
        if not negatives:
            return Labelled(self.design(), self.targets, self.sample_weight)
        positives = np.flatnonzero(self.targets > 0)
        row, item = sample_negatives(
            self.sides.dataset,
            negatives,
            strategy=sampling,
            exponent=exponent,
            seed=seed,
            rows=self.rows[positives],
        )
        at, contexts = np.searchsorted(self.rows, row), self.contexts
        design = self.sides.design(
            np.append(self.users, self.users[at]),
            np.append(self.items, item),
            None if contexts is None else np.append(contexts, contexts[at]),
        )
        weight = self.sample_weight
        targets = np.append(self.targets, np.full(len(at), -1, np.float32))
        return Labelled(design, targets, None if weight is None else np.append(weight, weight[at]))


@dataclass(frozen=True, eq=False)
class Learned:
    """The state a machine was left in: what training goes on from.

    Parameters
    ----------
    problem : Problem
    parameters : Parameters
        In units of the problem's targets.
    """

    problem: Problem
    parameters: Parameters

    def in_units_of(self, scale: Scale | None) -> Parameters:
        """Return the parameters for targets at another scale."""
        if scale is None or self.problem.scale is None:
            return self.parameters
        return rescaled(rescaled(self.parameters, self.problem.scale), scale.inverse)


def to_targets(weight: NDArray[np.float32], loss: str, scale: Scale | None) -> NDArray[np.float32]:
    """Return what a loss aims at: scaled ratings, classes -1 and 1, or the weights; `DataError` if they cannot be."""
    if scale is not None:
        return scale.down(weight)
    if len(weight) and weight.min() < 0:
        raise DataError(
            f"the {loss} loss has no use for negative weights",
            field="weight",
            remedy="Drop what is no sign of interest with min_weight, or learn ratings with loss='squared'",
        )
    return np.where(weight > 0, 1, -1).astype(np.float32) if loss in CLASSES else weight


def checked_weight(sample_weight: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return n sample weights as float32; `DataError` if they are not."""
    weight = np.ascontiguousarray(sample_weight, np.float32)
    if weight.shape != (n,) or not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise DataError(f"sample_weight is one finite number, 0 or more, for each of {n:,} interactions, not all 0")
    return weight
