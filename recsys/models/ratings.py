"""Ratings as a model learns them, and what it publishes to give them back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.factors import Factors
from recsys.query_features import QueryFeatures


@dataclass(frozen=True, eq=False, kw_only=True)
class RatingFactors(Factors):
    """`Factors` whose scores are ratings; `item_bias` holds the mean too, `query` the users' biases and the range.

    Parameters
    ----------
    scale : Scale
        Of the ratings in training.
    """

    scale: Scale

    def rate(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Predict the ratings of pairs of rows, float32 of shape (n_pairs,); row -1 is an average one."""
        score = np.where(items >= 0, self.item_bias[items], np.float32(self.scale.mean))
        score += np.where(users >= 0, self.queries.user_bias[users], np.float32(0))
        known = (users >= 0) & (items >= 0)
        score[known] += np.einsum("ij,ij->i", self.user_vectors[users[known]], self.item_vectors[items[known]])
        return self.queries.predictions(score).astype(np.float32)


@dataclass(frozen=True)
class Scale:
    """Mean, deviation and range of ratings.

    Parameters
    ----------
    mean, deviation, lowest, highest : float
        The deviation is 1 where all ratings are equal, or as good as: float32 has no inverse of less than 1.2e-38.
    """

    mean: float
    deviation: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, ratings: NDArray[np.float32]) -> Scale:
        """Measure ratings, at least one."""
        deviation = float(ratings.std(dtype=np.float64))
        if deviation < np.finfo(np.float32).tiny:
            deviation = 1.0
        return cls(float(ratings.mean(dtype=np.float64)), deviation, float(ratings.min()), float(ratings.max()))

    @property
    def inverse(self) -> Scale:
        """The scale that takes ratings to mean 0 and deviation 1, as this one takes them back."""
        return Scale(-self.mean / self.deviation, 1 / self.deviation, -np.inf, np.inf)

    def down(self, ratings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring ratings to mean 0 and deviation 1."""
        return ((ratings - self.mean) / self.deviation).astype(np.float32)

    def up(
        self,
        user_vectors: NDArray[np.float32],
        item_vectors: NDArray[np.float32],
        user_bias: NDArray[np.float32],
        item_bias: NDArray[np.float32],
    ) -> RatingFactors:
        """Bring what was learned from scaled ratings back to theirs, in new arrays."""
        root, deviation = np.float32(self.deviation**0.5), np.float32(self.deviation)
        no_features = QueryFeatures.nothing(len(user_bias), user_vectors.shape[1])
        return RatingFactors(
            np.ascontiguousarray(user_vectors * root),
            np.ascontiguousarray(item_vectors * root),
            (item_bias * deviation + np.float32(self.mean)).astype(np.float32),
            query=replace(no_features, user_bias=user_bias * deviation, lowest=self.lowest, highest=self.highest),
            scale=self,
        )


def carry_over_biases(
    known: Dataset,
    factors: RatingFactors,
    dataset: Dataset,
    mean: float,
    user_bias: NDArray[np.float32],
    item_bias: NDArray[np.float32],
) -> None:
    """Overwrite the biases of users and items an earlier model knows, matched by external id.

    Parameters
    ----------
    known : Dataset
        What the earlier model was fitted on.
    factors : RatingFactors
        Of the earlier model.
    dataset : Dataset
        Whose rows the biases have.
    mean : float
        Of its ratings; the biases are relative to it.
    user_bias, item_bias : ndarray of shape (n_users,) and (n_items,), float32
        Written.
    """
    sides = (
        (known.users, dataset.users, factors.queries.user_bias, user_bias),
        (known.items, dataset.items, factors.item_bias - np.float32(mean), item_bias),
    )
    for ids, wanted, source, target in sides:
        rows = ids.encode(wanted.ids())
        target[rows >= 0] = source[rows[rows >= 0]]
