"""Parquet files of events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.sources.chunk import Chunk
from recsys.data.sources.contexts import PREFIX
from recsys.data.sources.layout import Layout, resolve_layout
from recsys.data.sources.lines import Progress, StrPath, first_bytes, readable
from recsys.data.sources.spec import ReadSpec
from recsys.errors import DataError

_BATCH_ROWS = 1 << 16
_WRITE = {
    "weight": "Write numbers",
    "timestamp": "Write a timestamp, a number or ISO 8601 text",
    "context": "Write text, numbers or booleans",
}


def open_parquet(
    path: StrPath, spec: ReadSpec, progress: Progress | None = None
) -> tuple[Layout, str, Iterator[Chunk]]:
    """Open a file and return its layout, the unit of its timestamps and the chunks still to be read.

    Raises
    ------
    DataError
        If it is no Parquet file, damaged, without rows, or has not the columns or types that events need.
    """
    schema = parquet_schema(path)
    layout = resolve_layout(schema.names, replace(spec, header=True), path)
    unit = spec.timestamp_unit
    for field, position in layout.positions.items():
        kind = schema.field(position).type
        if not _suits(field, kind):
            raise DataError(
                f"the type {kind} cannot be the {field.partition('.')[0]}",
                path=path,
                field=layout.names[field],
                remedy=_WRITE.get(field.partition(".")[0], "Write text or whole numbers"),
            )
        if field == "timestamp":
            unit = _unit(kind, unit)
    return layout, unit, _chunks(path, layout, progress)


def parquet_schema(path: StrPath) -> pa.Schema:
    """Columns of a file; `DataError` if it is no Parquet file, damaged, or has no rows."""
    magic = first_bytes(path)
    if not magic:
        raise DataError("is empty", path=path)
    if magic != b"PAR1":
        raise DataError(
            "is not a Parquet file", path=path, remedy="Pass the format it has, such as --format csv or format='csv'"
        )
    with undamaged(path), pq.ParquetFile(path) as file:
        if not file.metadata.num_rows:
            raise DataError("has columns but no rows", path=path)
        return file.schema_arrow


@contextmanager
def undamaged(path: StrPath) -> Iterator[None]:
    """Turn what Arrow reports while it reads a file into `DataError`."""
    try:
        with readable(path):
            yield
    except pa.ArrowException as error:
        reason = (str(error).splitlines() or ["?"])[0].rstrip(". ")
        raise DataError(f"the Parquet file is damaged: {reason}", path=path) from None


def plain_text(column: pa.Array) -> pa.Array:
    """Text and dictionaries of text as the one string type the rest of the code knows; others as they are."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()) if is_text(column.type) else column


def _chunks(path: StrPath, layout: Layout, progress: Progress | None) -> Iterator[Chunk]:
    size, done = Path(path).stat().st_size, 0
    with undamaged(path), pq.ParquetFile(path) as file:
        names = [file.schema_arrow.names[position] for position in layout.positions.values()]
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(dict.fromkeys(names))):
            columns = {
                field: _plain(batch.column(name), field) for field, name in zip(layout.positions, names, strict=True)
            }
            yield Chunk(columns, range(done + 1, done + 1 + batch.num_rows))
            done += batch.num_rows
            if progress is not None:
                # Arrow reads columns, not bytes in order: the share of rows, as bytes.
                progress(size * done // file.metadata.num_rows)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _suits(field: str, kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if pa.types.is_null(kind):
        return True
    if field.startswith(PREFIX):
        return is_text(kind) or bool(
            pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
        )
    if field == "weight":
        return bool(is_number)
    if field == "timestamp":
        return is_text(kind) or bool(is_number or pa.types.is_timestamp(kind) or pa.types.is_date(kind))
    return is_text(kind) or bool(pa.types.is_integer(kind))


def _unit(kind: pa.DataType, numeric: str) -> str:
    """Name the unit of the numbers that `_plain` makes of a column of times."""
    if pa.types.is_timestamp(kind):
        return "us" if kind.unit == "ns" else str(kind.unit)
    return "ms" if pa.types.is_date(kind) else numeric


def _plain(column: pa.Array, field: str) -> pa.Array:
    """Text as strings, numbers as int64 or float64, times as int64 in the unit of `_unit`."""
    column = plain_text(column)
    kind = column.type
    if field.startswith(PREFIX) and not pa.types.is_null(kind):
        return column
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms")).cast(pa.int64())
    if pa.types.is_timestamp(kind):
        if kind.unit == "ns":
            column = pc.floor_temporal(column, unit="microsecond").cast(pa.timestamp("us", kind.tz))
        return column.cast(pa.int64())
    if field in ("weight", "timestamp") and not is_text(kind):
        return column.cast(pa.int64() if pa.types.is_integer(kind) and field == "timestamp" else pa.float64())
    return column.cast(pa.string())
