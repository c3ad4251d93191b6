"""Events as the files of the log hold them, and what is left out of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

from recsys.data.events_table import EVENT_SCHEMA
from recsys.impressions import ImpressionEvent

LOG_SCHEMA = EVENT_SCHEMA.append(pa.field("position", pa.int64()))
"""Only what comes from the queue has a position."""

IMPRESSION_SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("ts", pa.timestamp("us", "UTC")),
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("variant", pa.string()),
        pa.field("strategy", pa.string()),
        pa.field("items", pa.list_(pa.struct([("item_id", pa.string()), ("propensity", pa.float64())]))),
        pa.field("position", pa.int64()),
    ]
)
"""Lists that were shown, as `ImpressionEvent.row` tells them; none has a position."""


def impressions_table(impressions: Iterable[ImpressionEvent]) -> pa.Table:
    """Return impressions as the log holds them."""
    return pa.Table.from_pylist([one.row() for one in impressions], IMPRESSION_SCHEMA)


def read_events(name: str, file: BinaryIO, schema: pa.Schema) -> pa.Table:
    """Read a file of the log; `ValueError`, or an `OSError` without a number, if it is damaged."""
    if name.endswith(".jsonl"):
        return _lines(name, file, schema)
    return pq.read_table(file, schema=schema, partitioning=None, page_checksum_verification=True)


def through(events: pa.Table, position: int) -> pa.Table:
    """Events up to a position and those without one, but none that has its id in common with one beyond."""
    beyond = events.filter(pc.greater(events["position"], position))["event_id"]
    return events.filter(pc.invert(pc.is_in(events["event_id"], beyond.combine_chunks()))) if len(beyond) else events


def without_repeats(events: pa.Table) -> pa.Table:
    """Keep the first event of every id, and all without one."""
    ids = events["event_id"]
    if ids.null_count == len(ids):
        return events
    # Codes number the ids in order of first appearance (one dictionary over all chunks; large, for it may be over
    # 2 GiB), so an id is new exactly where its code is above all before.
    encoded = ids.cast(pa.large_string()).dictionary_encode()
    codes = np.concatenate([chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks])
    highest_before = np.append(-1, np.maximum.accumulate(codes)[:-1])
    keep = (codes < 0) | (codes > highest_before)
    return events if keep.all() else events.filter(pa.array(keep))


def _lines(name: str, file: BinaryIO, schema: pa.Schema) -> pa.Table:
    """Read what `batch_jobs.consumer` wrote: its name is the digest of its content."""
    content = file.read()
    if hashlib.sha256(content).hexdigest()[:32] not in name:
        raise ValueError("its digest is not its name's")
    # Numbers first, for JSON has no times.
    numbers = schema.set(schema.get_field_index("ts"), pa.field("ts", pa.int64()))
    options = pyarrow.json.ParseOptions(explicit_schema=numbers, unexpected_field_behavior="error")
    return pyarrow.json.read_json(pa.BufferReader(content), parse_options=options).cast(schema)
