"""Find out from name and first lines what a file is."""

from __future__ import annotations

import csv
from pathlib import Path

from recsys.data.sources.layout import recognise
from recsys.data.sources.lines import StrPath, first_bytes, first_lines
from recsys.errors import DataError

_DELIMITERS = (",", "\t", ";", "|", "::")


def infer_format(path: StrPath) -> str:
    """Tell ``csv``, ``parquet``, ``lists`` or ``movielens``.

    Raises
    ------
    DataError
        If it cannot be told, naming the option to pass; or if the file cannot be read.
    """
    if Path(path).is_dir():
        return "movielens"
    suffix = _suffix(path)
    if first_bytes(path) == b"PAR1" or suffix in (".parquet", ".pq"):
        return "parquet"
    if suffix in (".csv", ".tsv"):
        return "csv"
    lines = first_lines(path)
    if any(delimiter in lines[0] for delimiter in _DELIMITERS):
        return "csv"
    widths = {len(line.split()) for line in lines}
    if widths == {1} or (len(widths) == 1 and widths <= {3, 4}):
        raise DataError(
            f"cannot tell its format; line 1 reads {lines[0][:60]!r}",
            path=path,
            remedy="Pass --format lists or format='lists' for 'user item item ...' a line; "
            "for csv also --delimiter ' ' or delimiter=' '",
        )
    return "lists"


def infer_delimiter(path: StrPath) -> str:
    """Tell the delimiter of the first line: the one that shows most known names, or else most columns.

    Raises
    ------
    DataError
        If the line has none of ``, tab ; |`` and ``::``, or if the file cannot be read.
    """
    line = first_lines(path, 1)[0]
    if _suffix(path) == ".tsv":
        return "\t"
    best = max(_DELIMITERS, key=lambda delimiter: _promise(line, delimiter))
    if best not in line:
        raise DataError(
            f"found no delimiter in line 1, which reads {line[:60]!r}",
            path=path,
            remedy="Pass --delimiter or delimiter=; for 'user item item ...' a line --format lists or format='lists'",
        )
    return best


def _promise(line: str, delimiter: str) -> tuple[int, int]:
    if len(delimiter) > 1:
        # One column of '::' is two of ':', so it must be looked for as a whole.
        cells = line.split(delimiter)
    else:
        try:
            cells = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            return 0, 0
    return sum(recognise(cell) is not None for cell in cells) if len(cells) > 1 else 0, len(cells)


def _suffix(path: StrPath) -> str:
    name = Path(path).name.casefold().removesuffix(".gz")
    return Path(name).suffix
