"""Read interactions from any file the suite understands."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from recsys.data.events_table import EVENT_SCHEMA, to_interactions
from recsys.data.interactions import Interactions
from recsys.data.sources.chunk import Chunk, Conversion
from recsys.data.sources.delimited import open_delimited
from recsys.data.sources.inference import infer_delimiter, infer_format
from recsys.data.sources.layout import Layout, resolve_layout
from recsys.data.sources.lines import Progress, StrPath
from recsys.data.sources.lists import list_chunks
from recsys.data.sources.movielens import find_ratings, movielens_spec
from recsys.data.sources.parquet import open_parquet
from recsys.data.sources.rejected import DataWarning, Rejected
from recsys.data.sources.spec import ReadSpec
from recsys.errors import DataError

_TABLE_ROWS = 1 << 15


def read_interactions(
    path: StrPath,
    *,
    format: str | None = None,
    columns: Mapping[str, str | int | None] | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    timestamp_unit: str = "s",
    context: Sequence[str] = (),
    on_error: str = "raise",
) -> Interactions:
    r"""Read a file of events into memory.

    Parameters
    ----------
    path : path-like
        csv or tsv (plain or gzip), Parquet, lists of ``user item item ...``, or a MovieLens directory.
    format, columns, header, delimiter, timestamp_unit, context
        See `ReadSpec`; what is not given is found out from the file.
    on_error : {"raise", "skip"}
        Stop at the first bad row, or leave bad rows out and warn once with their number and the first reasons.

    Returns
    -------
    Interactions
        Ids numbered in order of first appearance; weight 1 and no timestamps where the file has none.

    Raises
    ------
    DataError
        If the file or, with ``on_error="raise"``, a row cannot be used; if no row can; or if some events have a
        time and others have none.
    ConfigError
        If an option cannot be used.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "plays.csv")
    ...     _ = path.write_text("user,item,plays\nanna,tea,3\nbo,tea,1\n")
    ...     plays = read_interactions(path, columns={"weight": "plays"})
    >>> plays.users.ids(), plays.weight.tolist()
    (['anna', 'bo'], [3.0, 1.0])
    """
    spec = ReadSpec(format, columns, header, delimiter, timestamp_unit, context)
    rejected = Rejected(on_error)
    table = pa.concat_tables([EVENT_SCHEMA.empty_table(), *read_events(path, spec, rejected)])
    if rejected.rows and not len(table):
        raise DataError(f"no row can be used; {rejected.summary()}", path=path)
    if rejected.rows:
        warnings.warn(rejected.summary(), DataWarning, stacklevel=2)
    return to_interactions(table)


def read_events(
    path: StrPath, spec: ReadSpec, rejected: Rejected, progress: Progress | None = None
) -> Iterator[pa.Table]:
    """Stream the events of a file as tables of `EVENT_SCHEMA`, tens of thousands of rows each, in bounded memory.

    A row without an event name is an ``interaction``, one without a weight column weighs 1; an empty time is null.

    Parameters
    ----------
    path : path-like
        As in `read_interactions`.
    spec : ReadSpec
        How to read it.
    rejected : Rejected
        Receives each row that cannot be used, or raises there.
    progress : callable, optional
        Told the number of bytes read so far, out of the size of the file on disk.

    Raises
    ------
    DataError
        At the first table, if the file cannot be read at all. Later, if it turns out to be damaged (a truncated
        gzip, say): whoever stores the tables must discard them then.
    """
    path, kind, spec = _resolved(path, spec)
    layout, unit, chunks = _open(path, kind, spec, rejected, progress)
    conversion = Conversion(path, layout.names, unit)
    waiting: list[pa.Table] = []
    for chunk in chunks:
        waiting.append(conversion.table(chunk, rejected))
        if sum(map(len, waiting)) >= _TABLE_ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    rest = pa.concat_tables([EVENT_SCHEMA.empty_table(), *waiting])
    if len(rest):
        yield rest.combine_chunks()


def columns_of(path: StrPath, spec: ReadSpec) -> tuple[dict[str, str], list[str]]:
    """Tell what the columns of a file are read as, from its first lines; see `read_events`.

    Returns
    -------
    used : dict of str to str
        Our field names to those of the file.
    unused : list of str
        The columns that are not read.
    """
    path, kind, spec = _resolved(path, spec)
    layout, _, _ = _open(path, kind, spec, Rejected("skip"), None)
    named = layout.has_header or not layout.positions
    used = layout.names if named else {field: f"column {k}" for field, k in layout.positions.items()}
    return dict(used), list(layout.unused)


def _resolved(path: StrPath, spec: ReadSpec) -> tuple[StrPath, str, ReadSpec]:
    kind = spec.format or infer_format(path)
    if kind != "movielens":
        return path, kind, spec
    path = find_ratings(path)
    return path, "csv", movielens_spec(path, spec)


def _open(
    path: StrPath, kind: str, spec: ReadSpec, rejected: Rejected, progress: Progress | None
) -> tuple[Layout, str, Iterator[Chunk]]:
    if kind == "lists":
        replace(spec, format=kind)  # refuses what such a file cannot have
        return Layout({}, {}, 0, has_header=False), "s", list_chunks(path, rejected, progress)
    if kind == "parquet":
        return open_parquet(path, spec, progress)
    spec = replace(spec, delimiter=spec.delimiter or infer_delimiter(path))
    delimiter = spec.delimiter or ","
    layout, chunks = open_delimited(path, delimiter, lambda row: resolve_layout(row, spec, path), rejected, progress)
    return layout, spec.timestamp_unit, chunks
