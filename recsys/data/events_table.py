"""The table of events that readers, jobs and the event log share, and the way from it to `Interactions`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.errors import DataError
from recsys.events import context_text
from recsys.ids import IdMap

EVENT_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("value", pa.float32(), nullable=False),
        pa.field("ts", pa.timestamp("us", "UTC")),
        pa.field("event_id", pa.string()),
        pa.field("context", pa.string()),
    ]
)

_MICROSECONDS_PER_SECOND = 1_000_000


def to_interactions(table: pa.Table) -> Interactions:
    """Turn a table of `EVENT_SCHEMA` into interactions; `event` and `event_id` are left behind.

    Ids are numbered in order of first appearance; times are cut to whole seconds. The column `context`, JSON objects
    or null, may be missing altogether.

    Raises
    ------
    DataError
        If the table has not the columns of `EVENT_SCHEMA`, an id or value is null, an id or a value breaks the
        rules of `Interactions` or of `context_text`, or some events have a time and others have none.

    Examples
    --------
    >>> events = EVENT_SCHEMA.empty_table()
    >>> to_interactions(events).shape
    (0, 0)
    """
    if "context" not in table.column_names:
        table = table.append_column("context", pa.nulls(len(table), pa.string()))
    for field in EVENT_SCHEMA:
        if field.name not in table.column_names or table.schema.field(field.name).type != field.type:
            raise DataError(f"the table has no column '{field.name}' of type {field.type}")
        if not field.nullable and table[field.name].null_count:
            raise DataError(f"{table[field.name].null_count:,} events have none", field=field.name)
    users, user = _numbered(table["user_id"])
    items, item = _numbered(table["item_id"])
    events = Interactions(users, items, user, item, _flat(table["value"], np.float32), _seconds(table["ts"]))
    return events if table["context"].null_count == len(table) else _with_contexts(events, table["context"])


def _numbered(column: pa.ChunkedArray) -> tuple[IdMap, NDArray[np.int32]]:
    # Every chunk of the result carries the same, whole dictionary, in order of first appearance.
    encoded = column.dictionary_encode()
    if not encoded.num_chunks:
        return IdMap.from_ids([]), np.empty(0, np.int32)
    rows = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    return IdMap.from_ids(encoded.chunk(0).dictionary.to_pylist()), np.concatenate(rows).astype(np.int32, copy=False)


def _with_contexts(events: Interactions, column: pa.ChunkedArray) -> Interactions:
    encoded = column.dictionary_encode()
    texts = [_canonical(text) for text in encoded.chunk(0).dictionary.to_pylist()]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    rows = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    known = np.array([*(numbers[text] for text in texts), -1], np.int32)
    return replace(events, context=known[np.concatenate(rows)], contexts=tuple(numbers))


def _canonical(text: str) -> str:
    try:
        return context_text(json.loads(text))
    except ValueError:
        raise DataError(f"{text[:40]!r} is not JSON", field="context") from None


def _seconds(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    missing = column.null_count
    if missing == len(column):
        return None
    if missing:
        first = pc.index(column.is_null(), True).as_py() + 1
        raise DataError(
            f"{missing:,} of {len(column):,} events have no time, first row {first:,}",
            field="timestamp",
            remedy="Fill them or remove these events, or leave the column unread with columns={'timestamp': None}",
        )
    moments: NDArray[np.int64] = _flat(column.cast(pa.int64()), np.int64)
    return moments // _MICROSECONDS_PER_SECOND


def _flat(column: pa.ChunkedArray, dtype: Any) -> NDArray[Any]:
    return np.ascontiguousarray(column.to_numpy(), dtype) if len(column) else np.empty(0, dtype)
