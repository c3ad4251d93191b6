"""What every model is: the `Recommender` protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self

from recsys.data.dataset import Dataset
from recsys.factors import Factors
from recsys.recommendations import Recommendations

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) while a model trains."""


class Recommender(Protocol):
    """Fit on a dataset, then recommend by external ids.

    Seed and threads are set in the constructor; two fits with equal settings on equal data give equal lists.
    """

    kind: str

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """Train from scratch; the model remembers the dataset's ids and histories."""

    def recommend(self, users: Sequence[str], k: int = 10, *, exclude_seen: bool = True) -> Recommendations:
        """Top-k items of each user; `UnknownUserError` for one the model was not trained on."""

    def similar_items(self, item: str, k: int = 10) -> Recommendations:
        """Return one list, the items nearest to `item`, without itself; `UnknownItemError` if it is not known."""

    @property
    def dataset(self) -> Dataset:
        """What the model was fitted on; `ConfigError` before `fit`."""


class ServableRecommender(Recommender, Protocol):
    """A model that reduces to `Factors` and can be published."""

    def export(self) -> Factors:
        """Return the published form: its scores are the model's."""
