"""`RecommendationService`: what every face of the suite asks, be it REST, the command line or a batch job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ArtifactError, DataError, StorageError, UnknownItemError
from recsys.events import InteractionEvent
from recsys.index import Exclusions
from recsys.serving.fold_in import fold_in
from recsys.serving.loader import ModelLoader, ServedModel
from recsys.serving.online import OnlineStore, UserState

RECENT_EVENTS = 200
"""Newest events of a user that the vector is solved from; items of older ones are left out of the list all the same."""


@dataclass(frozen=True)
class RankedItem:
    """One place of a list: the item, its score and, in a word, why it is there."""

    item: str
    score: float
    reason: str


@dataclass(frozen=True)
class RankedList:
    """An answer, from one pinned version.

    Parameters
    ----------
    items : tuple of RankedItem
        Best first; as many as asked for when the catalogue allows it.
    model_version : str
    strategy : str
        Where the scores come from: the kind of the model (als, ...), fold_in, popular or similar.
    degraded : bool
        Something the answer should have used was out of reach.
    """

    items: tuple[RankedItem, ...]
    model_version: str
    strategy: str
    degraded: bool = False


@dataclass(frozen=True, eq=False)
class _Knowledge:
    """What a request knows of its user.

    Parameters
    ----------
    state : UserState, optional
        As published.
    recent_items, recent_weights : ndarray
        Newest events since the training: item rows and raw weights, oldest first.
    seen : ndarray of int32
        Item rows of all events, ascending.
    """

    state: UserState | None
    recent_items: NDArray[np.int32]
    recent_weights: NDArray[np.float32]
    seen: NDArray[np.int32]
    degraded: bool = False


class RecommendationService:
    """Lists from the published model and the online store.

    Parameters
    ----------
    models : ModelLoader
    online : OnlineStore
    """

    def __init__(self, models: ModelLoader, online: OnlineStore) -> None:
        self.models = models
        self.online = online

    def recommend(self, namespace: str, user: str, k: int) -> RankedList:
        """Return the top-k for a user, without what they have; popular items for somebody nobody knows.

        The vector is the published one; with events sent since the training, it is solved anew from the whole
        history. `NoModelError` if the namespace has no model.
        """
        model = self.models.current(namespace)
        known = self._knowledge(namespace, user, model)
        vector, strategy = self._query(model, known)
        index = model.popularity if vector is None else model.index
        query = np.zeros((1, 0), np.float32) if vector is None else np.ascontiguousarray(vector[None])
        rows, scores = index.search(query, k, exclude=Exclusions.of_one(known.seen))
        degraded = known.degraded or self.models.degraded(namespace)
        return _ranked(model, rows[0], scores[0], strategy, degraded)

    def similar(self, namespace: str, item: str, k: int) -> RankedList:
        """Return the k nearest items by cosine of the item vectors; `UnknownItemError` if the model lacks the item."""
        model = self.models.current(namespace)
        row = model.items.row(item)
        if row < 0:
            raise UnknownItemError(f"item {item!r} is not in the catalogue of model {model.manifest.version}")
        rows, scores = model.cosine_index.similar(row, k)
        return _ranked(model, rows[0], scores[0], "similar", self.models.degraded(namespace))

    def popular(self, namespace: str, k: int) -> RankedList:
        """Return the k items most users have."""
        model = self.models.current(namespace)
        rows, scores = model.popularity.search(np.zeros((1, 0), np.float32), k)
        return _ranked(model, rows[0], scores[0], "popular", self.models.degraded(namespace))

    def record_events(self, namespace: str, events: Sequence[InteractionEvent]) -> int:
        """Store events; the next list of their users takes them into account. Return how many were new."""
        self.models.require(namespace)  # an event for a namespace that does not exist would never be read
        return self.online.append_events(namespace, events)

    def _knowledge(self, namespace: str, user: str, model: ServedModel) -> _Knowledge:
        try:
            state = self.online.user_state(namespace, model.manifest.version, user)
            _check_fits(state, model)
            recent = self.online.recent_events(namespace, user, after=model.events_through, limit=RECENT_EVENTS)
            had = self.online.recent_items(namespace, user, after=model.events_through)
        except (StorageError, ArtifactError):  # out of reach, or not what was stored
            nothing = np.empty(0, np.int32)
            return _Knowledge(None, nothing, np.empty(0, np.float32), nothing, degraded=True)
        recent.sort(key=lambda one: one.timestamp_s)
        rows = np.array([model.items.row(one.item) for one in recent], np.int32)
        weights = np.array([one.value for one in recent], np.float32)
        had_rows = np.array([model.items.row(item) for item in had], np.int32)
        seen = np.union1d(state.items if state else np.empty(0, np.int32), had_rows[had_rows >= 0])
        return _Knowledge(state, rows[rows >= 0], weights[rows >= 0], seen)

    @staticmethod
    def _query(model: ServedModel, known: _Knowledge) -> tuple[NDArray[np.float32] | None, str]:
        """Return the user's vector and the strategy it stands for; no vector means popularity."""
        vector = _folded_in(model, known) if len(known.recent_items) else None
        if vector is not None:
            return vector, "fold_in"
        if known.state is None or not known.state.vector.any():  # of width 0, or of nobody the training learnt from
            return None, "popular"
        return known.state.vector, model.manifest.kind


def _check_fits(state: UserState | None, model: ServedModel) -> None:
    """Raise `ArtifactError` for a state that is not one of this model's."""
    if state is None:
        return
    if len(state.vector) != model.factors.width or not np.isfinite(state.vector).all():
        raise ArtifactError(f"a stored user vector does not fit model {model.manifest.version}")
    if len(state.items) and not 0 <= state.items.min() <= state.items.max() < len(model.items):
        raise ArtifactError(f"a stored user history does not fit model {model.manifest.version}")


def _folded_in(model: ServedModel, known: _Knowledge) -> NDArray[np.float32] | None:
    """Solve the vector from history and newest events; None where the model, the rule or the system has no answer."""
    settings = model.factors.fold_in
    if settings is None:
        return None
    items, weights = known.recent_items, known.recent_weights
    if known.state is not None:
        items, weights = np.concatenate([known.state.items, items]), np.concatenate([known.state.weights, weights])
    try:
        rows, merged = model.weight_rule.apply(items, weights)
        positive = merged > 0
        if not positive.any():
            return None
        vector = fold_in(settings, model.factors.item_vectors, items[rows[positive]], merged[positive])
    except (DataError, np.linalg.LinAlgError):
        return None
    return vector if np.isfinite(vector).all() else None


def _ranked(
    model: ServedModel, rows: NDArray[np.int32], scores: NDArray[np.float32], strategy: str, degraded: bool
) -> RankedList:
    items = tuple(
        RankedItem(model.items.id(row), score, strategy)
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
        if row >= 0
    )
    return RankedList(items, model.manifest.version, strategy, degraded)
