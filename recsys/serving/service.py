"""`RecommendationService`: what every face of the suite asks, be it REST, the command line or a batch job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import UnknownItemError
from recsys.events import InteractionEvent
from recsys.index import Exclusions
from recsys.serving.knowledge import Knowledge, SessionEvent
from recsys.serving.loader import ModelLoader, ServedModel
from recsys.serving.online import OnlineStore
from recsys.serving.query import CONTEXT, Query

if TYPE_CHECKING:
    from recsys.serving.scores import ScoredItems

POPULAR = "popular"
_NO_VECTOR = np.zeros((1, 0), np.float32)


class RankedItem(NamedTuple):
    """One place of a list: the item, its score and, in a word, why it is there."""

    item: str
    score: float
    reason: str


class RankedList(NamedTuple):
    """An answer, from one pinned version.

    Parameters
    ----------
    items : tuple of RankedItem
        Best first; as many as asked for when the catalogue allows it.
    model_version : str
    model_created_at : str
        As the manifest says.
    strategy : str
        Where the scores come from: the kind of the model (als, ...), fold_in, context, popular or similar.
    degraded : bool
        Something the answer should have used was out of reach.
    """

    items: tuple[RankedItem, ...]
    model_version: str
    model_created_at: str
    strategy: str
    degraded: bool = False


class RecommendationService:
    """Lists from the published model and the online store.

    Parameters
    ----------
    models : ModelLoader
    online : OnlineStore
    clock : callable
        Returns UTC seconds; the time of a request that does not say its own.
    """

    def __init__(self, models: ModelLoader, online: OnlineStore, *, clock: Callable[[], float] = time.time) -> None:
        self.models = models
        self.online = online
        self.clock = clock

    def recommend(
        self,
        namespace: str,
        user: str | None,
        k: int,
        *,
        context: Mapping[str, Any] | None = None,
        events: Sequence[SessionEvent] = (),
    ) -> RankedList:
        """Return the top-k for a user, without what they have; popular items for somebody of whom nothing is known.

        The vector is the published one; with events sent since the training, it is folded in from the whole history.
        What the context adds comes on top of it.

        Parameters
        ----------
        namespace : str
        user : str, optional
            None for a session of nobody.
        k : int
        context : mapping of str to value, optional
            By the names of the model's context fields. Hour, weekday and month are those of now where it does not say
            them. It may also hold user attributes: they count for users the model does not know, those of the others
            it was trained with.
        events : sequence of SessionEvent
            Counted after the stored ones, and not stored.

        Raises
        ------
        NoModelError
            If the namespace has no model.
        DataError
            Naming a field of the context that the model does not know, or whose value has a wrong type.
        """
        model = self.models.current(namespace)
        query, known = self._asked(namespace, user, model, context or {}, events)
        exclude = Exclusions.of_one(known.seen)
        if query.strategy == CONTEXT and not context:
            strategy, (rows, scores) = POPULAR, model.popularity.search(_NO_VECTOR, k, exclude=exclude)
        else:
            strategy, (rows, scores) = query.strategy, model.index.search(query.vector, k, exclude=exclude)
        return _ranked(model, rows[0], scores[0], strategy, known.degraded or self.models.degraded(namespace))

    def scores(
        self,
        namespace: str,
        user: str | None,
        items: Sequence[str],
        *,
        context: Mapping[str, Any] | None = None,
        explain: bool = False,
    ) -> ScoredItems:
        """Return what the model predicts for a user and named items, with `explain` also what it consists of.

        A prediction is a rating or a probability where the model learns one, else the score lists are ranked by.
        Somebody of whom nothing is known is an average user. Parameters and errors as of `recommend`, and
        `UnknownItemError` if the model lacks an item.
        """
        from recsys.serving.scores import ScoredItems, scored

        model = self.models.current(namespace)
        rows = np.array([_item_row(model, item) for item in items], np.int32)
        query, known = self._asked(namespace, user, model, context or {}, ())
        degraded = known.degraded or self.models.degraded(namespace)
        found, manifest = scored(model, query, rows, explain=explain), model.manifest
        return ScoredItems(found, manifest.version, manifest.created_at, query.strategy, degraded)

    def similar(self, namespace: str, item: str, k: int) -> RankedList:
        """Return the k nearest items by cosine of the item vectors; `UnknownItemError` if the model lacks the item."""
        model = self.models.current(namespace)
        rows, scores = model.cosine_index.similar(_item_row(model, item), k)
        return _ranked(model, rows[0], scores[0], "similar", self.models.degraded(namespace))

    def popular(self, namespace: str, k: int) -> RankedList:
        """Return the k items most users have."""
        model = self.models.current(namespace)
        rows, scores = model.popularity.search(_NO_VECTOR, k)
        return _ranked(model, rows[0], scores[0], POPULAR, self.models.degraded(namespace))

    def record_events(self, namespace: str, events: Sequence[InteractionEvent]) -> int:
        """Store events; the next list of their users takes them into account. Return how many were new."""
        self.models.require(namespace)  # an event for a namespace that does not exist would never be read
        return self.online.append_events(namespace, events)

    def _asked(
        self,
        namespace: str,
        user: str | None,
        model: ServedModel,
        context: Mapping[str, Any],
        events: Sequence[SessionEvent],
    ) -> tuple[Query, Knowledge]:
        known = Knowledge.nothing() if user is None else Knowledge.of(user, namespace, model, self.online)
        known = known.then(events, model)
        return Query.of(model, known, context, self.clock()), known


def _item_row(model: ServedModel, item: str) -> int:
    row = model.items.row(item)
    if row < 0:
        raise UnknownItemError(f"item {item!r} is not in the catalogue of model {model.manifest.version}")
    return row


def _ranked(
    model: ServedModel, rows: NDArray[np.int32], scores: NDArray[np.float32], strategy: str, degraded: bool
) -> RankedList:
    items = tuple(
        RankedItem(model.items.id(row), score, strategy)
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
        if row >= 0
    )
    return RankedList(items, model.manifest.version, model.manifest.created_at, strategy, degraded)
