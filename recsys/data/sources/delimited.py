"""Text with a delimiter, quoted or not: csv and its relatives.

`csv.reader` is the rule. Arrow's parser, several times as fast, is the shortcut for blocks where both must agree:
without quotes, blank lines and stray carriage returns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv

from recsys.data.sources.chunk import Chunk
from recsys.data.sources.layout import Layout
from recsys.data.sources.lines import LINE_LIMIT, Block, Progress, StrPath, read_blocks
from recsys.data.sources.rejected import Rejected
from recsys.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader

# Stands for a delimiter that is more than one byte long, which neither parser knows.
_STAND_IN = "\x1f"
# So few rows are still in the processor's cache when their columns are taken.
_CSV_ROWS = 4096
_REASONS = {
    "unexpected end of data": "a quote that is opened here is never closed",
    "expected after": "text follows a closing quote; a quote inside a quoted field is written twice",
    "larger than field limit": "a field is longer than any id; is a quote never closed?",
    "new-line character": "a carriage return stands inside the line",
}


def open_delimited(
    path: StrPath,
    delimiter: str,
    layout_of: Callable[[Sequence[str]], Layout],
    rejected: Rejected,
    progress: Progress | None = None,
) -> tuple[Layout, Iterator[Chunk]]:
    """Read the first row and return its layout together with the chunks of rows still to be read.

    Blank lines hold no row and are passed over, wherever they stand.

    Parameters
    ----------
    path : path-like
        A text file, plain or gzip.
    delimiter : str
        Between columns. With more than one byte, quotes are characters like any other.
    layout_of : callable
        Makes the layout of the first row; raises `DataError` if it cannot.
    rejected : Rejected
        Receives rows with a wrong number of fields or broken quotes.
    progress : callable, optional
        Told the bytes read so far, as they lie on disk.
    """
    blocks = read_blocks(path, rejected, progress)
    for block in blocks:
        reader = _reader(block.text, delimiter)
        try:
            row = next((row for row in reader if not _is_blank(row)), None)
        except csv.Error as error:
            raise DataError(_reason(error), path=path, line=block.line + reader.line_num - 1) from None
        if row is not None:
            layout = layout_of(row)
            skipped = reader.line_num if layout.has_header else 0
            rest = Block(block.line + skipped, block.data.split(b"\n", skipped)[skipped])
            return layout, _chunks(chain([rest], blocks), path, delimiter, layout, rejected)
    raise DataError("holds nothing but blank lines", path=path)


def _chunks(
    blocks: Iterator[Block], path: StrPath, delimiter: str, layout: Layout, rejected: Rejected
) -> Iterator[Chunk]:
    unfinished, has_rows, rejected_before = Block(1, b""), False, rejected.rows
    for block in blocks:
        if unfinished.data:
            block = Block(unfinished.line, unfinished.data + block.data)
        columns = _by_arrow(block.data, delimiter, layout)
        if columns is not None:
            unfinished, has_rows = Block(1, b""), True
            yield Chunk(columns, range(block.line, block.line + block.data.count(b"\n")))
            continue
        unfinished = yield from _by_csv(block, path, delimiter, layout, rejected)
        has_rows = has_rows or bool(block.data.strip())
    if unfinished.data:
        _reject(unfinished, path, delimiter, rejected)
    if not has_rows and rejected.rows == rejected_before:
        raise DataError("has a header but no rows", path=path)


def _by_arrow(data: bytes, delimiter: str, layout: Layout) -> dict[str, pa.Array] | None:
    """Columns of a block, None where Arrow cannot be trusted to see it like `csv.reader`."""
    multibyte = len(delimiter.encode()) > 1
    carriage_returns = data.count(b"\r")
    if (
        (b'"' in data and not multibyte)
        or carriage_returns != (data.count(b"\r\n") if carriage_returns else 0)
        or data.startswith((b"\n", b"\r", b"\xef\xbb\xbf"))
        or b"\n\n" in data
        or b"\n\r" in data
    ):
        return None
    if multibyte:
        data, delimiter = data.replace(delimiter.encode(), _STAND_IN.encode()), _STAND_IN
    names = [str(position) for position in range(layout.width)]
    wanted = list(dict.fromkeys(str(position) for position in layout.positions.values()))
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            pa.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
            pa.csv.ParseOptions(delimiter=delimiter, quote_char=False, double_quote=False, ignore_empty_lines=False),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != data.count(b"\n"):
        return None
    return {field: table[str(position)].combine_chunks() for field, position in layout.positions.items()}


def _by_csv(
    block: Block, path: StrPath, delimiter: str, layout: Layout, rejected: Rejected
) -> Generator[Chunk, None, Block]:
    """Yield the rows of a block; return the record at its end that may go on in the next block."""
    reader = _reader(block.text, delimiter)
    lines_total = block.data.count(b"\n")
    while True:
        begin, error = reader.line_num, None
        rows: list[list[str]] = []
        try:
            # What was read before an error stays in the list, and the reader goes on with the next line.
            rows.extend(islice(reader, _CSV_ROWS))
        except csv.Error as broken:
            error = broken
        first = block.line + begin
        if error is None and reader.line_num - begin == len(rows):
            lines: Sequence[int] = range(first, first + len(rows) + 1)
        else:
            breaks = (1 + sum(cell.count("\n") for cell in row) for row in rows)
            lines = list(accumulate(breaks, initial=first))
        if not all(map(_is_blank, rows)):
            yield _chunk(rows, lines, layout)
        if error is None and not rows:
            return Block(1, b"")
        if error is None:
            continue
        record = _lines(block, lines[-1], block.line + reader.line_num)
        if reader.line_num == lines_total and len(record.data) <= LINE_LIMIT:
            return record
        _reject(record, path, delimiter, rejected)


def _chunk(rows: list[list[str]], lines: Sequence[int], layout: Layout) -> Chunk:
    width = layout.width
    broken: dict[int, str] = {}
    if set(map(len, rows)) != {width}:
        kept = [(row, line) for row, line in zip(rows, lines, strict=False) if not _is_blank(row)]
        rows, lines = [row for row, _ in kept], [line for _, line in kept]
        broken = {k: _miscounted(len(row), width) for k, row in enumerate(rows) if len(row) != width}
        for k in broken:
            rows[k] = (rows[k] + [""] * width)[:width]
    columns = list(zip(*rows, strict=True))
    return Chunk({field: columns[position] for field, position in layout.positions.items()}, lines[: len(rows)], broken)


def _reject(record: Block, path: StrPath, delimiter: str, rejected: Rejected) -> None:
    reason, reader = "the record is broken", _reader(record.text, delimiter)
    try:
        next(reader)
    except csv.Error as error:
        reason = _reason(error)
    count = record.data.count(b"\n")
    if count > 1:
        reason += f" (lines {record.line} to {record.line + count - 1})"
    rejected.add(path, record.line, None, reason, rows=count)


def _lines(block: Block, begin: int, end: int) -> Block:
    lines = block.data.split(b"\n")[begin - block.line : end - block.line]
    return Block(begin, b"\n".join([*lines, b""]))


def _reader(text: str, delimiter: str) -> Reader:
    if len(delimiter.encode()) > 1:
        text = text.replace(delimiter, _STAND_IN)
        lines = io.StringIO(text, newline="\n")
        return csv.reader(lines, delimiter=_STAND_IN, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)


def _reason(error: csv.Error) -> str:
    return next((reason for sign, reason in _REASONS.items() if sign in str(error)), str(error))


def _is_blank(row: Sequence[str]) -> bool:
    return not row or (len(row) == 1 and not row[0].strip())


def _miscounted(found: int, expected: int) -> str:
    return f"has {found} {'field' if found == 1 else 'fields'} where {expected} are expected"
