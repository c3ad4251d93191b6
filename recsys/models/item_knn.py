"""Item-kNN: the strong old baseline. It does not reduce to a dot product and is not published."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Self

import numpy as np
import scipy.sparse as sp

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError
from recsys.index import top_k
from recsys.models.base import Progress
from recsys.models.fitted import Fitted, checked_k
from recsys.recommendations import Recommendations

with warnings.catch_warnings():  # in a notebook its tqdm misses widgets, for bars that nobody is shown
    warnings.filterwarnings("ignore", "IProgress not found")
    from implicit.nearest_neighbours import ItemItemRecommender

_BLOCK = 512  # users scored at a time: bounds the dense scores to 512 x n_items floats


class ItemKNN(Fitted):
    """Cosine between item columns, the nearest `neighbours` of each item kept (Sarwar et al. 2001).

    Users are scaled to unit length first, so that one who has thousands of items says less about each of them
    (Deshpande and Karypis 2004). ``score(u, i) = sum over the user's items j of weight_uj * cosine(j, i)``, where i is
    among the neighbours of j. The products are computed by the implicit library.

    Parameters
    ----------
    neighbours : int
        Similar items kept per item.
    threads : int
        Results do not depend on it.
    """

    kind = "item_knn"

    def __init__(self, *, neighbours: int = 100, threads: int = 1) -> None:
        if min(neighbours, threads) < 1:
            raise ConfigError(f"neighbours is {neighbours} and threads {threads}. Give 1 or more of each")
        self.neighbours = neighbours
        self.threads = threads

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """Compute the neighbours of every item."""
        weights = dataset.user_items.astype(np.float64)
        user = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
        for rows in (user, weights.indices):  # first users, then items to unit length
            lengths = np.sqrt(np.bincount(rows, weights.data**2))
            lengths[lengths == 0] = 1.0
            weights.data /= lengths[rows]
        # implicit counts the item itself among its neighbours
        peer = ItemItemRecommender(K=self.neighbours + 1, num_threads=self.threads)
        peer.fit(weights, show_progress=False)
        similarity = sp.csr_matrix(peer.similarity, dtype=np.float32)
        similarity.setdiag(0)
        similarity.eliminate_zeros()
        self._similarity, self._dataset = similarity, dataset
        return self

    def recommend(self, users: Sequence[str], k: int = 10, *, exclude_seen: bool = True) -> Recommendations:
        """Top-k items of each user; `UnknownUserError` for one the model was not trained on."""
        rows, scores = np.empty((len(users), checked_k(k)), np.int32), np.empty((len(users), k), np.float32)
        user_rows = self.user_rows(users)
        for start in range(0, len(users), _BLOCK):
            block = user_rows[start : start + _BLOCK]
            dense = (self.dataset.user_items[block] @ self._similarity).toarray()
            exclude = self.seen(block) if exclude_seen else None
            found = top_k(dense, k, exclude=exclude, threads=self.threads)
            rows[start : start + _BLOCK], scores[start : start + _BLOCK] = found
        return Recommendations(rows, scores, self.dataset.items)

    def similar_items(self, item: str, k: int = 10) -> Recommendations:
        """Return one list, the items nearest to `item` by cosine, without itself."""
        row = self.item_row(item)
        dense = self._similarity[row].toarray()
        dense[0, row] = np.nan  # never returned
        return Recommendations(*top_k(dense, checked_k(k)), self.dataset.items)
