"""Items by decayed count: what the training data hold and, a few seconds old at most, what came since."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts.dated_counts import AHEAD_S, DatedCounts
from recsys.errors import ArtifactError, StorageError
from recsys.ids import IdMap
from recsys.index import ItemIndex
from recsys.serving.online import OnlineStore
from recsys.serving.online.tally import PERIOD_S, ItemCount

REFRESH_S = 2.0
"""Between two looks of a process for newer events."""
_HALF_LIVES = 8
_WORTH_MERGING = 1000
_PERIOD_H = PERIOD_S / 3600
_TIE = 1e-12
"""What a user adds to an item's score: forty half-lives after its last event, an item is as good as it is popular."""


class Trend:
    """The decayed counts of a model's items, by any half-life.

    Ages are counted from the end of the quarter of an hour of the newest event: the order is that of any later time,
    and scores stay until something happens. Events that are dated later than now are of now, and those more than a day
    later of no time: they would stay new for years.

    Parameters
    ----------
    items : IdMap
    item_counts : ndarray of shape (n_items,), float32
        Users of each item.
    events_through : int
        Position of the last event that `trained` holds.
    trained : callable
        Opens the counts of the training data; may raise `ArtifactError` or `StorageError`.
    """

    def __init__(
        self,
        items: IdMap,
        item_counts: NDArray[np.float32],
        events_through: int,
        trained: Callable[[], DatedCounts],
    ) -> None:
        self._items, self._ties, self._open = items, item_counts * _TIE, trained
        self._trained: DatedCounts | None = None
        self._position, self._settled, self._newer = events_through, DatedCounts.none(), DatedCounts.none()
        self._n_merged = _WORTH_MERGING
        self._lock, self._looked_s = threading.Lock(), float("-inf")
        self._known: tuple[DatedCounts, float, dict[float, ItemIndex]] = (DatedCounts.none(), 0.0, {})
        self.is_whole = False

    def refresh(self, namespace: str, online: OnlineStore, now_s: float) -> None:
        """Look for newer events unless this was done of late; stay as it is, and not be whole, where that fails."""
        first = self._looked_s == float("-inf")
        if time.monotonic() - self._looked_s < REFRESH_S or not self._lock.acquire(blocking=first):
            return
        try:
            if time.monotonic() - self._looked_s >= REFRESH_S:  # nobody else looked while this thread waited
                self._look(namespace, online)
                self._put_together(now_s / 3600)
                self._looked_s = time.monotonic()
        finally:
            self._lock.release()

    def index(self, half_life_h: float) -> ItemIndex | None:
        """Return what finds the items of the greatest decayed counts; None where there is no dated event at all."""
        counts, now_h, kept = self._known
        if not len(counts.items):
            return None
        found = kept.get(half_life_h)
        if found is None:
            if len(kept) >= _HALF_LIVES:
                kept.clear()
            scores = counts.decayed(half_life_h, now_h, len(self._items)) + self._ties
            found = kept[half_life_h] = ItemIndex(np.zeros((len(scores), 0), np.float32), scores.astype(np.float32))
        return found

    def _look(self, namespace: str, online: OnlineStore) -> None:
        try:
            if self._trained is None:
                self._trained = self._open()
            tally = online.tally(namespace, after=self._position)
            self._settled = self._settled.joined(self._dated(tally.settled))
            if len(self._settled.items) > 2 * self._n_merged:  # every look brought some, of the same items
                self._settled = self._settled.merged()
                self._n_merged = max(len(self._settled.items), _WORTH_MERGING)
            self._position, self._newer = tally.position, self._dated(tally.newer)
            self.is_whole = True
        except (ArtifactError, StorageError):
            self.is_whole = False

    def _dated(self, counts: Sequence[ItemCount]) -> DatedCounts:
        """Return counts by row; nothing of items the model does not know."""
        row_of = {item: self._items.row(item) for item in {one.item for one in counts}}
        rows = np.array([row_of[one.item] for one in counts], np.int32)
        hours, sizes = (np.array([one[at] for one in counts], np.float64) for at in (1, 2))
        known = rows >= 0
        return DatedCounts(rows[known], hours[known] / 3600, sizes[known].astype(np.float32))

    def _put_together(self, now_h: float) -> None:
        counts = (self._trained or DatedCounts.none()).joined(self._settled).joined(self._newer)
        counts = counts.until(now_h + AHEAD_S / 3600)
        newest_h = min(now_h, counts.hours.max(initial=0.0))
        self._known = counts, (newest_h // _PERIOD_H + 1) * _PERIOD_H, {}
