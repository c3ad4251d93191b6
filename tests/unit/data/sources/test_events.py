import os
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.events_table import EVENT_SCHEMA
from recsys.data.sources import DataWarning, ReadSpec, Rejected, read_events, read_interactions
from recsys.errors import ConfigError, DataError, RecsysError

DATASETS = Path(os.environ.get("RECSYS_DATASETS", Path(__file__).resolve().parents[5] / "shared" / "datasets"))


def put(folder, text, name="events.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_the_notebook_call(tmp_path):
    path = put(tmp_path, "user,item,rating,ts\nb,x,2.5,5\na,x,1,6\nb,y,3,7.5\n")
    found = read_interactions(path)
    assert (found.users.ids(), found.items.ids()) == (["b", "a"], ["x", "y"])
    assert (found.user.tolist(), found.item.tolist()) == ([0, 1, 0], [0, 0, 1])
    assert found.weight.tolist() == [2.5, 1, 3]
    assert found.timestamp is not None
    assert found.timestamp.tolist() == [5, 6, 7]
    assert read_interactions(str(path), columns={"timestamp": None}).timestamp is None


def test_every_table_has_the_schema(tmp_path):
    text = put(tmp_path, "user,item\na,b\n")
    lists = put(tmp_path, "a b\n", "train.txt")
    pq.write_table(pa.table({"user": ["a"], "item": ["b"]}), tmp_path / "a.parquet")
    for path in (text, lists, tmp_path / "a.parquet"):
        (table,) = read_events(path, ReadSpec(), Rejected())
        assert table.schema == EVENT_SCHEMA
        expected = {"user_id": "a", "item_id": "b", "event": "interaction", "value": 1.0}
        assert table.to_pylist() == [expected | {"ts": None, "event_id": None, "context": None}]


def test_skipping_warns_once_with_count_and_reasons(tmp_path):
    path = put(tmp_path, "user,item,rating\na,b,1\n" + "a,b,x\n" * 20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_interactions(path, on_error="skip")
    (warning,) = caught
    assert warning.category is DataWarning
    assert warning.filename == __file__
    assert str(warning.message).startswith(
        f"20 rows were rejected: {path}:3: column 'rating': 'x' is not a number; {path}:4: "
    )
    assert len(found) == 1


def test_a_clean_file_does_not_warn(tmp_path):
    assert len(read_interactions(put(tmp_path, "user,item\na,b\n"), on_error="skip")) == 1


def test_nothing_left_after_skipping_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no row can be used; 1 row was rejected: .*:2: column 'user': is empty"):
        read_interactions(put(tmp_path, "user,item\n,b\n"), on_error="skip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{path}: is empty"),
        ("user,item\n", "{path}: has a header but no rows"),
        ("user,item", "{path}: has a header but no rows"),
        ("\n\n", "{path}: holds nothing but blank lines"),
        ("user,item,rating\na,b,\n", "{path}:2: column 'rating': is empty"),
        ("user,item,rating\na,b,five\n", "{path}:2: column 'rating': 'five' is not a number"),
        ("user,item,rating\na,b,NaN\n", "{path}:2: column 'rating': 'NaN' is not a finite number"),
        ("user,item\na,b\nc\n", "{path}:3: has 1 field where 2 are expected"),
        ('user,item\na,"b\n', "{path}:2: a quote that is opened here is never closed"),
        ('user,"item\na,b\n', "{path}:2: a quote that is opened here is never closed"),
        ("1,2,3,4\n5,6,7,soon\n", "{path}:2: column 'timestamp': 'soon' is neither a number nor an ISO 8601 time"),
        ("user,item,ts\na,b,1260759144000\n", "{path}:2: column 'ts': '1260759144000' looks like milliseconds"),
        ("user,item,ts\na,b,\na,b,5\n", "column 'timestamp': 1 of 2 events have no time, first row 1"),
    ],
)
def test_each_error_is_one_clear_line(tmp_path, text, message):
    path = put(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_interactions(path)
    assert str(caught.value).startswith(message.format(path=path))
    assert "\n" not in str(caught.value)


def test_options_are_checked_before_the_file_is_opened(tmp_path):
    with pytest.raises(ConfigError):
        read_interactions(tmp_path / "nothing", format="json")
    with pytest.raises(ConfigError):
        read_interactions(tmp_path / "nothing", on_error="ignore")


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.parquet", "a.tsv.gz", "u.data", "a"])
@pytest.mark.parametrize("format", [None, "csv", "parquet", "lists", "movielens"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\0" * 100, b"\xff" * 100, b'"', b"a,b\n\xff", bytes(range(256)) * 9, b"\x1f\x8b", b"PAR1", b"\r"],
)
def test_no_foreign_error_gets_out(tmp_path, name, format, content):
    path = tmp_path / name
    path.write_bytes(content)
    for on_error in ("raise", "skip"):
        with pytest.raises(RecsysError):
            read_interactions(path, format=format, on_error=on_error)


@pytest.mark.skipif(not DATASETS.is_dir(), reason="shared/datasets is not here")
@pytest.mark.parametrize(
    ("name", "shape", "events"),
    [
        ("gowalla/train.txt", (29_858, 40_981), 810_128),
        ("amazonelectronics_m1/train.txt", (1_435, 1_522), 31_887),
        ("lastfm-hetrec/user_artists.dat", (1_892, 17_632), 92_834),
        ("ml-latest-small", (671, 9_066), 100_004),
    ],
)
def test_the_published_files(name, shape, events):
    found = read_interactions(DATASETS / name)
    assert (found.shape, len(found)) == (shape, events)
    assert (found.timestamp is not None) == name.startswith("ml")
