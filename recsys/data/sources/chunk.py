"""From the columns of some rows to a table of events: at once if all is well, row by row if not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.events_table import EVENT_SCHEMA
from recsys.data.sources.contexts import PREFIX, context_column, parse_context, parse_context_value
from recsys.data.sources.rejected import Rejected
from recsys.data.sources.values import (
    BadValue,
    id_column,
    parse_id,
    parse_optional_id,
    parse_timestamp,
    parse_weight,
    timestamp_column,
    weight_column,
)

DEFAULT_EVENT = "interaction"
DEFAULT_WEIGHT = 1.0
_WALKED_ROWS = 2048


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file, as read.

    Parameters
    ----------
    columns : mapping of str to columns
        Our field names to equally long columns: text as sequences of str or arrow strings, or arrow numbers. A column
        kept as context is called ``context.`` and its name.
    lines : sequence of int
        The line each row begins on.
    broken : mapping of int to str, optional
        Rows that are no rows, whatever stands in their columns, and why.
    """

    columns: Mapping[str, Sequence[str] | pa.Array]
    lines: Sequence[int]
    broken: Mapping[int, str] = field(default_factory=dict)

    def parts(self, rows: int) -> Iterator[Chunk]:
        """Cut into chunks of so many rows."""
        for begin in range(0, len(self.lines), rows):
            end = begin + rows
            yield Chunk(
                {name: column[begin:end] for name, column in self.columns.items()},
                self.lines[begin:end],
                {row - begin: reason for row, reason in self.broken.items() if begin <= row < end},
            )


@dataclass(frozen=True)
class Conversion:
    """What it takes to turn the chunks of one file into tables.

    Parameters
    ----------
    path : path-like
        The file, for messages.
    names : mapping of str to str
        Our field names to those of the file, for messages.
    timestamp_unit : {"s", "ms", "us"}
        Of numeric timestamps.
    """

    path: str | os.PathLike[str]
    names: Mapping[str, str]
    timestamp_unit: str

    def table(self, chunk: Chunk, rejected: Rejected) -> pa.Table:
        """Table of `EVENT_SCHEMA` with the good rows of a chunk; the others go to `rejected`."""
        try:
            if chunk.broken:
                raise BadValue("broken rows")
            return self._at_once(chunk)
        except (ValueError, pa.ArrowException):
            if len(chunk.lines) > _WALKED_ROWS:
                # Where few rows are bad, most parts still go at once.
                return pa.concat_tables([self.table(part, rejected) for part in chunk.parts(_WALKED_ROWS)])
            return self._row_by_row(chunk, rejected)

    def _at_once(self, chunk: Chunk) -> pa.Table:
        converters: dict[str, Callable[[pa.Array], pa.Array]] = {
            "user": id_column,
            "item": id_column,
            "weight": weight_column,
            "timestamp": lambda column: timestamp_column(column, self.timestamp_unit),
            "event": id_column,
            "event_id": _optional_id_column,
        }
        columns = {
            name: column if isinstance(column, pa.Array) else pa.array(column, pa.string())
            for name, column in chunk.columns.items()
        }
        told = {name.removeprefix(PREFIX): column for name, column in columns.items() if name.startswith(PREFIX)}
        converted = {name: convert(columns[name]) for name, convert in converters.items() if name in columns}
        if told:
            converted["context"] = context_column(told, len(chunk.lines))
        return event_table(converted, len(chunk.lines))

    def _row_by_row(self, chunk: Chunk, rejected: Rejected) -> pa.Table:
        parsers: dict[str, Callable[[object], object]] = {
            "user": parse_id,
            "item": parse_id,
            "weight": parse_weight,
            "timestamp": lambda value: parse_timestamp(value, self.timestamp_unit),
            "event": parse_id,
            "event_id": parse_optional_id,
        }
        names = list(chunk.columns)
        rules = [parsers.get(name, parse_context_value) for name in names]
        kept: list[list[object]] = []
        for row, values in enumerate(zip(*map(python_values, chunk.columns.values()), strict=True)):
            if row in chunk.broken:
                rejected.add(self.path, chunk.lines[row], None, chunk.broken[row])
                continue
            position = 0
            good: list[object] = []
            try:
                for position, value in enumerate(values):
                    good.append(rules[position](value))
                position = len(names)
                told = zip(names, good, strict=True)
                good.append(parse_context({n.removeprefix(PREFIX): v for n, v in told if n.startswith(PREFIX)}))
            except BadValue as bad:
                name = self.names.get(names[position], names[position]) if position < len(names) else "context"
                rejected.add(self.path, chunk.lines[row], name, bad.reason, remedy=bad.remedy)
                continue
            kept.append(good)
        names.append("context")
        columns = zip(*kept, strict=True) if kept else [()] * len(names)
        typed = [(name, column) for name, column in zip(names, columns, strict=True) if name in _TYPES]
        return event_table({name: pa.array(column, _TYPES[name]) for name, column in typed}, len(kept))


# What columns are before `event_table` fits them into the schema.
_TYPES: dict[str, pa.DataType] = {
    "user": pa.string(),
    "item": pa.string(),
    "weight": pa.float64(),
    "timestamp": pa.int64(),
    "event": pa.string(),
    "event_id": pa.string(),
    "context": pa.string(),
}


def event_table(columns: Mapping[str, pa.Array], rows: int) -> pa.Table:
    """Table of `EVENT_SCHEMA` from checked columns; what is not given gets its default."""
    times = columns.get("timestamp", pa.nulls(rows, pa.int64()))
    return pa.Table.from_arrays(
        [
            columns["user"],
            columns["item"],
            columns["event"] if "event" in columns else pa.repeat(DEFAULT_EVENT, rows),
            columns["weight"].cast(pa.float32()) if "weight" in columns else _ones(rows),
            times.cast(EVENT_SCHEMA.field("ts").type),
            columns.get("event_id", pa.nulls(rows, pa.string())),
            columns.get("context", pa.nulls(rows, pa.string())),
        ],
        schema=EVENT_SCHEMA,
    )


def _ones(rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(DEFAULT_WEIGHT, pa.float32()), rows)


def _optional_id_column(column: pa.Array) -> pa.Array:
    column = column.cast(pa.string())
    if column.null_count or pc.any(pc.equal(column, "")).as_py():
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        id_column(column.drop_null())
        return column
    return id_column(column)


def python_values(column: Sequence[str] | pa.Array) -> Sequence[Any]:
    """Values of a column as Python objects; bytes that are no UTF-8 become lone surrogates."""
    if not isinstance(column, pa.Array):
        return column
    if not pa.types.is_string(column.type):
        values: list[Any] = column.to_pylist()
        return values
    # By way of bytes: a Parquet file may hold text that is no UTF-8, and `to_pylist` would give up on all of it.
    raw = column.cast(pa.binary()).to_pylist()
    return [None if one is None else one.decode("utf-8", "surrogateescape") for one in raw]
