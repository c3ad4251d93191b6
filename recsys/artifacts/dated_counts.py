"""How often items came up, and when: what is needed to rank them by a decayed count at any half-life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts.artifact import TREND
from recsys.artifacts.store import StoredArrays
from recsys.errors import ArtifactError

_STEP = 0.2
"""Length of a period beside its age: by it, no event counts for 0.004 more or less than it would by its own time."""
AHEAD_S = 86_400.0
"""How much later than now an event may be dated, as clocks and time zones go: beyond it, it would be new for years."""
_PERIOD_H = 0.25


class DatedCounts(NamedTuple):
    """Events by item and period, each period at the mean time of its events.

    Parameters
    ----------
    items : ndarray of shape (n,), int32
        Rows, in any order, and any number of times.
    hours : ndarray of shape (n,), float64
        Since 1970, UTC.
    counts : ndarray of shape (n,), float32
    """

    items: NDArray[np.int32]
    hours: NDArray[np.float64]
    counts: NDArray[np.float32]

    @classmethod
    def none(cls) -> DatedCounts:
        """Return those of no events."""
        return cls(np.empty(0, np.int32), np.empty(0), np.empty(0, np.float32))

    @classmethod
    def of(cls, items: NDArray[np.int32], timestamps_s: NDArray[np.int64], now_s: float) -> DatedCounts:
        """Count events by item and period; the older, the longer the period.

        What is dated later than now is of now, or of no time at all where that is by more than `AHEAD_S`.
        """
        dated = timestamps_s <= now_s + AHEAD_S
        items, timestamps_s = items[dated], timestamps_s[dated]
        if not len(items):
            return cls.none()
        hours = np.minimum(timestamps_s, now_s) / 3600
        ages = hours.max() - hours
        period = np.ceil(np.log1p(ages) / np.log1p(_STEP)).astype(np.int64)  # so that the newest keeps its time
        width = int(period.max()) + 1
        cells, place, counts = np.unique(items * width + period, return_inverse=True, return_counts=True)
        mean_ages = np.bincount(place, weights=ages) / counts
        return cls((cells // width).astype(np.int32), hours.max() - mean_ages, counts.astype(np.float32))

    @classmethod
    def from_stored(cls, stored: StoredArrays, n_items: int) -> DatedCounts:
        """Take those of an artefact, none if it has no `TREND`; `ArtifactError` if they do not fit its items."""
        if "trend_items" not in stored.arrays:
            return cls.none()
        items, hours, counts = (stored.arrays.get(name, np.empty((0, 0))) for name in TREND)
        types = [one.dtype.name for one in (items, hours, counts)]
        fits = types == ["int32", "float64", "float32"] and items.shape == hours.shape == counts.shape == (len(items),)
        if not fits or (len(items) and not 0 <= items.min() <= items.max() < n_items):
            raise ArtifactError(f"the dated counts of version {stored.manifest.version} do not fit its items")
        if not (np.isfinite(hours).all() and np.isfinite(counts).all() and (counts >= 0).all()):
            raise ArtifactError(f"a dated count of version {stored.manifest.version} is none")
        return cls(items, hours, counts)

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """As an artefact names them."""
        return dict(zip(TREND, self, strict=True))

    def joined(self, more: DatedCounts) -> DatedCounts:
        """Return both together."""
        return DatedCounts(
            np.concatenate([self.items, more.items]),
            np.concatenate([self.hours, more.hours]),
            np.concatenate([self.counts, more.counts]),
        )

    def until(self, hour: float) -> DatedCounts:
        """Return those of events up to a time."""
        if self.hours.max(initial=0.0) <= hour:
            return self
        kept = self.hours <= hour
        return DatedCounts(self.items[kept], self.hours[kept], self.counts[kept])

    def merged(self) -> DatedCounts:
        """Return one entry for all of an item within a quarter of an hour, at their mean time."""
        periods = np.floor(self.hours / _PERIOD_H).astype(np.int64)
        width = int(periods.max(initial=0)) + 1
        cells, place = np.unique(self.items.astype(np.int64) * width + periods, return_inverse=True)
        counts = np.bincount(place, weights=self.counts)
        hours = np.bincount(place, weights=self.counts * self.hours) / counts
        return DatedCounts((cells // width).astype(np.int32), hours, counts.astype(np.float32))

    def decayed(self, half_life_h: float, now_h: float, n_items: int) -> NDArray[np.float64]:
        """Return by item the sum over events of ``2 ** (-age / half_life)``; what is of later than now has no age."""
        weights = self.counts * np.exp2(-np.maximum(now_h - self.hours, 0) / half_life_h)
        return np.bincount(self.items, weights=weights, minlength=n_items).astype(np.float64, copy=False)
