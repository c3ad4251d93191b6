"""What a request knows of its user: the published state, and what happened since."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ArtifactError, StorageError
from recsys.serving.loader import ServedModel
from recsys.serving.online import NO_END, CatalogueHead, OnlineStore, UserState

if TYPE_CHECKING:
    from recsys.serving.session import SessionEvent

RECENT_EVENTS = 200
"""Newest events of a user that the vector is solved from; items of older ones are left out of the list all the same."""

_NO_ROWS = np.empty(0, np.int32)
_NO_WEIGHTS = np.empty(0, np.float32)


class Knowledge(NamedTuple):
    """What is known of somebody.

    Parameters
    ----------
    state : UserState, optional
        As published.
    recent_items, recent_weights : ndarray
        Newest events since the training: item rows and raw weights, oldest first.
    seen : ndarray of int32
        Item rows of all events, ascending.
    degraded : bool
        Something was out of reach.
    unmodelled : frozenset of str
        Items of events that the model does not have.
    head : CatalogueHead, optional
        Of the catalogue, if it was read along.
    through : int
        Position of the newest event.
    """

    state: UserState | None
    recent_items: NDArray[np.int32]
    recent_weights: NDArray[np.float32]
    seen: NDArray[np.int32]
    degraded: bool = False
    unmodelled: frozenset[str] = frozenset()
    head: CatalogueHead | None = None
    through: int = 0

    @classmethod
    def nothing(cls, *, degraded: bool = False) -> Knowledge:
        """Nothing is known."""
        return cls(None, _NO_ROWS, _NO_WEIGHTS, _NO_ROWS, degraded)

    @classmethod
    def of(cls, user: str, namespace: str, model: ServedModel, online: OnlineStore, through: int = NO_END) -> Knowledge:
        """Ask the online store what it knows up to an event.

        Nothing is known, and `degraded`, where the store is out of reach or holds something else.
        """
        since = model.events_through
        try:
            state, head = online.user_and_head(namespace, model.manifest.version, user)
            _check_fits(state, model)
            stored = online.recent_events(namespace, user, after=since, through=through, limit=RECENT_EVENTS)
            through = stored[-1].position if stored else since
            had = {one.event.item for one in stored}
            if len(stored) == RECENT_EVENTS:  # there may be older ones
                had.update(online.recent_items(namespace, user, after=since, through=through))
        except (StorageError, ArtifactError):  # out of reach, or not what was stored
            return cls.nothing(degraded=True)
        recent = sorted((one.event for one in stored), key=lambda one: one.timestamp_s)
        rows, weights, _ = _known(model, [(one.item, one.value) for one in recent])
        had_rows, _, unmodelled = _known(model, [(item, 1.0) for item in had])
        seen = _distinct(state.items if state else _NO_ROWS, had_rows)
        return cls(state, rows, weights, seen, unmodelled=unmodelled, head=head, through=through)

    def then(self, session: Sequence[SessionEvent], model: ServedModel) -> Knowledge:
        """Return the same with the events of a session after all others."""
        if not session:
            return self
        rows, weights, unmodelled = _known(model, [(one.item, one.value) for one in session])
        return self._replace(
            recent_items=np.concatenate([self.recent_items, rows]),
            recent_weights=np.concatenate([self.recent_weights, weights]),
            seen=_distinct(self.seen, rows),
            unmodelled=self.unmodelled | unmodelled,
        )


def _known(
    model: ServedModel, events: Sequence[tuple[str, float]]
) -> tuple[NDArray[np.int32], NDArray[np.float32], frozenset[str]]:
    """Item rows and weights of the events whose items the model has, and the items of the others."""
    if not events:  # of most users
        return _NO_ROWS, _NO_WEIGHTS, frozenset()
    rows = np.array([model.items.row(item) for item, _ in events], np.int32)
    weights = np.array([value for _, value in events], np.float32)
    others = frozenset(events[n][0] for n in np.flatnonzero(rows < 0).tolist())
    return rows[rows >= 0], weights[rows >= 0], others


def _distinct(some: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.int32]:
    """Rows of both, ascending; numpy's own `union1d` would import masked arrays within the first request."""
    rows = np.sort(np.concatenate([some, others]))
    first = np.ones(len(rows), np.bool_)
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    return rows[first]


def _check_fits(state: UserState | None, model: ServedModel) -> None:
    """Raise `ArtifactError` for a state that is not one of this model's."""
    if state is None:
        return
    if len(state.vector) != model.factors.width or not (np.isfinite(state.vector).all() and math.isfinite(state.bias)):
        raise ArtifactError(f"a stored user vector does not fit model {model.manifest.version}")
    if len(state.items) and not 0 <= state.items.min() <= state.items.max() < len(model.items):
        raise ArtifactError(f"a stored user history does not fit model {model.manifest.version}")
