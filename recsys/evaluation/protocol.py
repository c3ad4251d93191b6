"""`evaluate`: one model, one test part, every user's list over the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.features import FeatureMatrix
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError
from recsys.evaluation import beyond_accuracy
from recsys.evaluation.ranking_metrics import RANKING_METRICS, precision
from recsys.evaluation.relevance import Relevance, relevant_items
from recsys.evaluation.result import EvaluationResult
from recsys.evaluation.segments import Traces

if TYPE_CHECKING:
    # The protocol is all that is needed of the models; importing their package would load kernels.
    from recsys.models.base import Recommender

_CELLS = 1 << 24  # entries of the lists in memory at a time


def evaluate(
    model: Recommender,
    test: Interactions,
    *,
    k: Sequence[int] = (10, 20),
    diversity: Sequence[str] = (),
    block: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Rank the whole catalogue for every test user and compare with what the user did.

    Relevant are a user's distinct test items that the model knows and the user did not have in training, whatever their
    weights: clean the test part with the training part's `min_weight`. Who and what falls out is in the counts of the
    result. No sampled negatives (Krichene and Rendle 2020, On Sampled Metrics for Item Recommendation).

    Parameters
    ----------
    model : Recommender
        Fitted.
    test : Interactions
        Matched with the model by external ids.
    k : sequence of int
        List lengths. Beyond the catalogue, where no list can go, ranks count as misses.
    diversity : sequence of str
        Fields of the dataset's item features, as ``genres``, over which lists are to be diverse.
    block : int
        Users per call of ``model.recommend``, fewer where lists are very long. Bounds the memory; does not change the
        result.
    progress : callable, optional
        Called with (users done, users in all).

    Returns
    -------
    EvaluationResult
        At each k: precision, recall, hit_rate, mrr, map, ndcg, novelty and, if asked for, diversity per user; coverage,
        gini and popularity_lift overall.

    Raises
    ------
    ConfigError
        If `k` or `block` is not positive, or the dataset lacks a field of `diversity`.
    InsufficientDataError
        If no user can be judged.
    DataError
        If the model's lists are of another shape, repeat items or use other item rows than its dataset.
    """
    lengths = sorted(set(k))
    if not lengths or lengths[0] < 1 or block < 1:
        raise ConfigError(f"k is {tuple(k)} and block {block}. Give list lengths and a block of 1 or more")
    dataset = model.dataset
    relevance = relevant_items(dataset, test)
    tally = _Tally(dataset, relevance.users, lengths, _item_features(dataset, diversity))
    longest = min(lengths[-1], len(dataset.items))
    block = min(block, max(1, _CELLS // longest))
    for start in range(0, len(relevance.users), block):
        part = slice(start, start + block)
        rows = _lists(model, dataset, relevance.users[part], longest)
        tally.add(part, rows, relevance.hits(relevance.users[part], rows), relevance.n_relevant[part])
        if progress is not None:
            progress(min(start + block, len(relevance.users)), len(relevance.users))
    return EvaluationResult(
        users=tuple(dataset.users.ids(relevance.users)),
        values=MappingProxyType(tally.values),
        overall=MappingProxyType(tally.overall()),
        counts=MappingProxyType(relevance.counts),
        traces=tally.traces(relevance),
    )


class _Tally:
    """Per-user values and exposures, filled block by block; lists and hits are not kept."""

    def __init__(
        self, dataset: Dataset, users: NDArray[np.int64], lengths: list[int], features: sp.csr_matrix | None
    ) -> None:
        n_users, n_items = len(users), len(dataset.items)
        self.lengths, self.features = lengths, features
        self.popularity = dataset.item_counts.astype(np.float64)
        self.information = beyond_accuracy.self_information(self.popularity, len(dataset.users))
        self.profiles = _profile_popularity(dataset, users, self.popularity)
        names = [*RANKING_METRICS, "novelty", *(["diversity"] if features is not None else [])]
        self.values = {f"{name}@{k}": np.empty(n_users) for k in lengths for name in names}
        self.dataset, self.users = dataset, users
        self.shown = {k: np.zeros(n_items, np.int64) for k in lengths}
        self.found = {k: np.zeros(n_items, np.int64) for k in lengths}
        self.list_popularity = {k: np.empty(n_users) for k in lengths}

    def add(self, part: slice, rows: NDArray[np.int32], hits: NDArray[np.bool_], n_relevant: NDArray[np.int64]) -> None:
        for k in self.lengths:
            for name, metric in RANKING_METRICS.items():
                self.values[f"{name}@{k}"][part] = metric(hits[:, :k], n_relevant)
            # Lists end with the catalogue; of all metrics, only this one counts the empty ranks up to k.
            self.values[f"precision@{k}"][part] = precision(hits[:, :k], n_relevant, k)
            self.shown[k] += beyond_accuracy.exposure(rows[:, :k], len(self.popularity))
            self.found[k] += np.bincount(rows[:, :k][hits[:, :k]], minlength=len(self.popularity))
            self.values[f"novelty@{k}"][part] = beyond_accuracy.list_means(rows[:, :k], self.information)
            if self.features is not None:
                diversity = beyond_accuracy.intra_list_diversity(rows[:, :k], self.features)
                self.values[f"diversity@{k}"][part] = diversity
            self.list_popularity[k][part] = beyond_accuracy.list_means(rows[:, :k], self.popularity)

    def overall(self) -> dict[str, float]:
        values = {}
        for k in self.lengths:
            values[f"coverage@{k}"] = beyond_accuracy.coverage(self.shown[k])
            values[f"gini@{k}"] = beyond_accuracy.gini(self.shown[k])
            values[f"popularity_lift@{k}"] = beyond_accuracy.popularity_lift(self.list_popularity[k], self.profiles)
        return values

    def traces(self, relevance: Relevance) -> Traces:
        histories = np.diff(self.dataset.user_items.indptr)[self.users].astype(np.int64)
        relevant = np.bincount(relevance.pairs % relevance.n_items, minlength=relevance.n_items)
        return Traces(self.dataset.items, histories, self.popularity.astype(np.int64), relevant, self.shown, self.found)


def _lists(model: Recommender, dataset: Dataset, users: NDArray[np.int64], k: int) -> NDArray[np.int32]:
    lists = model.recommend(dataset.users.ids(users), k)
    if lists.rows.shape != (len(users), k):
        raise DataError(
            f"the model returned lists of shape {lists.rows.shape}, asked for {len(users)} users and k = {k}",
            remedy="Pad short lists with -1",
        )
    if lists.items is not dataset.items and lists.items.fingerprint != dataset.items.fingerprint:
        raise DataError("the model's lists count items in other rows than its dataset")
    ascending = np.sort(lists.rows, axis=1)
    if ((ascending[:, 1:] == ascending[:, :-1]) & (ascending[:, 1:] >= 0)).any():
        raise DataError("the model recommends an item twice in one list, which would count its hits twice")
    return lists.rows


def _item_features(dataset: Dataset, fields: Sequence[str]) -> sp.csr_matrix | None:
    if not fields:
        return None
    known = () if dataset.item_features is None else dataset.item_features.matrix.fields
    if dataset.item_features is None or not set(fields) <= set(known):
        raise ConfigError(
            f"diversity over {', '.join(fields)} needs these item features, and the model's dataset has "
            f"{', '.join(known) or 'none'}. Fit on `Dataset.with_features` with these item fields"
        )
    matrix = dataset.item_features.matrix
    return FeatureMatrix.side_by_side([matrix.field(known.index(name)) for name in fields]).to_csr()


def _profile_popularity(
    dataset: Dataset, users: NDArray[np.int64], popularity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean popularity of each user's training items, NaN without any."""
    history = dataset.user_items[users]
    sizes = np.diff(history.indptr)
    owner = np.repeat(np.arange(len(users)), sizes)
    total = np.bincount(owner, weights=popularity[history.indices], minlength=len(users))
    return np.where(sizes > 0, total / np.maximum(sizes, 1), np.nan)
