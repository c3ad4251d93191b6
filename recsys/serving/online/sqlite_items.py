"""The catalogue in SQLite: items with the revision of their newest change, and one row for what requests look at.

Both change in one transaction, and SQLite has one writer at a time: who reads a revision finds all changes up to it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from recsys.serving.online import CatalogueHead, ItemChange

REMOVED = "null"
"""In the place of an item's metadata, once it was deleted: the revision of that stays known."""

_TABLES = """
CREATE TABLE IF NOT EXISTS items (
    namespace TEXT, item TEXT, metadata TEXT NOT NULL, revision INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace, item)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS catalogues (
    namespace TEXT PRIMARY KEY, revision INTEGER NOT NULL DEFAULT 0, fields TEXT NOT NULL DEFAULT '{}') WITHOUT ROWID;
"""
_INDEXES = """
CREATE UNIQUE INDEX IF NOT EXISTS items_by_revision ON items (namespace, revision);
CREATE INDEX IF NOT EXISTS removed_items ON items (namespace, item) WHERE metadata = 'null';
"""
_NUMBER_ALL = """
BEGIN IMMEDIATE;
ALTER TABLE items ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
WITH numbered AS (SELECT namespace, item, row_number() OVER (PARTITION BY namespace) AS number FROM items)
UPDATE items SET revision = number FROM numbered
    WHERE items.namespace = numbered.namespace AND items.item = numbered.item;
INSERT INTO catalogues (namespace, revision) SELECT namespace, max(revision) FROM items GROUP BY namespace;
COMMIT;
"""


def create(db: sqlite3.Connection) -> None:
    """Make the tables; items of a file of an earlier release get revisions."""
    db.executescript(_TABLES)
    if not any(name == "revision" for _, name, *_ in db.execute("PRAGMA table_info(items)")):
        db.executescript(_NUMBER_ALL)
    db.executescript(_INDEXES)


def change(db: sqlite3.Connection, namespace: str, texts: Mapping[str, str]) -> None:
    """Store the JSON of items, within a transaction."""
    if not texts:
        return
    first = head(db, namespace).revision + 1
    rows = [(namespace, item, text, revision) for revision, (item, text) in enumerate(texts.items(), first)]
    db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", rows)
    db.execute(
        "INSERT INTO catalogues (namespace, revision) VALUES (?, ?)"
        " ON CONFLICT (namespace) DO UPDATE SET revision = excluded.revision",
        (namespace, first + len(rows) - 1),
    )


def changes(db: sqlite3.Connection, namespace: str, after: int, limit: int) -> list[ItemChange]:
    """Return what changed beyond a revision."""
    rows = db.execute(
        "SELECT revision, item, metadata FROM items WHERE namespace = ? AND revision > ? ORDER BY revision LIMIT ?",
        (namespace, after, limit),
    ).fetchall()
    return [ItemChange(revision, item, json.loads(text)) for revision, item, text in rows]


def removed(db: sqlite3.Connection, namespace: str) -> list[str]:
    """Return the deleted items."""
    rows = db.execute("SELECT item FROM items WHERE namespace = ? AND metadata = 'null'", (namespace,)).fetchall()
    return [item for (item,) in rows]


def metadata(db: sqlite3.Connection, namespace: str, items: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what is known of some items."""
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        row = db.execute("SELECT metadata FROM items WHERE namespace = ? AND item = ?", (namespace, item)).fetchone()
        if row is not None and row[0] != REMOVED:
            found[item] = json.loads(row[0])
    return found


def put_fields(db: sqlite3.Connection, namespace: str, fields: Mapping[str, str]) -> None:
    """Declare fields, within a transaction."""
    db.execute(
        "INSERT INTO catalogues (namespace, fields) VALUES (?, ?)"
        " ON CONFLICT (namespace) DO UPDATE SET fields = excluded.fields",
        (namespace, json.dumps(dict(fields))),
    )


def head(db: sqlite3.Connection, namespace: str) -> CatalogueHead:
    """Return the newest revision and the declared fields."""
    row = db.execute("SELECT revision, fields FROM catalogues WHERE namespace = ?", (namespace,)).fetchone()
    return CatalogueHead() if row is None else CatalogueHead(row[0], json.loads(row[1]))
