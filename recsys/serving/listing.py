"""From a ranking of the model to the items of a list: what was deleted goes, what rules want comes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ArtifactError, StorageError, UnknownItemError
from recsys.serving.catalogue import Catalogue
from recsys.serving.loader import ServedModel

if TYPE_CHECKING:
    from recsys.serving.paging import Page
    from recsys.serving.rules import Rules

Search = Callable[
    [int, NDArray[np.bool_] | None, NDArray[np.float32] | None], tuple[NDArray[np.int32], NDArray[np.float32]]
]
"""Rows and scores of the best items, by length of the list, items allowed and what is added to their scores."""


class RankedItem(NamedTuple):
    """One place of a list: the item, its score and, in a word, why it is there.

    Where places are explored also the probability that this item is at this place.
    """

    item: str
    score: float
    reason: str
    propensity: float | None = None


class Ranking(NamedTuple):
    """How a request ranks the items of a model.

    Parameters
    ----------
    model : ServedModel
    strategy : str
    search : Search
    unmodelled : frozenset of str
        Items that the list may not have and the model does not know.
    like : str, optional
        The item that the list is like.
    new : frozenset of str, optional
        The only ones that the list may have of the items the model does not know.
    """

    model: ServedModel
    strategy: str
    search: Search
    unmodelled: frozenset[str] = frozenset()
    like: str | None = None
    new: frozenset[str] | None = None

    def may_have(self, item: str) -> bool:
        """Whether an item that the model does not know may be in the list."""
        return item not in self.unmodelled and (self.new is None or item in self.new)


Found = list[tuple[int, RankedItem]]
"""Items of a list by their rows in the model; -1 for those it does not know."""


def listed(ranking: Ranking, catalogue: Catalogue, k: int, rules: Rules | None, page: Page) -> Found:
    """Return k items, or as many as there are: of the model by rank, then new ones, none of pages before.

    Raises
    ------
    UnknownItemError
        If the item that the list is like was deleted.
    DataError
        Naming a field of a rule that the catalogue does not declare, or whose value has a wrong type.
    StorageError
        If rules are given, and the catalogue was never read and cannot be.
    """
    if ranking.like in catalogue.removed:
        raise UnknownItemError(f"item {ranking.like!r} was deleted")
    if page.items:
        ranking = ranking._replace(unmodelled=ranking.unmodelled.union(page.items))
    if rules is not None:
        return _under_rules(ranking, catalogue, k, rules, page)
    rows, scores = ranking.search(k, _open(catalogue.shown(ranking.model), ranking.model, page), None)
    items = ranking.model.items
    found = [
        (row, RankedItem(items.id(row), score, ranking.strategy))
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
        if row >= 0
    ]
    if len(found) < k and catalogue.head.revision:
        # A list that is shorter than it could be; a walk would end too early.
        with suppress(*(() if page.began else (StorageError, ArtifactError))):
            found += _new(ranking, catalogue, k - len(found))
    return found


def _open(shown: NDArray[np.bool_] | None, model: ServedModel, page: Page) -> NDArray[np.bool_] | None:
    """Return which items of the model are neither deleted nor served; None if all are."""
    if not page.rows:
        return shown
    bits = np.ones(len(model.items), np.bool_) if shown is None else shown.copy()
    bits[list(page.rows)] = False
    return bits


def _new(ranking: Ranking, catalogue: Catalogue, count: int) -> Found:
    """Return the newest of the items that the model does not know."""
    from recsys.serving.arranging import NEW

    view = catalogue.view(ranking.model)
    items = filter(ranking.may_have, map(view.id, view.new))
    return [(-1, RankedItem(item, 0.0, NEW)) for item, _ in zip(items, range(count), strict=False)]


def _under_rules(ranking: Ranking, catalogue: Catalogue, k: int, rules: Rules, page: Page) -> Found:
    from recsys.serving.arranging import arranged
    from recsys.serving.rules import terms_of

    view = catalogue.view(ranking.model)
    terms = terms_of(rules, view, page.now_s)
    without = view.rows([*rules.exclude, *ranking.unmodelled]) + list(page.rows)
    if ranking.new is not None:
        without += [row for row in view.new if not ranking.may_have(view.id(row))]
    places = arranged(ranking.search, view, rules, terms, without, k)
    return [
        (
            one.row if one.row < view.n_model else -1,
            RankedItem(view.id(one.row), one.score, one.reason or ranking.strategy),
        )
        for one in places
    ]
