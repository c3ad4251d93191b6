"""Popularity: the same list for everybody, best-sellers first. The baseline every table shows."""

from __future__ import annotations

from typing import Self

import numpy as np

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError
from recsys.factors import Factors
from recsys.models.base import Progress
from recsys.models.fitted import FittedFactors


class Popularity(FittedFactors):
    """Score of an item = number of distinct users who have it; `Factors` of width 0.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> pairs = [("anna", "tea", 1.0), ("bo", "tea", 1.0), ("bo", "milk", 1.0), ("cleo", "rice", 1.0)]
    >>> model = Popularity().fit(Dataset.from_interactions(interactions_from_tuples(pairs)))
    >>> model.recommend(["cleo"], k=2).lists()
    [[('tea', 2.0), ('milk', 1.0)]]
    """

    kind = "popularity"

    def __init__(self, *, threads: int = 1) -> None:
        if threads < 1:
            raise ConfigError(f"threads is {threads}. Give 1 or more")
        self.threads = threads

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """Count users per item."""
        n_users, n_items = dataset.interactions.shape
        empty = np.zeros((n_users, 0), np.float32), np.zeros((n_items, 0), np.float32)
        self._keep(dataset, Factors(*empty, dataset.item_counts))
        return self
