"""What models share once they are fitted: the dataset they know, and lists from `Factors`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError, UnknownItemError, UnknownUserError
from recsys.factors import Factors
from recsys.index import Exclusions, ItemIndex
from recsys.models.queries import Context, Queries
from recsys.recommendations import Recommendations


class Fitted:
    """The dataset behind a fitted model, and the translation of external ids."""

    kind: str
    _dataset: Dataset | None = None

    @property
    def dataset(self) -> Dataset:
        """What the model was fitted on; `ConfigError` before `fit`."""
        if self._dataset is None:
            raise ConfigError(f"this {type(self).__name__} is not fitted yet: call fit(dataset) first")
        return self._dataset

    def user_rows(self, users: Sequence[str]) -> NDArray[np.int32]:
        """Rows of external user ids; `UnknownUserError` names the first unknown one."""
        if isinstance(users, str):
            raise ConfigError(f"users is a list of ids: pass [{users!r}]")
        rows = self.dataset.users.encode(users)
        if (rows < 0).any():
            unknown = [one for one, row in zip(users, rows, strict=True) if row < 0]
            raise UnknownUserError(f"the model was not trained on user {unknown[0]!r} ({len(unknown)} unknown in all)")
        return rows

    def item_row(self, item: str) -> int:
        """Row of an external item id; `UnknownItemError` if it is not in the catalogue."""
        row = self.dataset.items.row(item)
        if row < 0:
            raise UnknownItemError(f"item {item!r} is not in the catalogue of this model")
        return row

    def seen(self, rows: NDArray[np.int32]) -> Exclusions:
        """Items the given users have."""
        histories = self.dataset.seen_items[rows]
        return Exclusions(histories.indptr.astype(np.int64), histories.indices.astype(np.int32, copy=False))


class FittedFactors(Fitted):
    """Lists of a model that reduces to `Factors`."""

    threads: int
    _factors: Factors

    def recommend(
        self,
        users: Sequence[str],
        k: int = 10,
        *,
        exclude_seen: bool = True,
        context: Context | Sequence[Context] | None = None,
    ) -> Recommendations:
        """Top-k items of each user, in a context where one is given.

        Parameters
        ----------
        users : sequence of str
            `UnknownUserError` for one the model was not trained on.
        k : int
        exclude_seen : bool
            Leave out what the user has.
        context : mapping, or a sequence of one for each user, optional
            Values of context fields, such as ``{"hour": 20, "device": "tv"}``, where the model has learned some. A
            field that is not given counts as in the mean of training.
        """
        rows = self.user_rows(users)
        found = self._index.search(
            np.ascontiguousarray(Queries.of(self._factors, rows, context).vectors),
            checked_k(k),
            exclude=self.seen(rows) if exclude_seen else None,
            threads=self.threads,
        )
        return Recommendations(*found, self.dataset.items)

    def similar_items(self, item: str, k: int = 10) -> Recommendations:
        """Return one list, the items nearest to `item` by cosine, without itself."""
        row = self.item_row(item)
        found = self._cosine_index.similar(row, checked_k(k))
        return Recommendations(*found, self.dataset.items)

    def export(self) -> Factors:
        """Return the published form: its scores are the model's."""
        _ = self.dataset
        return self._factors

    def _keep(self, dataset: Dataset, factors: Factors) -> None:
        factors.check_finite()
        self._dataset, self._factors = dataset, factors
        for stale in ("_index", "_cosine_index", "_exported"):
            self.__dict__.pop(stale, None)

    @cached_property
    def _index(self) -> ItemIndex:
        return ItemIndex(self._factors.item_vectors, self._factors.item_bias)

    @cached_property
    def _cosine_index(self) -> ItemIndex:
        return self._index.cosine()


def checked_k(k: int) -> int:
    """Return k if it can be a list length, else raise `ConfigError`."""
    if k < 1:
        raise ConfigError(f"k is the length of a list and at least 1, not {k}")
    return k
