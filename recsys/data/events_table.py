"""The table of events that readers, jobs and the event log share, and the way from it to `Interactions`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.errors import DataError
from recsys.ids import IdMap

EVENT_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("value", pa.float32(), nullable=False),
        pa.field("ts", pa.timestamp("us", "UTC")),
        pa.field("event_id", pa.string()),
    ]
)

_MICROSECONDS_PER_SECOND = 1_000_000


def to_interactions(table: pa.Table) -> Interactions:
    """Turn a table of `EVENT_SCHEMA` into interactions; `event` and `event_id` are left behind.

    Ids are numbered in order of first appearance; times are cut to whole seconds.

    Raises
    ------
    DataError
        If the table has not the columns of `EVENT_SCHEMA`, an id or value is null, an id or a value breaks the
        rules of `Interactions`, or some events have a time and others have none.

    Examples
    --------
    >>> events = EVENT_SCHEMA.empty_table()
    >>> to_interactions(events).shape
    (0, 0)
    """
    for field in EVENT_SCHEMA:
        if field.name not in table.column_names or table.schema.field(field.name).type != field.type:
            raise DataError(f"the table has no column '{field.name}' of type {field.type}")
        if not field.nullable and table[field.name].null_count:
            raise DataError(f"{table[field.name].null_count:,} events have none", field=field.name)
    users, user = _numbered(table["user_id"])
    items, item = _numbered(table["item_id"])
    return Interactions(users, items, user, item, _flat(table["value"], np.float32), _seconds(table["ts"]))


def _numbered(column: pa.ChunkedArray) -> tuple[IdMap, NDArray[np.int32]]:
    # Every chunk of the result carries the same, whole dictionary, in order of first appearance.
    encoded = column.dictionary_encode()
    if not encoded.num_chunks:
        return IdMap.from_ids([]), np.empty(0, np.int32)
    rows = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    return IdMap.from_ids(encoded.chunk(0).dictionary.to_pylist()), np.concatenate(rows).astype(np.int32, copy=False)


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
