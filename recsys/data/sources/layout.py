"""Which column of a file holds what."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.data.sources.contexts import PREFIX
from recsys.data.sources.spec import FIELDS, ReadSpec
from recsys.data.sources.values import is_number
from recsys.errors import DataError

# Compared without case, blanks, '_' and '-': userId, USER_ID and user-id are one name.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "user": ("user", "userid", "uid", "customer", "customerid"),
    "item": (
        *("item", "itemid", "iid", "movie", "movieid", "artist", "artistid", "product", "productid", "sku", "asin"),
        *("article", "articleid", "book", "bookid", "song", "songid", "track", "trackid", "video", "videoid"),
    ),
    "weight": ("weight", "rating", "value", "eventvalue", "count", "quantity"),
    "timestamp": ("timestamp", "ts", "time"),
    "event": ("event", "eventtype"),
    "event_id": ("eventid",),
}
# Taken where there is no better name and only one of these.
WEAK_SYNONYMS: dict[str, tuple[str, ...]] = {
    "weight": ("stars", "score"),
    "timestamp": ("date", "datetime", "createdat"),
}
_FIELD_OF = {name: field for field, names in SYNONYMS.items() for name in names}
_WEAK_FIELD_OF = {name: field for field, names in WEAK_SYNONYMS.items() for name in names}
BY_POSITION = ("user", "item", "weight", "timestamp")


@dataclass(frozen=True)
class Layout:
    """Where the fields stand in a row.

    Parameters
    ----------
    positions : mapping of str to int
        Our field name to the 0-based column.
    names : mapping of str to str
        Our field name to what the file calls it, for messages.
    width : int
        Columns of a row.
    has_header : bool
        Whether the row it was read from is a header.
    unused : tuple of str
        What the file calls the columns that are not read.
    """

    positions: Mapping[str, int]
    names: Mapping[str, str]
    width: int
    has_header: bool
    unused: tuple[str, ...] = ()


def recognise(name: str) -> str | None:
    """Our name of a column, None if it is not known."""
    return _FIELD_OF.get(_plain(name))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def resolve_layout(first_row: Sequence[str], spec: ReadSpec, path: str | os.PathLike[str]) -> Layout:
    """Lay out the columns from the first row, which is a header or data, and from the options.

    Raises
    ------
    DataError
        If user and item are not found, a name fits two columns, or it is unclear whether the row is a header.
    """
    cells = [cell.strip() for cell in first_row]
    has_header = _is_header(cells, spec, path) if spec.header is None else spec.header
    positions = _by_name(cells, spec, path) if has_header else _by_position(len(cells), spec)
    for field in ("user", "item"):
        if field not in positions:
            raise _unnamed(cells, path, f"found no {field} column")
    positions |= _context(cells, spec, path) if has_header else {}
    for field, position in positions.items():
        if position >= len(cells):
            raise DataError(f"there is no column {position}, the first row has {len(cells)}", path=path, field=field)
    names = {field: cells[position] if has_header else field for field, position in positions.items()}
    unused = tuple(cells[k] if has_header else f"column {k}" for k in range(len(cells)) if k not in positions.values())
    return Layout(positions, names, len(cells), has_header, unused)


def _is_header(cells: Sequence[str], spec: ReadSpec, path: str | os.PathLike[str]) -> bool:
    given = (spec.columns or {}).values()
    known = {recognise(cell) for cell in cells} - {None}
    if spec.context or any(isinstance(place, str) for place in given) or {"user", "item"} <= known:
        return True
    if known and any(isinstance(place, int) for place in given):
        return True
    weight = (spec.columns or {"weight": 2}).get("weight")
    if isinstance(weight, int) and weight < len(cells):
        is_data = is_number(cells[weight])
    else:
        is_data = any(sign.isdigit() for cell in cells for sign in cell)
    if is_data and not known:
        return False
    reason = "the first line is neither a header with known names nor plainly data"
    raise _unnamed(cells, path, reason, "; pass --no-header or header=False if it is data")


def _by_name(cells: Sequence[str], spec: ReadSpec, path: str | os.PathLike[str]) -> dict[str, int]:
    given = spec.columns or {}
    taken = {place for place in (*given.values(), *spec.context) if place is not None}
    positions: dict[str, int] = {}
    for field in FIELDS:
        place = given.get(field)
        if isinstance(place, int):
            positions[field] = place
        elif isinstance(place, str):
            found = [k for k, cell in enumerate(cells) if cell == place.strip()]
            if not found:
                reason = f"there is no column {place!r}; the columns are {_listed(cells)}"
                raise DataError(reason, path=path, field=field)
            positions[field] = _only(found, cells, field, path)
        elif field not in given:
            free = [k for k, cell in enumerate(cells) if k not in taken and cell not in taken]
            found = [k for k in free if recognise(cells[k]) == field]
            weak = [k for k in free if _WEAK_FIELD_OF.get(_plain(cells[k])) == field]
            if found or len(weak) == 1:
                positions[field] = _only(found or weak, cells, field, path)
    return positions


def _context(cells: Sequence[str], spec: ReadSpec, path: str | os.PathLike[str]) -> dict[str, int]:
    for name in spec.context:
        if cells.count(name.strip()) != 1:
            there = "is no" if name.strip() not in cells else "is more than one"
            raise DataError(
                f"there {there} column {name!r} to keep as context; the columns are {_listed(cells)}", path=path
            )
    return {PREFIX + name.strip(): cells.index(name.strip()) for name in spec.context}


def _only(found: Sequence[int], cells: Sequence[str], field: str, path: str | os.PathLike[str]) -> int:
    if len(found) > 1:
        flag = "" if field == "event_id" else f"--{field}-column {found[0]} or "
        raise DataError(
            f"the columns {' and '.join(repr(cells[k]) for k in found)} could both be the {field}",
            path=path,
            remedy=f'Say which by its position: {flag}columns={{"{field}": {found[0]}}}',
        )
    return found[0]


def _by_position(width: int, spec: ReadSpec) -> dict[str, int]:
    given = spec.columns or {}
    chosen = {field: place for field, place in given.items() if isinstance(place, int)}
    return chosen or {field: k for k, field in enumerate(BY_POSITION[:width]) if field not in given}


def _listed(cells: Sequence[str]) -> str:
    shown = ", ".join(repr(cell[:40]) for cell in cells[:20])
    return shown + (", ..." if len(cells) > 20 else "")


def _unnamed(cells: Sequence[str], path: str | os.PathLike[str], reason: str, hint: str = "") -> DataError:
    first, second = (cells[0][:40], cells[1][:40]) if len(cells) > 1 else ("NAME", "NAME")
    return DataError(
        f"{reason}; the columns are {_listed(cells)}",
        path=path,
        remedy=(
            f'Name them with columns={{"user": {first!r}, "item": {second!r}}} or --user-column, --item-column, '
            f"--weight-column, --timestamp-column, --event-column{hint}"
        ),
    )
