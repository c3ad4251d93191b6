"""Connections to the file of the SQLite store, whose tables the first of them makes."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import StorageError, storing
from recsys.serving.online import sqlite_erasures, sqlite_items, sqlite_keys

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    namespace TEXT, version TEXT, user TEXT, state BLOB NOT NULL,
    PRIMARY KEY (namespace, version, user)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lists (
    namespace TEXT, version TEXT, user TEXT, list BLOB NOT NULL,
    PRIMARY KEY (namespace, version, user)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, event_id TEXT NOT NULL,
    user TEXT NOT NULL, item TEXT NOT NULL, event TEXT NOT NULL, value REAL NOT NULL, timestamp_s REAL NOT NULL,
    context TEXT, UNIQUE (namespace, event_id));
CREATE INDEX IF NOT EXISTS events_of_user ON events (namespace, user, position);
CREATE TABLE IF NOT EXISTS impressions (
    position INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, event_id TEXT NOT NULL, user TEXT NOT NULL,
    row TEXT NOT NULL, UNIQUE (namespace, event_id));
CREATE TABLE IF NOT EXISTS profiles (
    namespace TEXT, user TEXT, profile TEXT NOT NULL, PRIMARY KEY (namespace, user)) WITHOUT ROWID;
"""


class Connection:
    """One connection to the file, opened when it is first needed and held by one thread at a time."""

    def __init__(self, path: Path, *, wait_s: float = 10.0) -> None:
        self._path = path
        self._wait_s = wait_s
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None

    @contextmanager
    def held(self, what: str) -> Iterator[sqlite3.Connection]:
        """Hold the connection; whatever SQLite refuses becomes a `StorageError`."""
        with self._lock:
            try:
                if self._open is None:
                    self._open = self._connect()
                yield self._open
            except sqlite3.Error as error:
                raise StorageError(f"{what} in {self._path} failed: {error}") from error

    def close(self) -> None:
        """Give the connection back; the next call opens it again."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def _connect(self) -> sqlite3.Connection:
        with storing(f"creating {self._path.parent}"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, timeout=self._wait_s, isolation_level=None, check_same_thread=False)
        try:
            with _alone_in(self._path.parent):
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.executescript(_SCHEMA)
                _migrate(db)
                sqlite_items.create(db)
                db.executescript(sqlite_keys.TABLES)
                sqlite_erasures.create(db)
        except (sqlite3.Error, StorageError):
            db.close()
            raise
        return db


def _migrate(db: sqlite3.Connection) -> None:
    """Add the column that files of earlier releases do not have."""
    if not any(name == "context" for _, name, *_ in db.execute("PRAGMA table_info(events)")):
        db.execute("ALTER TABLE events ADD COLUMN context TEXT")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Open databases one after the other: of two connections that switch a new file to WAL, SQLite refuses one."""
    with storing(f"opening {folder}"):
        handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
