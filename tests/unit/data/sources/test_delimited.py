import csv
import gzip
import io
import math
import random
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.data.sources import ReadSpec, Rejected, delimited, lines, read_events
from recsys.data.sources.rejected import KEPT_MESSAGES
from recsys.errors import DataError

HEADER = ("user_id", "item_id", "rating", "timestamp")
# Everything an id may hold, with a weight on what confuses parsers.
AWKWARD = st.sampled_from(list(",;|\t\"'\r\n\\: \ufeff\u2028\x0b\x1c\x85aé0"))
IDS = st.text(AWKWARD | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
ROWS = st.tuples(IDS, IDS, st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 4_102_444_799))
PLAIN = st.tuples(st.text("abc", min_size=1), st.text("xyzé", min_size=1), st.just(1.5), st.integers(0, 10**9))


def read(path, spec=None, on_error="raise"):
    rejected = Rejected(on_error)
    rows = [row for table in read_events(path, spec or ReadSpec("csv"), rejected) for row in table.to_pylist()]
    return rows, rejected


def shape(rows):
    return [(row["user_id"], row["item_id"], row["value"], row["ts"] and int(row["ts"].timestamp())) for row in rows]


def written(rows, *, delimiter=",", end="\n", packed=False, bom=False, quoting=csv.QUOTE_MINIMAL):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([HEADER, *((user, item, repr(weight), time) for user, item, weight, time in rows)])
    data = text.getvalue().encode("utf-8-sig" if bom else "utf-8")
    return gzip.compress(data, 1) if packed else data


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few lines, so that records are cut anywhere."""
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 64)


@settings(deadline=None)
@given(
    rows=st.lists(ROWS | PLAIN, min_size=1, max_size=12),
    delimiter=st.sampled_from([",", "\t", ";", "|", "§"]),
    end=st.sampled_from(["\n", "\r\n"]),
    packed=st.booleans(),
    bom=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    block=st.sampled_from([64, 1 << 20]),
)
def test_what_csv_writes_is_read_back(rows, delimiter, end, packed, bom, quoting, block):
    if delimiter == "§":
        # More than one byte: nothing is quoted, so ids must be tame.
        rows, quoting = [("a", "b", weight, time) for _, _, weight, time in rows], csv.QUOTE_MINIMAL
    elif any("\r" in text for user, item, *_ in rows for text in (user, item)):
        quoting = csv.QUOTE_ALL  # before Python 3.13 csv leaves a carriage return unquoted where lines end in \n
    data = written(rows, delimiter=delimiter, end=end, packed=packed, bom=bom, quoting=quoting)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK_BYTES", block)
        path = Path(folder, "events.csv")
        path.write_bytes(data)
        found, _ = read(path, ReadSpec("csv", delimiter=delimiter))
    assert shape(found) == rows


BAD_LINES = {
    "weight": ("u,i,five,5", "'five' is not a number", "rating"),
    "nan": ("u,i,nan,5", "'nan' is not a finite number", "rating"),
    "empty weight": ("u,i,,5", "is empty", "rating"),
    "no user": (",i,1,5", "is empty", "user_id"),
    "long item": (f"u,{'x' * 257},1,5", "has 257 characters", "item_id"),
    "time": ("u,i,1,soon", "'soon' is neither", "timestamp"),
    "few": ("u,i,1", "has 3 fields where 4 are expected", None),
    "many": ("u,i,1,2,3", "has 5 fields where 4 are expected", None),
    "quote": ('u,"i"x,1,5', "text follows a closing quote", None),
    "utf-8": ("u\udcff,i,1,5", "is not UTF-8 text", "user_id"),
    "nul": ("u\0,i,1,5", "holds a NUL character", "user_id"),
    "return": ("u,i\rj,1,5", "a carriage return stands inside the line", None),
}
GOOD_LINES = ["anna,tea,1.5,1260759144", '"bo\nb",milk,2,5', '"d""d","a\r\n\nb",3,6', "", "x,y,4,7"]


@settings(deadline=None, max_examples=200)
@given(
    good=st.lists(st.sampled_from(GOOD_LINES), min_size=1, max_size=20),
    bad=st.lists(st.tuples(st.sampled_from(sorted(BAD_LINES)), st.integers(0, 20)), max_size=KEPT_MESSAGES),
    block=st.sampled_from([64, 200, 1 << 20]),
)
def test_planted_lines_are_named_and_nothing_else_is_lost(good, bad, block):
    records = [(text, None) for text in good]
    for kind, place in bad:
        records.insert(min(place, len(records)), (BAD_LINES[kind][0], kind))
    line, expected = 2, []
    for text, kind in records:
        if kind is not None:
            expected.append((line, *BAD_LINES[kind][1:]))
        line += 1 + text.count("\n")
    data = "\n".join([",".join(HEADER), *(text for text, _ in records), ""]).encode("utf-8", "surrogateescape")
    kept = sum(text != "" and kind is None for text, kind in records)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK_BYTES", block)
        path = Path(folder, "events.csv")
        path.write_bytes(data)
        if not kept and not expected:
            with pytest.raises(DataError, match="has a header but no rows"):
                read(path, on_error="skip")
            return
        found, rejected = read(path, on_error="skip")
        assert (len(found), rejected.rows) == (kept, len(expected))
        for message, (line, reason, field) in zip(rejected.messages, expected, strict=True):
            column = f"column '{field}': " if field else ""
            assert message.startswith(f"{path}:{line}: {column}{reason}")
        if expected:
            with pytest.raises(DataError) as caught:
                read(path)
            assert str(caught.value) == rejected.messages[0]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_one_bad_line_at_random_places_of_many_blocks(tmp_path, monkeypatch, quoting):
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 10_000)
    rng = random.Random(7)
    rows = [(f"u{k % 97}", f"i{k % 89}", 0.5, k) for k in range(5_000)]
    whole = written(rows, quoting=quoting).split(b"\n")
    assert sum(map(len, whole)) > 5 * lines._BLOCK_BYTES
    for _ in range(5):
        number = rng.randrange(2, 5_001)
        spoiled = whole.copy()
        spoiled[number - 1] = b"u,i,bad,1"
        path = tmp_path / "events.csv"
        path.write_bytes(b"\n".join(spoiled))
        with pytest.raises(DataError, match=f":{number}: column 'rating': 'bad' is not a number"):
            read(path)
        found, rejected = read(path, on_error="skip")
        assert shape(found) == rows[: number - 2] + rows[number - 1 :]
        assert rejected.rows == 1


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from(list('ab,\r\n"\ufeff\0 \x0c\\')), max_size=40))
@example("a,b\n\na,b")
@example("a,b\r\n\r\na,b")
@example("\ufeffa,b")
@example("a,b\ra,b")
def test_arrow_and_csv_see_the_same_rows(text):
    """Whatever the bytes, the shortcut gives the columns of the rule, or declines."""
    data = text.encode() + b"\n"
    layout = delimited.Layout({"user": 0, "item": 1}, {}, 2, has_header=False)
    columns = delimited._by_arrow(data, ",", layout)
    if columns is None:
        return
    expected = list(csv.reader(io.StringIO(data.decode(), newline="\n"), strict=True))
    assert [list(row) for row in zip(columns["user"].to_pylist(), columns["item"].to_pylist(), strict=True)] == expected


def test_arrow_takes_a_plain_block():
    layout = delimited.Layout({"user": 0, "item": 2}, {}, 3, has_header=False)
    columns = delimited._by_arrow(b"a,b,c\r\nd,e,f\r\n", ",", layout)
    assert columns is not None
    assert columns["item"].to_pylist() == ["c", "f"]


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n", "\r\n\r\n", "\n   \n"])
def test_blank_lines_hold_no_rows(tmp_path, end):
    path = tmp_path / "events.csv"
    path.write_bytes(f"\n\nuser,item\n\na,b\n\nc,d{end}".encode())
    assert [row["user_id"] for row in read(path)[0]] == ["a", "c"]


@pytest.mark.parametrize(("header", "line"), [("\n\nuser,item", 4), ('user,item,"a\nb\nc"', 4), ("user,item", 2)])
def test_lines_are_counted_from_the_top_of_the_file(tmp_path, header, line):
    path = tmp_path / "events.csv"
    path.write_text(f"{header}\n,b{',' * (header.count(',') - 1)}\n")
    with pytest.raises(DataError, match=f":{line}: column 'user': is empty"):
        read(path)


@pytest.mark.usefixtures("small_blocks")
def test_a_quote_never_closed_counts_every_line_it_takes(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text('user,item\na,b\nc,"d\n' + "e,f\n" * 50)
    with pytest.raises(DataError, match=r":3: a quote that is opened here is never closed \(lines 3 to 53\)"):
        read(path)
    found, rejected = read(path, on_error="skip")
    assert (len(found), rejected.rows) == (1, 51)


def test_after_a_quote_too_long_to_be_an_id_reading_goes_on(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text('user,item\na,b\nc,"d\n' + "e,f\n" * 400_000)
    found, rejected = read(path, on_error="skip")
    assert len(found) + rejected.rows == 400_002
    assert len(found) > 350_000
    assert rejected.messages[0].startswith(f"{path}:3: a field is longer than any id; is a quote never closed?")


def test_a_line_of_ten_megabytes_is_named(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes(b"user,item\na,b\n" + b"x" * 10_000_000 + b",b\nc,d\nc,\n")
    with pytest.raises(DataError, match=r":3: the line has more than 1,048,576 bytes"):
        read(path)
    found, rejected = read(path, on_error="skip")
    assert [row["user_id"] for row in found] == ["a", "c"]
    assert [message.split(":")[1] for message in rejected.messages] == ["3", "5"]


def test_a_file_that_is_one_endless_line_is_refused(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes(b"ab,cd,\r" * 1_000_000)
    with pytest.raises(DataError, match="more than 1,048,576 bytes"):
        read(path)


def test_two_colons_separate_and_quotes_are_characters(tmp_path):
    path = tmp_path / "ratings.dat"
    path.write_text('1::"x::5::978300760\n2::y"::3::978302109\n')
    assert shape(read(path, ReadSpec("csv", delimiter="::"))[0]) == [
        ("1", '"x', 5.0, 978300760),
        ("2", 'y"', 3.0, 978302109),
    ]


def test_weights_come_back_bit_for_bit(tmp_path):
    rng = random.Random(3)
    weights = [struct.unpack("f", rng.randbytes(4))[0] for _ in range(2000)]
    rows = [("u", "i", weight, 1) for weight in weights if math.isfinite(weight)]
    path = tmp_path / "events.csv"
    path.write_bytes(written(rows))
    assert shape(read(path)[0]) == rows


def test_every_optional_column_is_read(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("EVENT_TYPE,USER_ID,ITEM_ID,TIMESTAMP,event_id\nview,a,b,2009-12-14T02:52:24Z,e1\nbuy,a,b,5,\n")
    first, second = read(path)[0]
    assert (first["event"], first["event_id"], first["value"]) == ("view", "e1", 1.0)
    assert (second["event"], second["event_id"], second["ts"].timestamp()) == ("buy", None, 5)


def test_progress_ends_at_the_size_of_the_file(tmp_path):
    path = tmp_path / "events.csv.gz"
    path.write_bytes(written([("u", "i", 1.0, k) for k in range(100_000)], packed=True))
    seen: list[int] = []
    list(read_events(path, ReadSpec("csv"), Rejected(), seen.append))
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size


def test_tables_stay_small(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes(written([("u", "i", 1.0, k) for k in range(200_000)]))
    sizes = [len(table) for table in read_events(path, ReadSpec("csv"), Rejected())]
    assert sum(sizes) == 200_000
    assert max(sizes) < 200_000 / 2
