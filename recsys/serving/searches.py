"""How the items of a model are searched: by a user's vector, by likeness to an item, by counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.index import Exclusions, ItemIndex
from recsys.serving.listing import Search
from recsys.serving.loader import ServedModel
from recsys.serving.query import CONTEXT, Query

POPULAR, SIMILAR, TRENDING = "popular", "similar", "trending"
Bits = NDArray[np.bool_]
Boosts = NDArray[np.float32] | None
Found = tuple[NDArray[np.int32], NDArray[np.float32]]
_NO_VECTOR = np.zeros((1, 0), np.float32)


def for_somebody(
    model: ServedModel,
    query: Query,
    context: Mapping[str, Any] | None,
    *,
    exclude: NDArray[np.int32] | None = None,
    among: NDArray[np.int32] | None = None,
) -> tuple[str, Search]:
    """Return where scores come from, and the search by them; popular items for somebody of whom nothing is known.

    Parameters
    ----------
    model : ServedModel
    query : Query
    context : mapping of str to value, optional
        Of the query.
    exclude, among : ndarray of int32, optional
        Rows that are never found, and the only ones that are.
    """
    if query.strategy == CONTEXT and not context:
        strategy, index, vector = POPULAR, model.popularity, _NO_VECTOR
    else:
        strategy, index, vector = query.strategy, model.index, query.vector
    closed = None if exclude is None else Exclusions.of_one(exclude)
    only = None if among is None else _bits(len(model.items), among)

    def search(k: int, allowed: Bits | None, boost: Boosts) -> Found:
        allowed = only if allowed is None else allowed if only is None else allowed & only
        rows, scores = index.search(vector, k, exclude=closed, allowed=allowed, boost=boost)
        return rows[0], scores[0]

    return strategy, search


def for_all(index: ItemIndex) -> Search:
    """Return the search by what is the same for everybody."""

    def search(k: int, allowed: Bits | None, boost: Boosts) -> Found:
        rows, scores = index.search(_NO_VECTOR, k, allowed=allowed, boost=boost)
        return rows[0], scores[0]

    return search


def similar_to(model: ServedModel, row: int, closed: Bits | None = None) -> Search:
    """Return the search by cosine to an item, without some others."""

    def search(k: int, allowed: Bits | None, boost: Boosts) -> Found:
        if closed is not None:
            allowed = ~closed if allowed is None else allowed & ~closed
        rows, scores = model.cosine_index.similar(row, k, allowed=allowed, boost=boost)
        return rows[0], scores[0]

    return search


def _bits(size: int, rows: NDArray[np.int32]) -> Bits:
    bits = np.zeros(size, np.bool_)
    bits[rows] = True
    return bits
