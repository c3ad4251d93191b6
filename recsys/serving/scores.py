"""Predictions for named items, and what they consist of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.serving.fold_in import FoldedIn
from recsys.serving.loader import ServedModel
from recsys.serving.query import Query

MOST_OF_HISTORY = 20
"""Items of a history that an explanation names; the others are one sum."""


@dataclass(frozen=True)
class Contribution:
    """What one thing adds to a score.

    Parameters
    ----------
    source : {"bias", "item", "user", "history", "context"}
    name : str
        The item of a history, ``field=value`` of a context, else empty; empty also for the rest of a long history.
    value : float
    """

    source: str
    name: str
    value: float


@dataclass(frozen=True)
class ScoredItem:
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


@dataclass(frozen=True)
class ScoredItems:
    """Predictions from one pinned version, in the order they were asked for; `strategy` as of a `RankedList`."""

    items: tuple[ScoredItem, ...]
    model_version: str
    strategy: str
    degraded: bool = False


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


def _explained(
    model: ServedModel, query: Query, rows: NDArray[np.int32], points: NDArray[np.float64]
) -> list[tuple[Contribution, ...]]:
    """Contributions to each of some items; `points` are their vectors and a 1."""
    queries, folded_in = model.factors.queries, query.folded_in
    of_user = points @ (query.user if folded_in is None else folded_in.base)
    of_features = points @ query.points.T
    of_history = points @ folded_in.parts.T if folded_in else None
    names = [queries.feature_name(feature) for feature in query.features.tolist()]
    return [
        (
            Contribution("bias", "", queries.bias),
            Contribution("item", "", float(model.factors.item_bias[row])),
            Contribution("user", "", float(of_user[at])),
            *(
                Contribution("context", name, value)
                for name, value in zip(names, of_features[at].tolist(), strict=True)
            ),
            *(_history(model, folded_in, of_history[at]) if folded_in and of_history is not None else ()),
        )
        for at, row in enumerate(rows.tolist())
    ]


def _history(model: ServedModel, folded_in: FoldedIn, values: NDArray[np.float64]) -> list[Contribution]:
    """Contributions of the items of a history, the largest first; a row that stands twice is one item."""
    rows, place = np.unique(folded_in.items, return_inverse=True)
    sums = np.bincount(place, weights=values, minlength=len(rows))
    order = np.argsort(-np.abs(sums), kind="stable")
    named, rest = order[:MOST_OF_HISTORY], order[MOST_OF_HISTORY:]
    found = [Contribution("history", model.items.id(int(rows[at])), float(sums[at])) for at in named]
    return [*found, Contribution("history", "", float(sums[rest].sum()))] if len(rest) else found
