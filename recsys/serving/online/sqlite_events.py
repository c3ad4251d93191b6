"""Events and impressions in SQLite: each namespace numbers its own, or lists would tell of the traffic of others."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from recsys.errors import ArtifactError, DataError
from recsys.events import InteractionEvent, context_text
from recsys.serving.online import StoredEvent, StoredImpression

if TYPE_CHECKING:
    from recsys.impressions import ImpressionEvent
    from recsys.serving.online.tally import Tally

# Users are not called as in earlier releases: one that still runs is refused, and stores nothing without a position.
_TABLES = """
CREATE TABLE IF NOT EXISTS sequences (
    namespace TEXT, name TEXT, last INTEGER NOT NULL, PRIMARY KEY (namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    namespace TEXT NOT NULL, position INTEGER NOT NULL, event_id TEXT NOT NULL,
    user_id TEXT NOT NULL, item TEXT NOT NULL, event TEXT NOT NULL, value REAL NOT NULL, timestamp_s REAL NOT NULL,
    context TEXT,
    PRIMARY KEY (namespace, position), UNIQUE (namespace, event_id));
CREATE INDEX IF NOT EXISTS events_by_user ON events (namespace, user_id, position);
CREATE TABLE IF NOT EXISTS impressions (
    namespace TEXT NOT NULL, position INTEGER NOT NULL, event_id TEXT NOT NULL,
    user_id TEXT NOT NULL, row TEXT NOT NULL,
    PRIMARY KEY (namespace, position), UNIQUE (namespace, event_id));
"""
# Where all namespaces counted together they go on from there, as '' in `sequences` says; so do those without events:
# their models may have been trained up to there.
_CARRY_OVER = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS impressions (
    position INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT, event_id TEXT, user TEXT, row TEXT);
ALTER TABLE events RENAME TO old_events;
ALTER TABLE impressions RENAME TO old_impressions;
{_TABLES}
INSERT INTO sequences SELECT '', substr(name, 5), seq FROM sqlite_sequence;
INSERT INTO events SELECT namespace, position, event_id, user, item, event, value, timestamp_s, context FROM old_events;
INSERT INTO impressions SELECT namespace, position, event_id, user, row FROM old_impressions;
DROP TABLE old_events;
DROP TABLE old_impressions;
COMMIT;
"""
_EVENT = "event_id, user_id, item, timestamp_s, event, value, context"
_OF_USER = "FROM events WHERE namespace = ? AND user_id = ? AND position > ? AND position <= ?"
_OLDEST_FIRST = "FROM {table} WHERE namespace = ? AND position > ? ORDER BY position LIMIT ?"


def create(db: sqlite3.Connection) -> None:
    """Make the tables; what a file of an earlier release has keeps its positions, and all namespaces go on above."""
    columns = {name for _, name, *_ in db.execute("PRAGMA table_info(events)")}
    if "user" in columns:
        if "context" not in columns:
            db.execute("ALTER TABLE events ADD COLUMN context TEXT")
        db.executescript(_CARRY_OVER)
    db.executescript(_TABLES)


def append(db: sqlite3.Connection, namespace: str, events: Iterable[InteractionEvent]) -> int:
    """Store events, within a transaction; return how many were new."""
    return _append(db, namespace, "events", _EVENT, map(_row, events))


def append_impressions(db: sqlite3.Connection, namespace: str, impressions: Iterable[ImpressionEvent]) -> int:
    """Store impressions, within a transaction; return how many were new."""
    rows = ((one.event_id, one.user, json.dumps(one.row(), allow_nan=False)) for one in impressions)
    return _append(db, namespace, "impressions", "event_id, user_id, row", rows)


def last(db: sqlite3.Connection, namespace: str, table: str = "events") -> int:
    """Return the newest position that was given away."""
    asked = "SELECT coalesce(max(last), 0) FROM sequences WHERE namespace IN (?, '') AND name = ?"
    return int(db.execute(asked, (namespace, table)).fetchone()[0])


def recent(
    db: sqlite3.Connection, namespace: str, user: str, after: int, through: int, limit: int
) -> list[StoredEvent]:
    """Return a user's newest events between positions, oldest first."""
    rows = db.execute(
        f"SELECT position, {_EVENT} {_OF_USER} ORDER BY position DESC LIMIT ?",
        (namespace, user, after, through, limit),
    ).fetchall()
    return [_event(*row) for row in reversed(rows)]


def recent_items(db: sqlite3.Connection, namespace: str, user: str, after: int, through: int) -> list[str]:
    """Return the distinct items of a user between positions."""
    rows = db.execute(f"SELECT DISTINCT item {_OF_USER}", (namespace, user, after, through)).fetchall()
    return [item for (item,) in rows]


def count(db: sqlite3.Connection, namespace: str, user: str) -> int:
    """Return how many events there are of a user."""
    asked = "SELECT count(*) FROM events WHERE namespace = ? AND user_id = ?"
    return int(db.execute(asked, (namespace, user)).fetchone()[0])


def tally(db: sqlite3.Connection, namespace: str, after: int) -> Tally:
    """Count events beyond a position by item and period."""
    from recsys.serving.online.tally import PERIOD_S, ItemCount, Tally

    rows = db.execute(
        "SELECT item, AVG(timestamp_s), COUNT(*), MAX(position) FROM events WHERE namespace = ?"
        " AND position > ? GROUP BY item, CAST(timestamp_s / ? AS INTEGER)",
        (namespace, after, PERIOD_S),
    ).fetchall()
    return Tally(max((row[3] for row in rows), default=after), [ItemCount(*row[:3]) for row in rows], [])


def events_after(db: sqlite3.Connection, namespace: str, position: int, limit: int) -> list[StoredEvent]:
    """Return events of all users beyond a position, oldest first."""
    asked = f"SELECT position, {_EVENT} " + _OLDEST_FIRST.format(table="events")
    return [_event(*row) for row in db.execute(asked, (namespace, position, limit)).fetchall()]


def impressions_after(db: sqlite3.Connection, namespace: str, position: int, limit: int) -> list[StoredImpression]:
    """Return impressions beyond a position, oldest first."""
    asked = "SELECT position, row " + _OLDEST_FIRST.format(table="impressions")
    rows = db.execute(asked, (namespace, position, limit)).fetchall()
    return [StoredImpression(at, _impression(text)) for at, text in rows]


def _append(db: sqlite3.Connection, namespace: str, table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> int:
    first = position = last(db, namespace, table)
    marks = ", ?" * (columns.count(",") + 1)
    # Nothing but a known id is passed over: a position that is taken is an error, or an event would be lost.
    store = (
        f"INSERT INTO {table} (namespace, position, {columns}) VALUES (?, ?{marks})"
        " ON CONFLICT (namespace, event_id) DO NOTHING"
    )
    for row in rows:
        position += db.execute(store, (namespace, position + 1, *row)).rowcount
    if position > first:
        db.execute("INSERT OR REPLACE INTO sequences VALUES (?, ?, ?)", (namespace, table, position))
    return position - first


def _row(event: InteractionEvent) -> tuple[object, ...]:
    context = None if event.context is None else context_text(event.context)
    return event.event_id, event.user, event.item, event.timestamp_s, event.event, event.value, context


def _event(position: int, *row: Any) -> StoredEvent:
    event_id, user, item, timestamp_s, event, value, context = row
    try:
        told = None if context is None else json.loads(context)
        return StoredEvent(position, InteractionEvent(event_id, user, item, timestamp_s, event, value, told))
    except (DataError, TypeError, ValueError) as error:
        raise ArtifactError(f"a stored event is damaged: {error}") from error


def _impression(text: str) -> ImpressionEvent:
    from recsys.impressions import ImpressionEvent

    try:
        return ImpressionEvent.of_row(json.loads(text))
    except (DataError, ValueError) as error:
        raise ArtifactError(f"a stored impression is damaged: {error}") from error
