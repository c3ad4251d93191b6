"""Rows of items like those a user liked: because you liked this, that."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.serving.knowledge import Knowledge
from recsys.serving.listing import Ranking
from recsys.serving.loader import ServedModel
from recsys.serving.searches import SIMILAR, similar_to

if TYPE_CHECKING:
    from recsys.serving.answers import RankedList

NO_HISTORY = "no_history"


class Row(NamedTuple):
    """Items like one that the user liked."""

    because: str
    found: RankedList


class Rows(NamedTuple):
    """Rows from one pinned version, the rest as of a `RankedList`; strategy is `NO_HISTORY` where there are none."""

    rows: tuple[Row, ...]
    model_version: str
    model_created_at: str
    strategy: str
    degraded: bool = False
    variant: str | None = None


def liked(known: Knowledge) -> NDArray[np.int32]:
    """Return the rows of the items a user liked, the newest first.

    Liked is what was given the user's mean weight at least: of ratings the better ones, of clicks all.
    """
    items, weights = known.recent_items, known.recent_weights
    if known.state is not None:
        items, weights = np.concatenate([known.state.items, items]), np.concatenate([known.state.weights, weights])
    if not len(items):
        return items
    least = weights.mean(dtype=np.float64) * (1 - 1e-6)  # of equal weights all are liked, however the mean is rounded
    good: NDArray[np.int32] = items[weights >= least][::-1]
    _, first = np.unique(good, return_index=True)
    distinct: NDArray[np.int32] = good[np.sort(first)]
    return distinct


def rows_of(
    model: ServedModel,
    known: Knowledge,
    removed: Collection[str],
    n_rows: int,
    listed: Callable[[Ranking], RankedList],
    *,
    degraded: bool,
) -> Rows:
    """Return a row for each of the newest liked items that are still there; those with nothing to show are left out."""
    closed = np.zeros(len(model.items), np.bool_)
    closed[known.seen] = True
    unmodelled, rows = known.unmodelled, list[Row]()
    there = (row for row in liked(known).tolist() if model.items.id(row) not in removed)
    for row in islice(there, n_rows):
        like = model.items.id(row)
        found = listed(Ranking(model, SIMILAR, similar_to(model, row, closed), unmodelled, like))
        if found.items:
            rows.append(Row(like, found))
        for one in found.items:
            if (shown := model.items.row(one.item)) >= 0:
                closed[shown] = True
            else:
                unmodelled |= {one.item}
    manifest, degraded = model.manifest, degraded or any(row.found.degraded for row in rows)
    strategy = SIMILAR if rows else NO_HISTORY
    return Rows(tuple(rows), manifest.version, manifest.created_at, strategy, degraded)
