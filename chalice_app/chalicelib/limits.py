"""How often a key may ask, over all processes, and how often it did.

The store holds when the bucket of a key will be full again. A process takes tokens from it on lease: 1, 2, 4 and so on
up to a tenth of the bucket, for at most `LEASE_S`, and gives back what it did not use. Since tokens are taken before
they are used, the requests of all processes never exceed rate * t + burst; in a window that does not begin with a full
bucket, by at most what was on lease when it began. A clock that is s seconds ahead of the others gains rate * s, once.
While the store is out of reach, each process goes on with the bucket as it knew it, and bounds itself alone.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from recsys.errors import ArtifactError, StorageError
from recsys.serving.online.keys import ApiKey, KeyStore, Usage

LEASE_S = 5.0
PAUSE_S = 0.1
"""Between two looks at a bucket that had fewer tokens than were asked for."""
FLUSH_S = 10.0
"""Counts are stored with the first answer after so long: what a process that is killed can lose."""


class Bucket:
    """What a process holds of a key's tokens."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tokens = self.leased = 0
        self.until_s = self.again_s = float("-inf")
        self.full_at_s = 0.0

    def wanted(self, most: int) -> int:
        """Tokens to ask for: twice as many when all are used, else as many as were."""
        used = self.leased - self.tokens
        return max(1, min(most, used if self.tokens else 2 * self.leased))


class Limits:
    """Tokens and counts of the keys that ask this process.

    Parameters
    ----------
    store : KeyStore
    clock : callable
        Seconds, the same for all processes.
    """

    def __init__(self, store: KeyStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._process = os.urandom(8).hex()
        self._buckets: dict[str, Bucket] = {}
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._counts: dict[tuple[str, str], dict[str, int]] = {}
        self._unsaved: set[tuple[str, str]] = set()
        self._flushed_s = clock()

    def take(self, key: ApiKey) -> int:
        """Take one token; return 0, or in how many whole seconds there is one."""
        bucket = self._buckets.get(key.key_id) or self._buckets.setdefault(key.key_id, Bucket())
        with bucket.lock:
            now_s = self._clock()
            if (not bucket.tokens or now_s >= bucket.until_s) and now_s >= bucket.again_s:
                self._lease(key, bucket, now_s)
            if not bucket.tokens:
                return math.ceil(bucket.again_s - now_s)
            bucket.tokens -= 1
            return 0

    def count(self, key: ApiKey, status: int) -> None:
        """Count an answer, and store all counts once in a while."""
        now_s = self._clock()
        whose = datetime.fromtimestamp(now_s, UTC).date().isoformat(), key.key_id
        with self._lock:
            counts = self._counts.setdefault(whose, {})
            name = f"{status // 100}xx"
            counts[name] = counts.get(name, 0) + 1
            self._unsaved.add(whose)
        if now_s - self._flushed_s >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Store what was counted since the last time; where the store is out of reach it waits for the next."""
        with self._flushing:
            with self._lock:
                self._flushed_s, unsaved, self._unsaved = self._clock(), self._unsaved, set()
                rows = [Usage(*whose, dict(self._counts[whose])) for whose in sorted(unsaved)]
            try:
                if rows:
                    self._store.put_usage(self._process, rows)
            except StorageError:
                with self._lock:
                    self._unsaved |= unsaved

    def _lease(self, key: ApiKey, bucket: Bucket, now_s: float) -> None:
        wanted, unused, known_s = bucket.wanted(key.burst // 10), bucket.tokens, bucket.full_at_s

        def change(full_at_s: float) -> float:
            missing = max(0.0, (full_at_s - now_s) * key.rate - unused)
            bucket.tokens = max(0, min(wanted, math.floor(key.burst - missing + 1e-9)))
            if bucket.tokens < wanted:
                bucket.again_s = now_s + max(PAUSE_S, (1 - (key.burst - missing - bucket.tokens)) / key.rate)
            bucket.full_at_s = now_s + (missing + bucket.tokens) / key.rate
            return bucket.full_at_s

        try:
            self._store.change_bucket(key.key_id, change)
        except (StorageError, ArtifactError):
            change(known_s)
        bucket.leased, bucket.until_s = bucket.tokens, now_s + LEASE_S
