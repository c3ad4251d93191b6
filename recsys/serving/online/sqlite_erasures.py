"""Erasures in the SQLite store, and what a transaction removes of a user."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection

from recsys.serving.online import sqlite_events
from recsys.serving.online.erasures import Erased, Erasure, digest_of

_TABLES = """
CREATE TABLE IF NOT EXISTS erasures (
    namespace TEXT, digest TEXT, number INTEGER NOT NULL, position INTEGER NOT NULL, at_s REAL NOT NULL,
    PRIMARY KEY (namespace, digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS whole_versions (
    namespace TEXT, version TEXT, PRIMARY KEY (namespace, version)) WITHOUT ROWID;
"""
_REMOVE = """
WITH RECURSIVE known(version) AS (
    SELECT min(version) FROM {table} WHERE namespace = :ns
    UNION ALL
    SELECT (SELECT min(version) FROM {table} WHERE namespace = :ns AND version > known.version)
    FROM known WHERE version IS NOT NULL)
DELETE FROM {table} WHERE namespace = :ns AND version IN (SELECT version FROM known) AND user = :user
"""  # the keys are by version: without a step from one to the next, every user's would be looked at


def create(db: sqlite3.Connection) -> None:
    """Make the tables; from now on what is deleted is overwritten."""
    db.execute("PRAGMA secure_delete = ON").fetchall()
    db.executescript(_TABLES)


def erase(db: sqlite3.Connection, namespace: str, user: str) -> Erased:
    """Leave a tombstone and remove a user, within a transaction."""
    db.execute(
        "INSERT OR REPLACE INTO erasures VALUES"
        " (?, ?, 1 + (SELECT coalesce(max(number), 0) FROM erasures WHERE namespace = ?), ?, ?)",
        (namespace, digest_of(namespace, user), namespace, sqlite_events.last(db, namespace), time.time()),
    )
    whose = {"ns": namespace, "user": user}
    of_user = "DELETE FROM {table} WHERE namespace = :ns AND {key} = :user"
    users, lists = (_deleted(db, _REMOVE.format(table=table), whose) for table in ("users", "lists"))
    tables = {"events": "user_id", "impressions": "user_id", "profiles": "user"}
    events, _, profiles = (_deleted(db, of_user.format(table=table, key=key), whose) for table, key in tables.items())
    return Erased(events, users + lists, profiles > 0)


def erasures(db: sqlite3.Connection, namespace: str) -> list[Erasure]:
    """Return all of a namespace."""
    rows = db.execute(
        "SELECT number, digest, position, at_s FROM erasures WHERE namespace = ? ORDER BY number", (namespace,)
    )
    return [Erasure(*row) for row in rows]


def erasures_of(db: sqlite3.Connection, namespace: str, users: Collection[str]) -> dict[str, Erasure]:
    """Return those of some users."""
    if db.execute("SELECT 1 FROM erasures WHERE namespace = ? LIMIT 1", (namespace,)).fetchone() is None:
        return {}
    asked = "SELECT number, digest, position, at_s FROM erasures WHERE namespace = ? AND digest = ?"
    rows = {user: db.execute(asked, (namespace, digest_of(namespace, user))).fetchone() for user in users}
    return {user: Erasure(*row) for user, row in rows.items() if row is not None}


def profile(db: sqlite3.Connection, namespace: str, user: str) -> dict[str, object]:
    """Return what is known of a user."""
    row = db.execute("SELECT profile FROM profiles WHERE namespace = ? AND user = ?", (namespace, user)).fetchone()
    return {} if row is None else dict(json.loads(row[0]))


def _deleted(db: sqlite3.Connection, statement: str, whose: dict[str, str]) -> int:
    db.execute(statement, whose)
    (count,) = db.execute("SELECT changes()").fetchone()  # Python counts no rows of statements that begin with WITH
    return int(count)
