"""The online store in one SQLite file: the embedded default for a single machine."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.errors import ArtifactError, DataError
from recsys.events import InteractionEvent, context_text
from recsys.serving.online import (
    NO_END,
    CatalogueHead,
    ItemChange,
    StoredEvent,
    StoredImpression,
    StoredList,
    UserState,
    sqlite_erasures,
    sqlite_items,
)
from recsys.serving.online.erasures import Erased, Erasure, Held, left_out, not_older
from recsys.serving.online.sqlite_connection import Connection
from recsys.serving.online.sqlite_keys import SQLiteKeys

if TYPE_CHECKING:
    from recsys.impressions import ImpressionEvent
    from recsys.serving.online.tally import Tally

_EVENT = "event_id, user, item, timestamp_s, event, value, context"
_ROWS_A_TRANSACTION = 10_000


class SQLiteOnlineStore:
    """See `OnlineStore` and `EventFeed`. What is acknowledged is on disk (synchronous FULL).

    Reads have a connection of their own, so that with SQLite's WAL none waits for a write, be it of this process or of
    another; the threads of a process take turns at it. So has the tally, which may take a second after many events.

    Parameters
    ----------
    path : Path
        Created on first use, with its folder. Any number of threads and processes of one machine may share it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reads = Connection(path)
        self._writes = Connection(path)
        self._tallies = Connection(path)
        self._counts = Connection(path, wait_s=0.25)
        self.keys = SQLiteKeys(self._reads, self._writes, self._counts)

    def put_users(
        self, namespace: str, version: str, states: Iterable[tuple[str, UserState]], *, erasures: int = 0
    ) -> None:
        """See `OnlineStore.put_users`."""
        self._put_packed("users", namespace, version, states, erasures)
        with self._transaction("storing users") as db:
            db.execute("INSERT OR IGNORE INTO whole_versions VALUES (?, ?)", (namespace, version))

    def has_users(self, namespace: str, version: str) -> bool:
        """See `OnlineStore.has_users`."""
        with self._reads.held("reading the online store") as db:
            asked = "SELECT 1 FROM whole_versions WHERE namespace = ? AND version = ?"
            return db.execute(asked, (namespace, version)).fetchone() is not None

    def user_state(self, namespace: str, version: str, user: str) -> UserState | None:
        """See `OnlineStore.user_state`."""
        packed = self._packed("state FROM users", namespace, version, user)
        return None if packed is None else UserState.from_bytes(packed)

    def put_lists(
        self, namespace: str, version: str, lists: Iterable[tuple[str, StoredList]], *, erasures: int = 0
    ) -> None:
        """See `OnlineStore.put_lists`."""
        self._put_packed("lists", namespace, version, lists, erasures)

    def user_list(self, namespace: str, version: str, user: str) -> StoredList | None:
        """See `OnlineStore.user_list`."""
        packed = self._packed("list FROM lists", namespace, version, user)
        return None if packed is None else StoredList.from_bytes(packed)

    def drop_version(self, namespace: str, version: str) -> None:
        """See `OnlineStore.drop_version`."""
        with self._transaction("dropping a version") as db:
            for table in ("whole_versions", "users", "lists"):
                db.execute(f"DELETE FROM {table} WHERE namespace = ? AND version = ?", (namespace, version))

    def append_events(self, namespace: str, events: Sequence[InteractionEvent]) -> int:
        """See `OnlineStore.append_events`."""
        with self._transaction("storing events") as db:
            erased = sqlite_erasures.erasures_of(db, namespace, {one.user for one in events})
            rows = [(namespace, *_row(one)) for one in not_older(events, erased)]
            before = db.total_changes
            db.executemany(f"INSERT OR IGNORE INTO events (namespace, {_EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            return db.total_changes - before

    def append_impressions(self, namespace: str, impressions: Sequence[ImpressionEvent]) -> int:
        """See `OnlineStore.append_impressions`."""
        with self._transaction("storing impressions") as db:
            kept = not_older(impressions, sqlite_erasures.erasures_of(db, namespace, {one.user for one in impressions}))
            rows = [(namespace, one.event_id, one.user, json.dumps(one.row(), allow_nan=False)) for one in kept]
            before = db.total_changes
            db.executemany(
                "INSERT OR IGNORE INTO impressions (namespace, event_id, user, row) VALUES (?, ?, ?, ?)", rows
            )
            return db.total_changes - before

    def recent_events(
        self, namespace: str, user: str, *, after: int, through: int = NO_END, limit: int
    ) -> list[StoredEvent]:
        """See `OnlineStore.recent_events`."""
        with self._reads.held("reading events") as db:
            rows = db.execute(
                f"SELECT position, {_EVENT} FROM events WHERE namespace = ? AND user = ?"
                " AND position > ? AND position <= ? ORDER BY position DESC LIMIT ?",
                (namespace, user, after, through, limit),
            ).fetchall()
        return [StoredEvent(at, _event(row)) for at, *row in reversed(rows)]

    def recent_items(self, namespace: str, user: str, *, after: int, through: int = NO_END) -> list[str]:
        """See `OnlineStore.recent_items`."""
        with self._reads.held("reading events") as db:
            rows = db.execute(
                "SELECT DISTINCT item FROM events WHERE namespace = ? AND user = ? AND position > ? AND position <= ?",
                (namespace, user, after, through),
            ).fetchall()
        return [item for (item,) in rows]

    def tally(self, namespace: str, *, after: int) -> Tally:
        """See `OnlineStore.tally`."""
        from recsys.serving.online.tally import PERIOD_S, ItemCount, Tally

        with self._tallies.held("counting events") as db:
            # By position, which the sign in front of the namespace says: there are few beyond the last training.
            rows = db.execute(
                "SELECT item, AVG(timestamp_s), COUNT(*), MAX(position) FROM events WHERE +namespace = ?"
                " AND position > ? GROUP BY item, CAST(timestamp_s / ? AS INTEGER)",
                (namespace, after, PERIOD_S),
            ).fetchall()
        return Tally(max((row[3] for row in rows), default=after), [ItemCount(*row[:3]) for row in rows], [])

    def events_after(self, namespace: str, position: int, *, limit: int) -> list[StoredEvent]:
        """See `EventFeed.events_after`."""
        with self._reads.held("reading events") as db:
            rows = db.execute(
                f"SELECT position, {_EVENT} FROM events WHERE namespace = ? AND position > ? ORDER BY position LIMIT ?",
                (namespace, position, limit),
            ).fetchall()
        return [StoredEvent(at, _event(row)) for at, *row in rows]

    def last_position(self, namespace: str) -> int:
        """See `EventFeed.last_position`; positions are shared by all namespaces."""
        return self._last("events")

    def impressions_after(self, namespace: str, position: int, *, limit: int) -> list[StoredImpression]:
        """See `EventFeed.impressions_after`."""
        with self._reads.held("reading impressions") as db:
            rows = db.execute(
                "SELECT position, row FROM impressions WHERE namespace = ? AND position > ? ORDER BY position LIMIT ?",
                (namespace, position, limit),
            ).fetchall()
        return [StoredImpression(at, _impression(text)) for at, text in rows]

    def last_impression(self, namespace: str) -> int:
        """See `EventFeed.last_impression`; positions are shared by all namespaces."""
        return self._last("impressions")

    def put_items(self, namespace: str, items: Mapping[str, Mapping[str, Any]]) -> None:
        """See `OnlineStore.put_items`."""
        texts = {item: json.dumps(dict(one), allow_nan=False) for item, one in items.items()}
        with self._transaction("storing items") as db:
            sqlite_items.change(db, namespace, texts)

    def delete_items(self, namespace: str, items: Sequence[str]) -> None:
        """See `OnlineStore.delete_items`."""
        with self._transaction("deleting items") as db:
            sqlite_items.change(db, namespace, dict.fromkeys(items, sqlite_items.REMOVED))

    def removed_items(self, namespace: str) -> list[str]:
        """See `OnlineStore.removed_items`."""
        with self._reads.held("reading items") as db:
            return sqlite_items.removed(db, namespace)

    def item_changes(self, namespace: str, after: int, *, limit: int) -> list[ItemChange]:
        """See `OnlineStore.item_changes`."""
        with self._reads.held("reading items") as db:
            return sqlite_items.changes(db, namespace, after, limit)

    def put_fields(self, namespace: str, fields: Mapping[str, str]) -> None:
        """See `OnlineStore.put_fields`."""
        with self._transaction("declaring fields") as db:
            sqlite_items.put_fields(db, namespace, fields)

    def catalogue_head(self, namespace: str) -> CatalogueHead:
        """See `OnlineStore.catalogue_head`."""
        with self._reads.held("reading the catalogue") as db:
            return sqlite_items.head(db, namespace)

    def user_and_head(self, namespace: str, version: str, user: str) -> tuple[UserState | None, CatalogueHead]:
        """See `OnlineStore.user_and_head`."""
        return self.user_state(namespace, version, user), self.catalogue_head(namespace)

    def all_items(self, namespace: str) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.all_items`."""
        found = self._all("item, metadata FROM items", "item", namespace)
        return {item: one for item, one in found.items() if one is not None}

    def item_metadata(self, namespace: str, items: Sequence[str]) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.item_metadata`."""
        with self._reads.held("reading items") as db:
            return sqlite_items.metadata(db, namespace, items)

    def put_user_profiles(self, namespace: str, profiles: Mapping[str, Mapping[str, Any]]) -> None:
        """See `OnlineStore.put_user_profiles`."""
        rows = [(namespace, user, json.dumps(dict(one), allow_nan=False)) for user, one in profiles.items()]
        with self._transaction("storing profiles") as db:
            is_erased = left_out(namespace, sqlite_erasures.erasures(db, namespace))
            kept = (row for row in rows if not is_erased(row[1]))
            db.executemany("INSERT OR REPLACE INTO profiles VALUES (?, ?, ?)", kept)

    def all_user_profiles(self, namespace: str) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.all_user_profiles`."""
        return self._all("user, profile FROM profiles", "user", namespace)

    def held(self, namespace: str, user: str, *, limit: int) -> Held:
        """See `OnlineStore.held`."""
        with self._reads.held("reading what is held of a user") as db:
            profile = sqlite_erasures.profile(db, namespace, user)
            asked = "SELECT count(*) FROM events WHERE namespace = ? AND user = ?"
            (total,) = db.execute(asked, (namespace, user)).fetchone()
        newest = self.recent_events(namespace, user, after=0, limit=limit)
        return Held(profile, [one.event for one in newest], total)

    def erase_user(self, namespace: str, user: str, *, versions: Collection[str]) -> Erased:
        """See `OnlineStore.erase_user`; all of it in one transaction."""
        with self._transaction("erasing a user") as db:
            return sqlite_erasures.erase(db, namespace, user)

    def erasures(self, namespace: str) -> list[Erasure]:
        """See `OnlineStore.erasures`."""
        with self._reads.held("reading erasures") as db:
            return sqlite_erasures.erasures(db, namespace)

    def erasures_of(self, namespace: str, users: Collection[str]) -> dict[str, Erasure]:
        """See `OnlineStore.erasures_of`."""
        with self._reads.held("reading erasures") as db:
            return sqlite_erasures.erasures_of(db, namespace, users)

    def purge(self) -> None:
        """See `OnlineStore.purge`; what is deleted is overwritten, but not in the log it was written to before."""
        with self._writes.held("emptying the write-ahead log") as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def check(self) -> None:
        """See `OnlineStore.check`."""
        with self._reads.held("reading the online store") as db:
            db.execute("SELECT 1 FROM users LIMIT 1").fetchone()

    def close(self) -> None:
        """See `OnlineStore.close`."""
        for one in (self._reads, self._writes, self._tallies, self._counts):
            one.close()

    def _put_packed(
        self,
        table: str,
        namespace: str,
        version: str,
        records: Iterable[tuple[str, UserState | StoredList]],
        erasures: int,
    ) -> None:
        rows = ((namespace, version, user, one.to_bytes()) for user, one in records)
        while some := list(islice(rows, _ROWS_A_TRANSACTION)):
            with self._transaction(f"storing {table}") as db:
                is_erased = left_out(namespace, sqlite_erasures.erasures(db, namespace), erasures)
                kept = (row for row in some if not is_erased(row[2]))
                db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)", kept)

    def _packed(self, selected: str, namespace: str, version: str, user: str) -> bytes | None:
        with self._reads.held("reading the online store") as db:
            row = db.execute(
                f"SELECT {selected} WHERE namespace = ? AND version = ? AND user = ?", (namespace, version, user)
            ).fetchone()
        return None if row is None else row[0]

    def _last(self, table: str) -> int:
        with self._reads.held("reading events") as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        return 0 if row is None else int(row[0])

    def _all(self, selected: str, key: str, namespace: str) -> dict[str, dict[str, Any]]:
        with self._reads.held(f"reading {key}s") as db:
            rows = db.execute(f"SELECT {selected} WHERE namespace = ? ORDER BY {key}", (namespace,)).fetchall()
        return {name: json.loads(text) for name, text in rows}

    @contextmanager
    def _transaction(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._writes.held(what) as db, db:
            db.execute("BEGIN IMMEDIATE")
            yield db


def _row(event: InteractionEvent) -> tuple[object, ...]:
    context = None if event.context is None else context_text(event.context)
    return event.event_id, event.user, event.item, event.timestamp_s, event.event, event.value, context


def _event(row: Sequence[Any]) -> InteractionEvent:
    event_id, user, item, timestamp_s, event, value, context = row
    try:
        told = None if context is None else json.loads(context)
        return InteractionEvent(event_id, user, item, timestamp_s, event, value, told)
    except (DataError, TypeError, ValueError) as error:
        raise ArtifactError(f"a stored event is damaged: {error}") from error


def _impression(text: str) -> ImpressionEvent:
    from recsys.impressions import ImpressionEvent

    try:
        return ImpressionEvent.of_row(json.loads(text))
    except (DataError, ValueError) as error:
        raise ArtifactError(f"a stored impression is damaged: {error}") from error
