"""Take events in: from files, and from the online store that the API writes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa

from batch_jobs.columns import tell_columns
from batch_jobs.config import IngestConfig
from batch_jobs.console import Screen, Step
from batch_jobs.erase import erase_log
from batch_jobs.event_log import EventLog
from batch_jobs.log_tables import impressions_table
from batch_jobs.stores import Stores
from recsys.data.events_table import EVENT_SCHEMA
from recsys.data.sources import Rejected, read_events, read_table
from recsys.data.sources.movielens import find_ratings
from recsys.errors import DataError, StorageError
from recsys.events import context_text
from recsys.serving.fields import read_values
from recsys.serving.online import EventFeed, OnlineStore, StoredEvent

_ONLINE_BATCH, _SHOWN_BATCH = 100_000, 10_000

NotCopied = tuple[int, int, pa.Table]


def ingest(stores: Stores, namespace: str, config: IngestConfig, screen: Screen) -> dict[str, object]:
    """Add the configured files and tables and all new online events to the stores; return what was added.

    Each file is taken in whole or not at all, and once: the same content again adds nothing. So when one file is
    refused, those before it stay, and the run can be repeated as it was. The tables are read before all of them.
    """
    rejected = Rejected(config.on_error)
    spec = config.spec()
    items = {} if config.items is None else read_table(config.items, rejected)
    users = {} if config.users is None else read_table(config.users, rejected, of="user")
    fields = config.declared()
    _check(items, fields, config.items)
    columns = tell_columns(config, screen)
    added, known = 0, 0
    for name in config.files:
        with screen.bar(f"reading {Path(name).name}") as step:
            source = find_ratings(name)
            tables = read_events(name, spec, rejected, partial(_bytes_read, step, source))
            new = stores.events.append_file(namespace, source, tables)
        added, known = added + (new or 0), known + (new is None)
    if fields:
        stores.online.put_fields(namespace, fields)
    deleted = _describe(stores.online, namespace, items) if items else 0
    if users:
        stores.online.put_user_profiles(namespace, users)
    online, shown = drain_online(stores, namespace), drain_impressions(stores, namespace)
    compacted = stores.events.compact(namespace) + stores.events.impressions.compact(namespace)
    erased = erase_log(stores, namespace)
    if rejected.rows:
        screen.note(rejected.summary())
    return {
        "namespace": namespace,
        "events_from_files": added,
        "files_known_already": known,
        "events_from_api": online,
        "impressions_from_api": shown,
        "queue_files_compacted": compacted,
        **erased,
        "items_described": len(items) - deleted,
        "items_deleted_before": deleted,
        "users_described": len(users),
        "rows_rejected": rejected.rows,
        "rejections": rejected.messages,
        **columns,
    }


def _check(items: Mapping[str, Mapping[str, object]], fields: Mapping[str, str], path: str | None) -> None:
    """Raise `DataError` for the first value of a declared field that is none of its kind."""
    for item, told in items.items():
        for name, kind in fields.items():
            try:
                read_values(kind, told.get(name))
            except DataError as error:
                reason = f"{told[name]!r} of item {item!r} {error.reason}"
                raise DataError(reason, path=path, field=name, remedy="Mend it, or declare another kind") from None


def _describe(online: OnlineStore, namespace: str, items: Mapping[str, Mapping[str, object]]) -> int:
    """Store what changed: servers read every change. Items deleted since stay deleted; return how many they are."""
    known = online.all_items(namespace) if online.catalogue_head(namespace).revision else {}
    deleted = items.keys() & set(online.removed_items(namespace))
    changed = {item: told for item, told in items.items() if item not in deleted and known.get(item) != told}
    online.put_items(namespace, changed)
    return len(deleted)


def _bytes_read(step: Step, path: Path, done: int) -> None:
    step(done, path.stat().st_size)


def drain_online(stores: Stores, namespace: str) -> int:
    """Copy online events the log does not hold yet; return how many.

    Raises `StorageError` if the log is ahead of the online store: that store was lost or replaced by an older one, and
    events it takes in now would never be copied.
    """
    return _drain(stores.events, namespace, events_not_copied(stores, namespace))


def drain_impressions(stores: Stores, namespace: str) -> int:
    """Copy impressions as `drain_online` does events."""
    return _drain(stores.events.impressions, namespace, impressions_not_copied(stores, namespace))


def _drain(log: EventLog, namespace: str, not_copied: Iterator[NotCopied]) -> int:
    drained = 0
    with log.locked(namespace):
        for first, last, table in not_copied:
            log.append_online(namespace, first, last, table)
            drained += len(table)
    return drained


def events_not_copied(stores: Stores, namespace: str) -> Iterator[NotCopied]:
    """Yield what the online store has beyond the log: its first and last position, and the events."""
    feed = stores.online
    if isinstance(feed, EventFeed):
        after = _copied(stores.events, namespace, feed.last_position)
        while events := feed.events_after(namespace, after, limit=_ONLINE_BATCH):
            yield after + 1, (last := events[-1].position), _table(events)
            after = last


def impressions_not_copied(stores: Stores, namespace: str) -> Iterator[NotCopied]:
    """Yield impressions as `events_not_copied` does events."""
    feed = stores.online
    if isinstance(feed, EventFeed):
        after = _copied(stores.events.impressions, namespace, feed.last_impression)
        while shown := feed.impressions_after(namespace, after, limit=_SHOWN_BATCH):
            yield after + 1, (last := shown[-1].position), impressions_table(one.impression for one in shown)
            after = last


def _copied(log: EventLog, namespace: str, last_position: Callable[[str], int]) -> int:
    """Return the position up to which the log has what is online."""
    position, last = log.online_position(namespace), last_position(namespace)
    if last < position:
        raise StorageError(
            f"the event log of namespace {namespace!r} under {log.files} holds online events up to "
            f"position {position}, but the online store ends at {last}: it was lost or replaced. Restore the online "
            "store; or, if that cannot be done, rename the log's files online-*.parquet to "
            "kept-online-*.parquet: their events stay, and positions start anew"
        )
    return position


def _table(stored: list[StoredEvent]) -> pa.Table:
    events = [one.event for one in stored]
    columns = [
        [one.user for one in events],
        [one.item for one in events],
        [one.event for one in events],
        [one.value for one in events],
        [round(one.timestamp_s * 1e6) for one in events],
        [one.event_id for one in events],
        [one.context and context_text(one.context) for one in events],
    ]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, EVENT_SCHEMA, strict=True)], EVENT_SCHEMA
    )
