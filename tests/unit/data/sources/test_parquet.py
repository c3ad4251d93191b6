from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.sources import ReadSpec, Rejected, read_events
from recsys.errors import DataError

MOMENT = datetime(2009, 12, 14, 2, 52, 24, 123456, tzinfo=UTC)


def read(path, spec=None, on_error="raise", progress=None):
    rejected = Rejected(on_error)
    spec = spec or ReadSpec("parquet")
    rows = [row for table in read_events(path, spec, rejected, progress) for row in table.to_pylist()]
    return rows, rejected


def write(path, **columns):
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.parquet"


def test_events_are_read(path):
    write(path, other=[1, 2], item_id=["x", "y"], userId=[7, 8], rating=[1, 2], ts=[5, 6], event=["view", "buy"])
    first, second = read(path)[0]
    assert (first["user_id"], first["item_id"], first["value"], first["event"]) == ("7", "x", 1.0, "view")
    assert second["ts"].timestamp() == 6


@pytest.mark.parametrize(
    "column",
    [
        pa.array([MOMENT], pa.timestamp("us", "UTC")),
        pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("us")),
        pa.array([MOMENT], pa.timestamp("us", "UTC")).cast(pa.timestamp("us", "Europe/Berlin")),
        pa.array([1260759144123456789], pa.timestamp("ns")),
        pa.array([1260759144123456789], pa.timestamp("ns", "Asia/Tokyo")),
        pa.array(["2009-12-14T02:52:24.123456"]),
        pa.array(["2009-12-14T04:52:24.123456+02:00"]).dictionary_encode(),
        pa.array([1260759144.123456]),
    ],
)
def test_times_of_every_kind_are_the_same_moment(path, column):
    pq.write_table(pa.table({"user": ["a"], "item": ["b"], "timestamp": column}), path)
    assert read(path)[0][0]["ts"] == MOMENT


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ms")])
def test_dates_and_coarse_times(path, kind):
    moment = date(2009, 12, 14) if pa.types.is_date(kind) else datetime(2009, 12, 14)
    pq.write_table(pa.table({"user": ["a"], "item": ["b"], "ts": pa.array([moment], kind)}), path)
    assert read(path)[0][0]["ts"] == datetime(2009, 12, 14, tzinfo=UTC)


def test_the_unit_counts_for_numbers_only(path):
    write(path, user=["a"], item=["b"], ts=[1260759144123])
    assert read(path, ReadSpec("parquet", timestamp_unit="ms"))[0][0]["ts"].year == 2009
    with pytest.raises(DataError, match=r":1: column 'ts': '1260759144123' looks like milliseconds"):
        read(path)


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.uint64(), pa.int8()]
)
def test_ids_of_every_kind(path, kind):
    values = ["1", "2"] if not pa.types.is_integer(kind) else [1, 2]
    pq.write_table(pa.table({"user": pa.array(values, kind), "item": pa.array(values, kind)}), path)
    assert [row["user_id"] for row in read(path)[0]] == ["1", "2"]


@pytest.mark.parametrize("weight", [Decimal("2.5"), 2.5])
def test_weights_of_every_kind(path, weight):
    assert read(write(path, user=["a"], item=["b"], weight=[weight]))[0][0]["value"] == 2.5


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": [1.0], "item": ["b"]}, "column 'user': the type double cannot be the user. Write text or whole"),
        ({"user": ["a"], "item": ["b"], "rating": ["5"]}, "column 'rating': the type string cannot be the weight"),
        ({"user": ["a"], "item": ["b"], "rating": [True]}, "the type bool cannot be the weight. Write numbers"),
        ({"user": ["a"], "item": [["b"]]}, "cannot be the item"),
        ({"user": ["a"], "item": ["b"], "ts": [True]}, "cannot be the timestamp. Write a timestamp, a number or"),
        ({"cust": ["a"], "item": ["b"]}, "found no user column; the columns are 'cust', 'item'. Name them"),
        ({"user": [], "item": []}, "has columns but no rows"),
    ],
)
def test_tables_that_cannot_be_used(path, columns, message):
    write(path, **columns)
    with pytest.raises(DataError) as caught:
        read(path, on_error="skip")
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_bad_rows_are_named_and_counted(path):
    count = 70_000
    users = [f"u{k}" for k in range(count)]
    items: list[str | None] = ["i"] * count
    weights: list[float | None] = [1.0] * count
    items[3], weights[66_000], weights[69_999] = None, float("nan"), None
    write(path, user=users, item=items, rating=weights)
    with pytest.raises(DataError, match=r"parquet:4: column 'item': is empty"):
        read(path)
    found, rejected = read(path, on_error="skip")
    assert (len(found), rejected.rows) == (count - 3, 3)
    assert rejected.messages[1] == f"{path}:66001: column 'rating': 'nan' is not a finite number"
    assert rejected.messages[2] == f"{path}:70000: column 'rating': is empty"
    assert not {"u3", "u66000", "u69999"} & {row["user_id"] for row in found}


def test_text_that_is_no_utf8_is_the_fault_of_its_row(path):
    users = pa.array([b"ok", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"user": users, "item": ["a", "b"]}), path)
    found, rejected = read(path, on_error="skip")
    assert [row["user_id"] for row in found] == ["ok"]
    assert rejected.messages == [f"{path}:2: column 'user': is not UTF-8 text. Convert the file to UTF-8"]


def test_nulls_where_they_are_allowed(path):
    columns = {"user": ["a"], "item": ["b"], "ts": pa.array([None], pa.int64()), "event_id": pa.nulls(1)}
    pq.write_table(pa.table(columns), path)
    row = read(path)[0][0]
    assert (row["ts"], row["event_id"]) == (None, None)


def test_files_that_are_not_parquet_or_damaged(path):
    with pytest.raises(DataError, match="there is no such file"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        read(path)
    path.write_text("user,item\na,b\n")
    with pytest.raises(
        DataError, match=r"is not a Parquet file. Pass the format it has, such as --format csv or format='csv'"
    ):
        read(path)
    write(path, user=[f"u{k}" for k in range(1000)], item=[f"i{k}" for k in range(1000)])
    whole = path.read_bytes()
    for spoiled in (whole[: len(whole) // 2], whole[:100] + b"\xff" * 200 + whole[300:], b"PAR1"):
        path.write_bytes(spoiled)
        with pytest.raises(DataError, match=r"parquet: (the Parquet file is damaged|cannot be read): ") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_progress_ends_at_the_size_of_the_file(path):
    write(path, user=list(range(200_000)), item=list(range(200_000)))
    seen: list[int] = []
    read(path, progress=seen.append)
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size
