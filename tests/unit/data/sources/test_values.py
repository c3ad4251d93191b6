import struct
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.data.sources.values import (
    BadValue,
    id_column,
    parse_id,
    parse_timestamp,
    parse_weight,
    timestamp_column,
    weight_column,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBERISH = st.text("0123456789+-.eEnaifxX_ dT:Z", max_size=12) | st.floats().map(repr) | st.integers().map(str)
ISO = st.builds(
    lambda moment, hours, zoned, sign: moment.replace(
        tzinfo=timezone(timedelta(hours=hours)) if zoned else None
    ).isoformat(sign),
    st.datetimes(datetime(1960, 1, 1), datetime(2110, 1, 1)),
    st.integers(-12, 12),
    st.booleans(),
    st.sampled_from("T "),
)


def float32(number: float) -> float:
    return struct.unpack("f", struct.pack("f", number))[0]


def agree(shortcut, rule, values, plain=lambda found: found):
    """The shortcut refuses, or says for each value what the rule says."""
    try:
        found = shortcut(pa.array(values, pa.string())).to_pylist()
    except (ValueError, pa.ArrowException):
        return False
    assert found == [plain(rule(value)) for value in values]
    return True


@settings(deadline=None)
@given(st.lists(NUMBERISH, min_size=1, max_size=3))
@example(["1e39"])
@example(["3.40282356779733661637539395458e38"])
@example(["3.4028235677973362e38"])
@example(["7.038531e-26", "16777217.000000001"])
def test_the_fast_weights_are_those_of_the_rule(values):
    agree(weight_column, parse_weight, values, float32)


@settings(deadline=None)
@given(st.lists(NUMBERISH | ISO | st.just(""), min_size=1, max_size=3), st.sampled_from(["s", "ms", "us"]))
@example(["2.5", ""], "us")
@example(["1e400"], "s")
def test_the_fast_timestamps_are_those_of_the_rule(values, unit):
    agree(lambda column: timestamp_column(column, unit), lambda value: parse_timestamp(value, unit), values)


@settings(deadline=None)
@given(st.lists(st.text(max_size=3) | st.text("aé", min_size=254, max_size=258), min_size=1, max_size=3))
def test_the_fast_ids_are_those_of_the_rule(values):
    agree(id_column, parse_id, values)


@pytest.mark.parametrize(
    ("shortcut", "value"),
    [
        (weight_column, "-1.5e3"),
        (weight_column, ".5"),
        (lambda column: timestamp_column(column, "s"), "1260759144"),
        (lambda column: timestamp_column(column, "s"), "2009-12-14T02:52:24"),
        (lambda column: timestamp_column(column, "s"), "2009-12-14 02:52:24.5+02:00"),
        (id_column, "é" * 256),
    ],
)
def test_the_fast_way_takes_what_is_common(shortcut, value):
    assert len(shortcut(pa.array([value]))) == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "is empty"),
        (None, "is empty"),
        ("five", "'five' is not a number"),
        ("1_0", "'1_0' is not a number"),
        ("1,5", "'1,5' is not a number"),
        ("NaN", "'NaN' is not a finite number"),
        ("-inf", "'-inf' is not a finite number"),
        (float("nan"), "'nan' is not a finite number"),
        ("1e400", "'1e400' is not a finite number"),
        ("1e39", "'1e39' is too large for float32"),
        ("x" * 50, f"'{'x' * 40}...' is not a number"),
    ],
)
def test_weights_that_are_none(value, reason):
    with pytest.raises(BadValue) as caught:
        parse_weight(value)
    assert caught.value.reason == reason


def test_blanks_around_a_number_do_not_matter():
    assert parse_weight(" 2.5 ") == 2.5
    assert parse_timestamp(" 5 ", "s") == 5_000_000


@pytest.mark.parametrize(
    ("value", "unit", "reason", "remedy"),
    [
        (
            "1260759144000",
            "s",
            "'1260759144000' looks like milliseconds",
            "Pass --timestamp-unit ms or timestamp_unit='ms'",
        ),
        (
            "1260759144000000",
            "s",
            "'1260759144000000' looks like microseconds",
            "Pass --timestamp-unit us or timestamp_unit='us'",
        ),
        (
            "1260759144000000",
            "ms",
            "'1260759144000000' looks like microseconds",
            "Pass --timestamp-unit us or timestamp_unit='us'",
        ),
        (1260759144000000000, "us", "'1260759144000000000' looks like nanoseconds", "Divide by 1000 and"),
        ("-1", "s", "'-1' lies outside the years 1970 to 2100", None),
        ("5000000000", "s", "'5000000000' lies outside the years 1970 to 2100", None),
        ("1969-12-31", "s", "'1969-12-31' lies outside the years 1970 to 2100", None),
        ("2101-01-01", "s", "'2101-01-01' lies outside the years 1970 to 2100", None),
        ("9999-01-01", "s", "'9999-01-01' lies outside the years 1970 to 2100", None),
        ("yesterday", "s", "'yesterday' is neither a number nor an ISO 8601 time", "Write 1260759144 or"),
        ("nan", "s", "'nan' is not a finite number", None),
    ],
)
def test_timestamps_that_are_none(value, unit, reason, remedy):
    with pytest.raises(BadValue) as caught:
        parse_timestamp(value, unit)
    assert caught.value.reason == reason
    assert (caught.value.remedy or "").startswith(remedy or "")
    assert (caught.value.remedy is None) == (remedy is None)


@settings(deadline=None)
@given(st.datetimes(datetime(1970, 1, 2), datetime(2100, 12, 30)), st.integers(-12, 12))
def test_iso_times_are_utc_unless_they_say_otherwise(moment, hours):
    micros = (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    assert parse_timestamp(moment.isoformat(), "s") == micros
    zone = timezone(timedelta(hours=hours))
    assert parse_timestamp(moment.replace(tzinfo=zone).isoformat(), "s") == micros - hours * 3_600_000_000


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "is empty"),
        (None, "is empty"),
        ("x" * 257, "has 257 characters; an id has 1 to 256"),
        ("a\0b", "holds a NUL character"),
        ("a\udcff", "is not UTF-8 text"),
    ],
)
def test_ids_that_are_none(value, reason):
    with pytest.raises(BadValue) as caught:
        parse_id(value)
    assert caught.value.reason == reason


def test_whole_numbers_are_ids():
    assert id_column(pa.array([1, 2])).to_pylist() == ["1", "2"]
    assert parse_id(7) == "7"


def test_invalid_utf8_inside_arrow_is_refused():
    broken = pa.array([b"\xff"]).view(pa.string())
    with pytest.raises(pa.ArrowInvalid):
        id_column(broken)
