"""Declared fields of items: what kinds there are, and what a value of each is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from recsys.errors import DataError

KINDS = ("keyword", "keywords", "number", "boolean", "timestamp")
MAX_FIELDS, MAX_NAME, MAX_VALUES = 64, 64, 256
"""Declared fields, characters of a name, and keywords of one value."""

LARGEST_METADATA_BYTES = 32_768

RESERVED = ("k", "cursor", "include")
"""Parameters of a list's query, where all others are fields."""

Value = str | float | bool


def checked_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """Return declared fields as they are stored; `DataError` names one that cannot be."""
    if len(fields) > MAX_FIELDS:
        raise DataError(f"{len(fields):,} fields are declared; {MAX_FIELDS} are the most", field="fields")
    for name, kind in fields.items():
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise DataError(f"a name of a field has 1 to {MAX_NAME} printable characters", field="fields")
        if name in RESERVED:
            raise DataError(
                "means something else in the query of a list: call the field otherwise", field=f"fields.{name}"
            )
        if kind not in KINDS:
            raise DataError(f"no such kind; there are {', '.join(KINDS)}", field=f"fields.{name}")
    return dict(fields)


def read_values(kind: str, told: object) -> tuple[Value, ...]:
    """Return what a field of a kind says: nothing, one value, or the keywords of a list.

    Numbers, booleans and times may be text, as a CSV has them: ``"4.5"``, ``"true"``, ``"2026-01-31"``. Times are UTC
    seconds. What is None or empty says nothing.

    Raises
    ------
    DataError
        If it is none of the kind.

    Examples
    --------
    >>> read_values("keywords", ["drama", "war"]), read_values("number", "4.5"), read_values("keyword", "")
    (('drama', 'war'), (4.5,), ())
    """
    if told is None or told == "" or told == []:
        return ()
    if kind == "keywords" and isinstance(told, list | tuple):
        if len(told) > MAX_VALUES:
            raise DataError(f"holds {len(told):,} keywords; {MAX_VALUES} are the most")
        return tuple(dict.fromkeys(map(_keyword, told)))
    if kind in ("keyword", "keywords"):
        return (_keyword(told),)
    return (_READERS[kind](told),)


def checked_metadata(metadata: Mapping[str, object], fields: Mapping[str, str]) -> None:
    """Raise `DataError` that names a declared field whose value is none of its kind, or what is too much.

    Metadata have at most 32,768 bytes as JSON.
    """
    for name, kind in fields.items():
        try:
            read_values(kind, metadata.get(name))
        except DataError as error:
            raise DataError(error.reason, field=name) from None
    try:
        size = len(json.dumps(dict(metadata), ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise DataError("holds a lone surrogate, which is not text") from None
    if size > LARGEST_METADATA_BYTES:
        raise DataError(f"has {size:,} bytes; {LARGEST_METADATA_BYTES:,} are the most")


def _keyword(told: object) -> str:
    if isinstance(told, str) and 1 <= len(told) <= 256:
        return told
    if isinstance(told, int) and not isinstance(told, bool):
        return str(told)
    raise DataError("a keyword is text of 1 to 256 characters")


def _number(told: object) -> float:
    try:
        number = math.nan if isinstance(told, bool) else float(told)  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError("is a finite number")
    return number


def _boolean(told: object) -> bool:
    found = {"true": True, "false": False}.get(told.lower()) if isinstance(told, str) else told
    if not isinstance(found, bool):
        raise DataError("is true or false")
    return found


def _timestamp(told: object) -> float:
    try:
        return _number(told)
    except DataError:
        pass
    try:
        time = datetime.fromisoformat(told if isinstance(told, str) else "")
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        raise DataError("is a time: UTC seconds, or ISO 8601 as 2026-01-31T12:00:00Z") from None


_READERS: dict[str, Callable[[object], Value]] = {"number": _number, "boolean": _boolean, "timestamp": _timestamp}
