"""What this process answered, in numbers: cheap enough to count with every request."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from chalice.app import Request

from chalicelib.access_log import METHODS

if TYPE_CHECKING:
    from recsys.serving import RankedList, ScoredItems

SHORTEST_MS = 0.1
A_DECADE = 24
"""Buckets of latencies: each ends where 10 ** (1 / 24), 1.1007, times the one before it does."""
BUCKETS = 6 * A_DECADE + 2
"""Up to 100 s, and one for what takes longer."""


class Answered(NamedTuple):
    """Of a route and method: how many of its answers ended in which bucket, how many were 5xx, and all their time."""

    buckets: list[int]
    errors: int = 0
    total_ms: float = 0.0

    @property
    def count(self) -> int:
        """Number of answers."""
        return sum(self.buckets)

    def quantile_ms(self, share: float) -> float:
        """Return the end of the bucket a quantile is in: at most 1.101 times the quantile."""
        rank = math.ceil(share * self.count)
        return bucket_end_ms(bisect_left(list(accumulate(self.buckets)), rank))


class Counts:
    """The numbers of this process, since it started; of routes, methods and strategies, and never of an id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.since_s = time.time()
        self._answered: dict[tuple[str, str], Answered] = {}
        self._strategies: Counter[str] = Counter()
        self._degraded = 0

    def add(
        self, request: Request | None, status: int, latency_ms: float, found: RankedList | ScoredItems | None
    ) -> None:
        """Count an answer."""
        method = request.method if request and request.method in METHODS else "other"
        where = request.path if request else "other", method
        bucket = math.ceil(A_DECADE * math.log10(max(latency_ms, SHORTEST_MS) / SHORTEST_MS))
        with self._lock:
            buckets, errors, total_ms = self._answered.get(where) or Answered([0] * BUCKETS)
            buckets[min(bucket, BUCKETS - 1)] += 1
            self._answered[where] = Answered(buckets, errors + (status >= 500), total_ms + latency_ms)
            if found is not None:
                self._strategies[found.strategy] += 1
                self._degraded += found.degraded

    def taken(self) -> tuple[dict[tuple[str, str], Answered], dict[str, int], int]:
        """Return a copy, of one moment: answers by route and method, lists by strategy, and how many were degraded."""
        with self._lock:
            answered = {where: one._replace(buckets=list(one.buckets)) for where, one in self._answered.items()}
            return dict(sorted(answered.items())), dict(sorted(self._strategies.items())), self._degraded


def bucket_end_ms(number: int) -> float:
    """Return the longest latency of a bucket; the last one has none, and says what it begins with."""
    return float(f"{SHORTEST_MS * 10 ** (min(number, BUCKETS - 2) / A_DECADE):.5g}")
