"""Take events in: from files, and from the online store that the API writes to."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa

from batch_jobs.config import IngestConfig
from batch_jobs.console import Screen, Step
from batch_jobs.stores import Stores
from recsys.data.events_table import EVENT_SCHEMA
from recsys.data.sources import ReadSpec, Rejected, read_events, read_items
from recsys.data.sources.movielens import find_ratings
from recsys.serving.online import StoredEvent

_ONLINE_BATCH = 100_000


def ingest(stores: Stores, namespace: str, config: IngestConfig, screen: Screen) -> dict[str, object]:
    """Add the configured files, the item table and all new online events to the stores; return what was added.

    Each file is taken in whole or not at all, and once: the same content again adds nothing. So when one file is
    refused, those before it stay, and the run can be repeated as it was. The item table is read before all of them.
    """
    rejected = Rejected(config.on_error)
    spec = ReadSpec(config.format, config.columns, config.header, config.delimiter, config.timestamp_unit)
    items = {} if config.items is None else read_items(config.items, rejected)
    added, known = 0, 0
    for name in config.files:
        with screen.bar(f"reading {Path(name).name}") as step:
            source = find_ratings(name)
            tables = read_events(name, spec, rejected, partial(_bytes_read, step, source))
            new = stores.events.append_file(namespace, source, tables)
        added, known = added + (new or 0), known + (new is None)
    if items:
        stores.online.put_items(namespace, items)
    online = drain_online(stores, namespace)
    if rejected.rows:
        screen.note(rejected.summary())
    return {
        "namespace": namespace,
        "events_from_files": added,
        "files_known_already": known,
        "events_from_api": online,
        "items_described": len(items),
        "rows_rejected": rejected.rows,
        "rejections": rejected.messages,
    }


def _bytes_read(step: Step, path: Path, done: int) -> None:
    step(done, path.stat().st_size)


def drain_online(stores: Stores, namespace: str) -> int:
    """Copy online events the log does not hold yet; return how many."""
    drained = 0
    while True:
        after = stores.events.online_position(namespace)
        events = stores.online.events_after(namespace, after, limit=_ONLINE_BATCH)
        if not events:
            return drained
        stores.events.append_online(namespace, after + 1, events[-1].position, _table(events))
        drained += len(events)


def _table(stored: list[StoredEvent]) -> pa.Table:
    events = [one.event for one in stored]
    columns = [
        [one.user for one in events],
        [one.item for one in events],
        [one.event for one in events],
        [one.value for one in events],
        [round(one.timestamp_s * 1e6) for one in events],
        [one.event_id for one in events],
    ]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, EVENT_SCHEMA, strict=True)], EVENT_SCHEMA
    )
