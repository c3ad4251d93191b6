"""Predictions for named items, and what they consist of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.serving.fold_in import FoldedIn
from recsys.serving.listing import Found
from recsys.serving.loader import ServedModel
from recsys.serving.query import Query

MOST_NAMED = 20
"""Items of a history, and features of a context, that an explanation names; the others are one sum."""


class Contribution(NamedTuple):
    """What one thing adds to a score.

    Parameters
    ----------
    source : {"bias", "item", "user", "history", "context"}
    name : str
        The item of a history, ``field=value`` of a context, else empty; empty also for the rest of a long list.
    value : float
    """

    source: str
    name: str
    value: float


class ScoredItem(NamedTuple):
    """A prediction and its explanation.

    Parameters
    ----------
    item : str
    score : float
        Rating, probability or, where a model predicts neither, raw score.
    raw_score : float
        Before link and clipping: the sum of the contributions.
    contributions : tuple of Contribution
    """

    item: str
    score: float
    raw_score: float
    contributions: tuple[Contribution, ...]


class ScoredItems(NamedTuple):
    """Predictions from one pinned version, in the order they were asked for; the rest as of a `RankedList`."""

    items: tuple[ScoredItem, ...]
    model_version: str
    model_created_at: str
    strategy: str
    degraded: bool = False
    variant: str | None = None


def scored(model: ServedModel, query: Query, rows: NDArray[np.int32], *, explain: bool) -> tuple[ScoredItem, ...]:
    """Predict the items of some rows for a query."""
    factors = model.factors
    points = np.column_stack([factors.item_vectors[rows], np.ones(len(rows))]).astype(np.float64)
    raw = (
        factors.item_bias[rows].astype(np.float64)
        + factors.queries.bias
        + points @ (query.user + query.points.sum(axis=0))
    )
    predictions = factors.queries.predictions(raw)
    explained = _explained(model, query, rows, points) if explain else [()] * len(rows)
    return tuple(
        ScoredItem(model.items.id(row), prediction, y, contributions)
        for row, prediction, y, contributions in zip(
            rows.tolist(), predictions.tolist(), raw.tolist(), explained, strict=True
        )
    )


def explained(model: ServedModel, query: Query, found: Found) -> tuple[ScoredItem, ...]:
    """Predict and explain the items of a list; of those the model does not know there is nothing to say."""
    rows = np.array([row for row, _ in found if row >= 0], np.int32)
    predicted = iter(scored(model, query, rows, explain=True))
    return tuple(next(predicted) if row >= 0 else ScoredItem(one.item, 0.0, 0.0, ()) for row, one in found)


def _explained(
    model: ServedModel, query: Query, rows: NDArray[np.int32], points: NDArray[np.float64]
) -> list[tuple[Contribution, ...]]:
    """Contributions to each of some items; `points` are their vectors and a 1."""
    queries, folded_in = model.factors.queries, query.folded_in
    of_user = points @ (query.user if folded_in is None else folded_in.base)
    names = [queries.feature_name(feature) for feature in query.features.tolist()]
    history, parts = _by_item(folded_in) if folded_in else (np.empty(0, np.int32), np.empty((0, points.shape[1])))
    return [
        (
            Contribution("bias", "", queries.bias),
            Contribution("item", "", float(model.factors.item_bias[row])),
            Contribution("user", "", float(of_user[at])),
            *_largest("context", query.points @ points[at], names.__getitem__),
            *_largest("history", parts @ points[at], lambda one: model.items.id(int(history[one]))),
        )
        for at, row in enumerate(rows.tolist())
    ]


def _by_item(folded_in: FoldedIn) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Distinct items of a history and what each adds to the user's point; a row that stands twice is one item."""
    rows, place = np.unique(folded_in.items, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    return rows, np.add.reduceat(folded_in.parts[order], starts)


def _largest(source: str, values: NDArray[np.float64], name_of: Callable[[int], str]) -> list[Contribution]:
    """Contributions of some things, the largest first; of many, most are one sum."""
    size, named = -np.abs(values), np.arange(len(values))
    if len(values) > MOST_NAMED:  # not sorted as a whole: somebody may have a hundred thousand items
        named = np.argpartition(size, MOST_NAMED)[:MOST_NAMED]
    named = named[np.argsort(size[named], kind="stable")]
    found = [Contribution(source, name_of(one), float(values[one])) for one in named.tolist()]
    if len(values) > MOST_NAMED:
        found.append(Contribution(source, "", float(values.sum() - values[named].sum())))
    return found
