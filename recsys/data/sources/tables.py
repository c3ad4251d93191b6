"""Tables of items and of users: an id and whatever else is known about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.sources.chunk import Chunk, python_values
from recsys.data.sources.delimited import open_delimited
from recsys.data.sources.inference import infer_delimiter, infer_format
from recsys.data.sources.layout import Layout, recognise
from recsys.data.sources.lines import StrPath
from recsys.data.sources.parquet import is_text, parquet_schema, plain_text, undamaged
from recsys.data.sources.rejected import Rejected
from recsys.data.sources.values import BadValue, parse_id, parse_text
from recsys.errors import DataError

LIST_COLUMNS = ("genres", "categories", "tags")
_BATCH_ROWS = 1 << 16


def read_table(
    path: StrPath,
    rejected: Rejected | None = None,
    *,
    of: Literal["item", "user"] = "item",
    id_column: str | None = None,
    delimiter: str | None = None,
) -> dict[str, dict[str, object]]:
    """Read a table of items or of users with a header: csv or tsv, plain or gzip, or Parquet.

    Parameters
    ----------
    path : path-like
        The file.
    rejected : Rejected, optional
        Receives rows with a bad or repeated id or a wrong number of fields; the first of equal ids stays. Without it
        the first such row raises.
    of : {"item", "user"}
        What stands in it.
    id_column : str, optional
        The column with the id; recognised by usual names (item_id, movieId, user_id, id, ...) if not given.
    delimiter : str, optional
        Of text; found out if not given.

    Returns
    -------
    dict
        Id to the other columns by name. ``genres``, ``categories`` and ``tags`` become lists, split at ``|``.
        Text stays text, however much it looks like a number; numbers and booleans of Parquet stay what they are.
        What is empty is None, or an empty list.

    Raises
    ------
    DataError
        If the file cannot be read, has no id column or no rows, or a column has a type that is no metadata.
    """
    rejected = Rejected() if rejected is None else rejected
    if infer_format(path) == "parquet":
        layout, chunks = _open_parquet(path, of, id_column)
    else:
        layout, chunks = open_delimited(
            path, delimiter or infer_delimiter(path), lambda row: _layout(row, of, id_column, path), rejected
        )
    id_name, *names = layout.positions
    records: dict[str, dict[str, object]] = {}
    line_of: dict[str, int] = {}
    for chunk in chunks:
        for row, (identity, *values) in enumerate(zip(*map(python_values, chunk.columns.values()), strict=True)):
            line, field = chunk.lines[row], id_name
            if row in chunk.broken:
                rejected.add(path, line, None, chunk.broken[row])
                continue
            try:
                key = parse_id(identity)
                if key in line_of:
                    raise BadValue(f"the {of} {key[:40]!r} stands already in line {line_of[key]:,}")
                entry: dict[str, object] = {}
                for field, value in zip(names, values, strict=True):
                    entry[field] = _metadata(field, value)
            except BadValue as bad:
                rejected.add(path, line, field, bad.reason, remedy=bad.remedy)
                continue
            records[key], line_of[key] = entry, line
    return records


def _layout(row: Sequence[str], of: str, id_column: str | None, path: StrPath) -> Layout:
    """Every column by its name, the id first."""
    names = [cell.strip() or f"column_{k}" for k, cell in enumerate(row)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"two columns are called {repeated[0]!r}", path=path, remedy="Rename one")
    if id_column is not None:
        found = [k for k, name in enumerate(names) if name == id_column]
    else:
        # A bare 'id' is the one looked for only where no column says more plainly that it is.
        found = [k for k, name in enumerate(names) if recognise(name) == of]
        found = found or [k for k, name in enumerate(names) if name.casefold() == "id"]
    if len(found) != 1:
        raise DataError(
            f"{'found no' if not found else 'more than one column could be the'} {of} column; "
            f"the columns are {', '.join(repr(name[:40]) for name in names[:20])}",
            path=path,
            remedy=f"Call it {of}_id, or pass id_column=; the first line must name the columns",
        )
    order = [found[0], *(k for k in range(len(names)) if k != found[0])]
    return Layout({names[k]: k for k in order}, {name: name for name in names}, len(names), has_header=True)


def _open_parquet(path: StrPath, of: str, id_column: str | None) -> tuple[Layout, Iterator[Chunk]]:
    schema = parquet_schema(path)
    layout = _layout(schema.names, of, id_column, path)
    for name, position in layout.positions.items():
        if not _is_metadata(schema.field(position).type):
            raise DataError(
                f"the type {schema.field(position).type} is no metadata",
                path=path,
                field=name,
                remedy="Write text, numbers, booleans or lists of them",
            )
    return layout, _parquet_chunks(path, layout)


def _parquet_chunks(path: StrPath, layout: Layout) -> Iterator[Chunk]:
    done = 0
    with undamaged(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            columns = {name: plain_text(batch.column(position)) for name, position in layout.positions.items()}
            yield Chunk(columns, range(done + 1, done + 1 + batch.num_rows))
            done += batch.num_rows


def _is_metadata(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_dictionary(kind):
        kind = kind.value_type
    return is_text(kind) or any(
        test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    )


def _metadata(name: str, value: object) -> object:
    is_list = name.casefold() in LIST_COLUMNS
    if isinstance(value, str):
        parse_text(value)
        if is_list:
            return [part.strip() for part in value.split("|") if part.strip()]
        return value or None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [] if value is None and is_list else value
