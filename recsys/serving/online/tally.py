"""How often items came up of late: what a list of trending items adds to what the training knew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PERIOD_S = 900
"""Events of an item within so many seconds are one entry, at their mean time."""


class ItemCount(NamedTuple):
    """Events of one item in one period, by their own time."""

    item: str
    time_s: float
    events: int


class Tally(NamedTuple):
    """What came since a position.

    Parameters
    ----------
    position : int
        All up to here is in `settled`; where the next look begins.
    settled : list of ItemCount
    newer : list of ItemCount
        Beyond the position: the next look brings them again, and others that were on their way.
    """

    position: int
    settled: list[ItemCount]
    newer: list[ItemCount]


def counted(events: Iterable[tuple[str, float]]) -> list[ItemCount]:
    """Count events, given as item and time, by item and period."""
    cells: dict[tuple[str, int], tuple[int, float]] = {}
    for item, time_s in events:
        cell = item, int(time_s // PERIOD_S)
        count, total_s = cells.get(cell, (0, 0.0))
        cells[cell] = count + 1, total_s + time_s
    return [ItemCount(item, total_s / count, count) for (item, _), (count, total_s) in cells.items()]
