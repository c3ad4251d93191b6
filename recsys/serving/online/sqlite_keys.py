"""API keys in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from recsys.errors import ArtifactError
from recsys.serving.online.keys import ApiKey, Usage, summed, taken

TABLES = """
CREATE TABLE IF NOT EXISTS api_keys (
    key_id TEXT PRIMARY KEY, record TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS buckets (key_id TEXT PRIMARY KEY, level REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage (
    day TEXT, key_id TEXT, process TEXT, counts TEXT NOT NULL, PRIMARY KEY (day, key_id, process)) WITHOUT ROWID;
"""


class Connection(Protocol):
    """A connection of the online store, held by one thread at a time."""

    def held(self, what: str) -> AbstractContextManager[sqlite3.Connection]:
        """Hold it; whatever SQLite refuses becomes a `StorageError`."""


class SQLiteKeys:
    """See `KeyStore`.

    Parameters
    ----------
    reads, writes : Connection
    counts : Connection
        For `change_bucket` and `put_usage`: it does not wait long for other writers, as requests wait for it.
    """

    def __init__(self, reads: Connection, writes: Connection, counts: Connection) -> None:
        self._reads, self._writes, self._counts = reads, writes, counts

    def revision(self) -> str:
        """See `KeyStore.revision`: keys are only ever added, and revoked once."""
        with self._reads.held("reading keys") as db:
            return str(db.execute("SELECT count(*) + total(revoked) FROM api_keys").fetchone()[0] or "")

    def all(self) -> list[ApiKey]:
        """See `KeyStore.all`."""
        with self._reads.held("reading keys") as db:
            rows = db.execute("SELECT record, revoked FROM api_keys ORDER BY key_id").fetchall()
        with _reading("key"):
            return [ApiKey.from_record(json.loads(record) | {"revoked": bool(gone)}) for record, gone in rows]

    def add(self, key: ApiKey) -> None:
        """See `KeyStore.add`."""
        with _transaction(self._writes, "storing a key") as db:
            row = key.key_id, json.dumps(key.to_record()), key.revoked
            if not db.execute("INSERT OR IGNORE INTO api_keys VALUES (?, ?, ?)", row).rowcount:
                raise taken(key)

    def revoke(self, key_id: str) -> bool:
        """See `KeyStore.revoke`."""
        with _transaction(self._writes, "revoking a key") as db:
            return bool(db.execute("UPDATE api_keys SET revoked = 1 WHERE key_id = ?", (key_id,)).rowcount)

    def change_bucket(self, key_id: str, change: Callable[[float], float]) -> None:
        """See `KeyStore.change_bucket`."""
        with _transaction(self._counts, "counting requests") as db:
            row = db.execute("SELECT level FROM buckets WHERE key_id = ?", (key_id,)).fetchone()
            level = change(0.0 if row is None else row[0])
            db.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?)", (key_id, level))

    def put_usage(self, process: str, rows: Iterable[Usage]) -> None:
        """See `KeyStore.put_usage`."""
        stored = [(one.day, one.key_id, process, json.dumps(dict(one.counts))) for one in rows]
        with _transaction(self._counts, "counting requests") as db:
            db.executemany("INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?)", stored)

    def usage(self, since: str) -> list[Usage]:
        """See `KeyStore.usage`."""
        with self._reads.held("reading counts") as db:
            rows = db.execute("SELECT day, key_id, counts FROM usage WHERE day >= ?", (since,)).fetchall()
        with _reading("count"):
            return summed(Usage(day, key_id, json.loads(counts)) for day, key_id, counts in rows)


@contextmanager
def _transaction(connection: Connection, what: str) -> Iterator[sqlite3.Connection]:
    with connection.held(what) as db, db:
        db.execute("BEGIN IMMEDIATE")
        yield db


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, TypeError, ValueError) as error:
        raise ArtifactError(f"a stored {what} is damaged: {error}") from error
