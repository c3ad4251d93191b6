"""Who asks, where and when, as one point beside the items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.encoding import time_context
from recsys.errors import DataError
from recsys.factors import FoldIn, HistoryMap
from recsys.serving.fold_in import FoldedIn, Merged, fold_in
from recsys.serving.knowledge import Knowledge
from recsys.serving.loader import ServedModel

CONTEXT, FOLD_IN = "context", "fold_in"
_LARGEST = 1e18  # coordinate of a vector folded in: beyond it products with item vectors could leave float32


class Query(NamedTuple):
    """What a request is ranked and scored by, put together from what is known.

    A point is a vector and, last, a constant: it adds ``<vector, item_vector> + constant`` to the score of an item.

    Parameters
    ----------
    strategy : str
        Where the user's vector comes from: the kind of the model, fold_in, or, for the average one, context.
    user : ndarray of shape (d + 1,), float64
        The user's own point, what was folded in included.
    folded_in : FoldedIn, optional
        What the user's point consists of.
    features : ndarray of shape (n,), int32
        Of the context.
    points : ndarray of shape (n, d + 1), float64
        Of the features.
    """

    strategy: str
    user: NDArray[np.float64]
    folded_in: FoldedIn | None
    features: NDArray[np.int32]
    points: NDArray[np.float64]

    @classmethod
    def of(cls, model: ServedModel, known: Knowledge, context: Mapping[str, Any], now_s: float) -> Query:
        """Put together what is known of the user and the context; `DataError` for a context the model cannot read."""
        queries = model.factors.queries
        trained = _trained(model, known)
        timed = {name: one for name, one in time_context(now_s).items() if name in queries.context_encoder.names}
        try:
            features, values = queries.encode({**timed, **context}, known_user=trained is not None)
        except DataError as error:
            field = f"context.{error.field}" if error.field else "context"
            raise DataError(error.reason, field=field) from None
        folded_in = _folded_in(model, known, trained)
        if folded_in is not None:
            user, strategy = folded_in.point, FOLD_IN
        elif trained is not None:
            user, strategy = trained, model.manifest.kind
        else:
            user, strategy = np.append(queries.mean_user, queries.mean_user_bias).astype(np.float64), CONTEXT
        return cls(strategy, user, folded_in, features, queries.points(user[:-1], features, values))

    @property
    def vector(self) -> NDArray[np.float32]:
        """What items are ranked by, shape (1, d)."""
        total = self.user + self.points.sum(axis=0)
        return np.ascontiguousarray(total[None, :-1], np.float32)


def _trained(model: ServedModel, known: Knowledge) -> NDArray[np.float64] | None:
    """Return the published point of a user the training learnt from."""
    state = known.state
    # Of no width, where nobody has a vector, a model that makes predictions still has something to say.
    if state is None or not (state.vector.any() or (model.factors.query and not model.factors.width)):
        return None
    return np.append(state.vector, state.bias).astype(np.float64)


def _folded_in(model: ServedModel, known: Knowledge, trained: NDArray[np.float64] | None) -> FoldedIn | None:
    """Fold in history and newest events; None where there is nothing new, or no answer to it."""
    method = model.factors.fold_in
    if method is None or not len(known.recent_items):
        return None
    items, weights = known.recent_items, known.recent_weights
    try:
        if known.state is None:
            before = None
        else:
            before = _merged(model, method, known.state.items, known.state.weights)
            items, weights = np.concatenate([known.state.items, items]), np.concatenate([known.state.weights, weights])
        history = _merged(model, method, items, weights)
        if not len(history[0]):
            return None
        found = fold_in(model.factors, history, None if trained is None or before is None else (trained, before))
        return found if found is not None and (np.abs(found.point) < _LARGEST).all() else None
    except (DataError, np.linalg.LinAlgError):
        return None


def _merged(
    model: ServedModel, method: FoldIn | HistoryMap, items: NDArray[np.int32], weights: NDArray[np.float32]
) -> Merged:
    """Merge events as training did, and leave out what is no sign of anything."""
    rows, merged = model.weight_rule.apply(items, weights)
    kept = method.counts(merged)
    return items[rows[kept]], merged[kept]
