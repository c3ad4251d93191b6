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
    """

    model: ServedModel
    strategy: str
    search: Search
    unmodelled: frozenset[str] = frozenset()
    like: str | None = None


def listed(ranking: Ranking, catalogue: Catalogue, k: int, rules: Rules | None, now_s: float) -> list[RankedItem]:
    """Return k items, or as many as there are: those of the model by rank, then new ones.

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
    if rules is not None:
        return _under_rules(ranking, catalogue, k, rules, now_s)
    rows, scores = ranking.search(k, catalogue.shown(ranking.model), None)
    items = ranking.model.items
    found = [
        RankedItem(items.id(row), score, ranking.strategy)
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
        if row >= 0
    ]
    if len(found) < k and catalogue.head.revision:
        with suppress(StorageError, ArtifactError):  # a list that is shorter than it could be
            found += _new(ranking, catalogue, k - len(found))
    return found


def _new(ranking: Ranking, catalogue: Catalogue, count: int) -> list[RankedItem]:
    """Return the newest of the items that the model does not know."""
    from recsys.serving.arranging import NEW

    view = catalogue.view(ranking.model)
    items = (item for item in map(view.id, view.new) if item not in ranking.unmodelled)
    return [RankedItem(item, 0.0, NEW) for item, _ in zip(items, range(count), strict=False)]


def _under_rules(ranking: Ranking, catalogue: Catalogue, k: int, rules: Rules, now_s: float) -> list[RankedItem]:
    from recsys.serving.arranging import arranged
    from recsys.serving.rules import terms_of

    view = catalogue.view(ranking.model)
    terms = terms_of(rules, view, now_s)
    without = view.rows([*rules.exclude, *ranking.unmodelled])
    places = arranged(ranking.search, view, rules, terms, without, k)
    return [RankedItem(view.id(one.row), one.score, one.reason or ranking.strategy) for one in places]
