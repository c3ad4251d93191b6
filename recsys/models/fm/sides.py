"""The sides of a dataset as a factorization machine sees them: rows of features of users, contexts and items."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.features import FeatureMatrix, Features
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters


@dataclass(frozen=True, eq=False)
class Sides:
    """Everything known of users, contexts and items as feature rows; a context only where the dataset has some.

    A user's row is a one-hot id and the user's attributes, an item's likewise. Features are numbered users first, then
    contexts, then items.

    Parameters
    ----------
    dataset : Dataset
    """

    dataset: Dataset

    @cached_property
    def users(self) -> FeatureMatrix:
        """Rows of users."""
        return _with_ids(len(self.dataset.users), "user", self.dataset.user_features)

    @cached_property
    def items(self) -> FeatureMatrix:
        """Rows of items."""
        return _with_ids(len(self.dataset.items), "item", self.dataset.item_features)

    @property
    def contexts(self) -> FeatureMatrix | None:
        """Rows of contexts."""
        return None if self.dataset.context is None else self.dataset.context.matrix

    def design(self, user: NDArray[np.int32], item: NDArray[np.int32], context: NDArray[np.int32] | None) -> Design:
        """Return samples of rows of users, items and, where there are any, contexts."""
        if self.contexts is None or context is None:
            return Design((self.users, self.items), np.ascontiguousarray(np.stack([user, item], axis=1)))
        parts = np.ascontiguousarray(np.stack([user, context, item], axis=1))
        return Design((self.users, self.contexts, self.items), parts)

    def of_interactions(self) -> Design:
        """Every interaction of the dataset is a sample."""
        data = self.dataset.interactions
        return self.design(data.user, data.item, self.dataset.context_rows)

    @cached_property
    def cold(self) -> NDArray[np.bool_]:
        """Ids of users and items without interactions, as a mask of features."""
        users, items = self.dataset.users, self.dataset.items
        data = self.dataset.interactions
        first_item = self.users.n_features + (0 if self.contexts is None else self.contexts.n_features)
        cold = np.zeros(first_item + self.items.n_features, bool)
        cold[: len(users)] = np.bincount(data.user, minlength=len(users)) == 0
        cold[first_item : first_item + len(items)] = np.bincount(data.item, minlength=len(items)) == 0
        return cold

    def names(self) -> list[tuple[str, str, str]]:
        """Block, field and value each feature stands for, in order: what stays the same when numbers change."""
        data = self.dataset
        named = [("user", "user", one) for one in data.users.ids()] + _named("user", data.user_features)
        named += _named("context", data.context)
        return named + [("item", "item", one) for one in data.items.ids()] + _named("item", data.item_features)


def _with_ids(n: int, name: str, features: Features | None) -> FeatureMatrix:
    ids = FeatureMatrix.of_ids(np.arange(n, dtype=np.int32), n, name)
    return ids if features is None else FeatureMatrix.side_by_side([ids, features.matrix])


def _named(block: str, features: Features | None) -> list[tuple[str, str, str]]:
    if features is None:
        return []
    encoder = features.encoder
    fields = np.repeat(encoder.names, np.diff(encoder.offsets))
    return [(block, str(field), encoder.feature_name(j)) for j, field in enumerate(fields)]


def carry_over(known: Sides, learned: Parameters, wanted: Sides, parameters: Parameters) -> None:
    """Overwrite in place what an earlier machine has learned of the same ids and the same values of fields.

    Field weights are kept where both machines have the same number of fields.
    """
    rows = {name: row for row, name in enumerate(known.names())}
    found = np.array([rows.get(name, -1) for name in wanted.names()], np.int64)
    there, width = found >= 0, min(learned.vectors.shape[1], parameters.vectors.shape[1])
    parameters.bias[:] = learned.bias
    parameters.weights[there] = learned.weights[found[there]]
    parameters.vectors[there, :width] = learned.vectors[found[there], :width]
    if parameters.squares is not None and learned.squares is not None:
        parameters.squares[there] = learned.squares[found[there]]
    r, known_r = parameters.field_weights, learned.field_weights
    if r is not None and known_r is not None and r.shape == known_r.shape:
        r[:] = known_r
