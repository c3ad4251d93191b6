"""The rules for single values, each twice: `parse_*` for one value with a reason, `*_column` for many at once.

The first is the rule. The second is the shortcut: it gives the same values or refuses the whole column with a
ValueError, after which the caller walks the rows to find out which one is wrong.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from recsys.ids import MAX_ID_CHARACTERS

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_TIMES = (
    "Write 1260759144 or 2009-12-14T02:52:24Z, or leave the column unread: --timestamp-column '' or "
    "columns={'timestamp': None}"
)
_END_US = (datetime(2101, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_PLAUSIBLE_US = (datetime(1990, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
# Half way from the largest float32 to the power of two above it: from here on rounding gives infinity.
_FLOAT32_OVERFLOW = 2.0**128 - 2.0**103


class BadValue(ValueError):
    """A value that cannot be used: why, and what to do about it."""

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def is_number(text: str) -> bool:
    """Whether text reads as a decimal number, finite or not."""
    text = text.strip()
    return bool(_NUMBER.fullmatch(text) or _NOT_FINITE.fullmatch(text))


def parse_id(value: object) -> str:
    """Id of 1 to 256 characters of valid text without NUL; blanks around it belong to it."""
    if value is None or value == "":
        raise BadValue("is empty")
    text = value if isinstance(value, str) else str(value)
    if len(text) > MAX_ID_CHARACTERS:
        raise BadValue(f"has {len(text)} characters; an id has 1 to {MAX_ID_CHARACTERS}")
    if "\0" in text:
        raise BadValue("holds a NUL character")
    return parse_text(text)


def parse_text(text: str) -> str:
    """Text without lone surrogates, which stand for bytes that are no UTF-8."""
    if not text.isascii() and _SURROGATE.search(text):
        raise BadValue("is not UTF-8 text", "Convert the file to UTF-8")
    return text


def parse_optional_id(value: object) -> str | None:
    """Id, or None where there is none."""
    return None if value is None or value == "" else parse_id(value)


def parse_weight(value: object) -> float:
    """Finite number that fits in float32."""
    number = _parse_number(value)
    if abs(number) >= _FLOAT32_OVERFLOW:
        raise BadValue(f"{_shown(value)} is too large for float32")
    return number


def parse_timestamp(value: object, unit: str) -> int | None:
    """Microseconds since 1970 of a number in `unit` or of ISO 8601 text; None where there is none.

    Fractions of a microsecond are rounded half to even.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and not is_number(value):
        moment = _parse_iso(value)
    elif isinstance(value, int):
        moment = value * _MICROSECONDS[unit]
    else:
        scaled = _parse_number(value) * _MICROSECONDS[unit]
        moment = round(scaled) if math.isfinite(scaled) else -1
    if not 0 <= moment < _END_US:
        raise _out_of_range(value, moment, unit)
    return moment


def id_column(column: pa.Array) -> pa.Array:
    """Ids as a string column."""
    if pa.types.is_integer(column.type):
        column = column.cast(pa.string())
    if column.null_count:
        raise BadValue("nulls among the ids")
    column.validate(full=True)  # Parquet files may hold text that is no UTF-8
    lengths = pc.min_max(pc.utf8_length(column)).as_py()
    if len(column) and not (lengths["min"] >= 1 and lengths["max"] <= MAX_ID_CHARACTERS):
        raise BadValue("an id of the wrong length")
    if pc.any(pc.match_substring(column, "\0")).as_py():
        raise BadValue("a NUL in an id")
    return column


def weight_column(column: pa.Array) -> pa.Array:
    """Weights as float32."""
    # By way of float64, like `parse_weight`: one rounding fewer would differ in the last bit.
    weights = column.cast(pa.float64()).cast(pa.float32())
    if weights.null_count or not pc.all(pc.is_finite(weights), min_count=0).as_py():
        raise BadValue("a weight that is missing or not finite")
    return weights


def timestamp_column(column: pa.Array, unit: str) -> pa.Array:
    """Timestamps as microseconds in int64, null where there is none."""
    if pa.types.is_string(column.type):
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        moments = _text_moments(column, unit)
    else:
        moments = _scaled(column, unit)
    span = pc.min_max(moments).as_py()
    if span["min"] is not None and not (span["min"] >= 0 and span["max"] < _END_US):
        raise BadValue("a timestamp out of range")
    return moments


def _text_moments(column: pa.Array, unit: str) -> pa.Array:
    for kind in (pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            converted = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        return _scaled(converted, unit) if kind == pa.float64() else converted.cast(pa.int64())
    raise BadValue("timestamps that are no numbers, or written in more than one way")


def _scaled(column: pa.Array, unit: str) -> pa.Array:
    moments = pc.multiply_checked(column, pa.scalar(_MICROSECONDS[unit], column.type))
    if pa.types.is_floating(moments.type):
        # A cast refuses what int64 cannot hold, NaN and infinity included.
        moments = pc.round(moments, round_mode="half_to_even").cast(pa.int64())
    return moments


def _parse_number(value: object) -> float:
    if value is None or value == "":
        raise BadValue("is empty")
    if not (is_number(value) if isinstance(value, str) else isinstance(value, int | float)):
        raise BadValue(f"{_shown(value)} is not a number")
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise BadValue(f"{_shown(value)} is not a finite number")
    return number


def _parse_iso(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.strip())
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        reason = f"{_shown(text)} is neither a number nor an ISO 8601 time"
        raise BadValue(reason, _TIMES) from None


def _out_of_range(value: object, moment: int, unit: str) -> BadValue:
    number = moment // _MICROSECONDS[unit]
    guesses = (
        ("milliseconds", number * 1000, "Pass --timestamp-unit ms or timestamp_unit='ms'"),
        ("microseconds", number, "Pass --timestamp-unit us or timestamp_unit='us'"),
        ("nanoseconds", number // 1000, "Divide by 1000 and pass --timestamp-unit us or timestamp_unit='us'"),
    )
    for name, guess, remedy in guesses:
        if _PLAUSIBLE_US <= guess < _END_US and not (isinstance(value, str) and not is_number(value)):
            return BadValue(f"{_shown(value)} looks like {name}", remedy)
    return BadValue(f"{_shown(value)} lies outside the years 1970 to 2100")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= 40 else text[:40] + "...")
