"""The file of the SQLite store as an earlier release left it, when all namespaces counted together."""

import json
import sqlite3
from contextlib import closing

from records import event, impression

_TABLES = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, event_id TEXT NOT NULL,
    user TEXT NOT NULL, item TEXT NOT NULL, event TEXT NOT NULL, value REAL NOT NULL, timestamp_s REAL NOT NULL,
    context TEXT, UNIQUE (namespace, event_id));
CREATE INDEX events_of_user ON events (namespace, user, position);
CREATE TABLE impressions (
    position INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, event_id TEXT NOT NULL, user TEXT NOT NULL,
    row TEXT NOT NULL, UNIQUE (namespace, event_id));
"""
LAST, LAST_SHOWN = 20, 7
KEPT = {
    "events": [("other", at, f"e{at}") for at in range(2, LAST, 2)]
    + [("shop", at, f"e{at}") for at in range(1, LAST, 2)],
    "impressions": [("other", 5, "e5"), *(("shop", at, f"e{at}") for at in (1, 2, 3, 4, 6))],
}
"""Namespace, position and id of what is there; the last of both belonged to a namespace that has nothing left."""


def make_older_file(path):
    """Make one where nothing is."""
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(_TABLES)
        for namespace, at, event_id in [*KEPT["events"], ("gone", LAST, "e")]:
            one = event(at, context={"hour": 9})
            row = at, namespace, event_id, one.user, one.item, one.event, one.value, one.timestamp_s, '{"hour": 9}'
            db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        for namespace, at, event_id in [*KEPT["impressions"], ("gone", LAST_SHOWN, "e")]:
            row = at, namespace, event_id, "u", json.dumps(impression(at).row())
            db.execute("INSERT INTO impressions VALUES (?, ?, ?, ?, ?)", row)
        for table in KEPT:
            db.execute(f"DELETE FROM {table} WHERE namespace = 'gone'")


def kept_in(path):
    """Read what `KEPT` tells of, whichever release left the file."""
    with closing(sqlite3.connect(path)) as db:
        asked = "SELECT namespace, position, event_id FROM {} ORDER BY namespace, position"
        return {table: db.execute(asked.format(table)).fetchall() for table in KEPT}
