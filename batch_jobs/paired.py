"""Two models on the same events of the same users, among the same items."""

from __future__ import annotations

import numpy as np

from recsys.data import Dataset, Interactions
from recsys.errors import ConfigError
from recsys.evaluation import Difference, compare, evaluate
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.models import ServableRecommender
from recsys.models.base import Progress
from recsys.models.fitted import FittedFactors
from recsys.models.queries import Queries

MAX_USERS = 20_000
"""Compared at most, drawn at random: more would tell smaller differences apart than a gate has any use for."""


class Among(FittedFactors):
    """A model among the users and items of another dataset; its lists leave out that dataset's histories.

    Parameters
    ----------
    model : ServableRecommender
        Fitted, and knows all these users and items.
    dataset : Dataset
    """

    threads = 1

    def __init__(self, model: ServableRecommender, dataset: Dataset) -> None:
        factors, known = model.export(), model.dataset
        users, items = known.users.encode(dataset.users.ids()), known.items.encode(dataset.items.ids())
        vectors = np.ascontiguousarray(Queries.of(factors, users, None).vectors)
        self.kind = model.kind
        self._keep(dataset, Factors(vectors, factors.item_vectors[items], factors.item_bias[items]))

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Among:
        """Refuse: this is another model, seen from somewhere."""
        raise ConfigError("a model among the items of another is not trained; train a new one")


def on_unseen(ours: ServableRecommender, theirs: ServableRecommender, test: Interactions, metric: str) -> Difference:
    """Compare on test events that neither model has learned, by lists that leave out what either has.

    `InsufficientDataError` if fewer than two users can be judged.
    """
    users, items = _common(ours, theirs, test)
    learned = [_history(one).recode(users, items)[0] for one in (ours, theirs)]
    return _compare(ours, theirs, learned[0].join(learned[1]), test, metric)


def on_learned(ours: ServableRecommender, theirs: ServableRecommender, events: Interactions, metric: str) -> Difference:
    """Compare on events that one or both have learned, by lists that leave out nothing."""
    users, items = _common(ours, theirs, events)
    nothing = events.recode(users, items)[0].select(np.zeros(0, np.int64))
    return _compare(ours, theirs, nothing, events, metric)


def _compare(
    ours: ServableRecommender, theirs: ServableRecommender, left_out: Interactions, test: Interactions, metric: str
) -> Difference:
    dataset, k = Dataset(left_out), int(metric.rpartition("@")[2])
    results = [evaluate(Among(one, dataset), test, k=(k,)) for one in (ours, theirs)]
    return compare(*results, metrics=[metric])[0]


def _common(ours: ServableRecommender, theirs: ServableRecommender, test: Interactions) -> tuple[IdMap, IdMap]:
    """Users of the test and items, those that both models know; in an order that says nothing about them."""
    users = sorted(set(test.users.ids()).intersection(ours.dataset.users.ids(), theirs.dataset.users.ids()))
    items = sorted(set(ours.dataset.items.ids()).intersection(theirs.dataset.items.ids()))
    some = np.random.default_rng(0).permutation(len(users))[:MAX_USERS]
    return IdMap.from_ids(users[row] for row in some), IdMap.from_ids(items)


def _history(model: ServableRecommender) -> Interactions:
    return model.dataset.history or model.dataset.interactions
