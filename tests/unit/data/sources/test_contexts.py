"""Columns of event files that are kept as context: the same in every format, at once or row by row."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data import read_interactions
from recsys.data.sources import ReadSpec, Rejected, columns_of, read_events
from recsys.errors import ConfigError, DataError

CSV = "user,item,device,hour,note\nanna,tea,tv,9,x\nbo,tea,,10,\ncleo,rice,phone,,\ndora,rice,,,y\n"
EXPECTED = [{"device": "tv", "hour": "9"}, {"hour": "10"}, {"device": "phone"}, None]


def put(folder, text, name="events.csv"):
    path = folder / name
    data = text.encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def told(path, rejected=None, **spec):
    tables = read_events(path, ReadSpec(**spec), rejected or Rejected())
    texts = [text for table in tables for text in table["context"].to_pylist()]
    return [None if text is None else json.loads(text) for text in texts]


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_named_columns_become_context(tmp_path, name, quote):
    path = put(tmp_path, CSV.replace("tv", f"{quote}tv{quote}"), name)

    assert told(path, context=["device", "hour"]) == EXPECTED
    assert told(path) == [None] * 4


def test_rows_beside_a_bad_one_keep_theirs(tmp_path):
    path = put(tmp_path, CSV + ",tea,tv,1,\n")
    rejected = Rejected("skip")

    assert told(path, rejected, context=["device", "hour"]) == EXPECTED
    assert rejected.rows == 1


def test_a_context_of_too_many_bytes_is_a_bad_row(tmp_path):
    path = put(tmp_path, CSV + f"emil,tea,{'x' * 5000},1,\n")
    with pytest.raises(DataError, match=r"events.csv:6: column 'context': the context has 5,0.. bytes; 4,096 are"):
        told(path, context=["device"])


def test_text_that_is_not_utf_8_is_a_bad_value_of_its_column(tmp_path):
    path = put(tmp_path, CSV + "emil,tea,\udcff,1,\n")
    with pytest.raises(DataError, match=r"events.csv:6: column 'device': is not UTF-8 text"):
        told(path, context=["device"])


def test_parquet_keeps_the_types_of_its_columns(tmp_path):
    path = tmp_path / "events.parquet"
    table = pa.table(
        {
            "user": ["a", "b", "c"],
            "item": ["x", "x", "y"],
            "n": pa.array([1, None, 3]),
            "share": pa.array([0.5, float("nan"), None]),
            "member": pa.array([True, False, None]),
            "device": pa.array(["tv", "tv", None]).dictionary_encode(),
            "nothing": pa.nulls(3),
        }
    )
    pq.write_table(table, path)

    names = ["n", "share", "member", "device", "nothing"]
    assert told(path, context=names) == [
        {"n": 1, "share": 0.5, "member": True, "device": "tv"},
        {"member": False, "device": "tv"},
        {"n": 3},
    ]
    pq.write_table(table.append_column("times", pa.array([1, 2, 3], pa.timestamp("s"))), path)
    with pytest.raises(DataError, match=r"cannot be the context\. Write text, numbers or booleans"):
        told(path, context=["times"])


def test_interactions_have_the_context_of_their_events(tmp_path):
    found = read_interactions(put(tmp_path, CSV), context=["device"])

    assert found.contexts == ('{"device":"tv"}', '{"device":"phone"}')
    assert found.context.tolist() == [0, -1, 1, -1]


def test_a_column_kept_as_context_is_not_taken_for_something_else(tmp_path):
    path = put(tmp_path, "user,item,count\na,x,3\n")

    assert read_interactions(path).weight.tolist() == [3]
    found = read_interactions(path, context=["count"])
    assert (found.weight.tolist(), found.contexts) == ([1], ('{"count":"3"}',))
    both = read_interactions(path, context=["count"], columns={"weight": "count"})
    assert (both.weight.tolist(), both.contexts) == ([3], ('{"count":"3"}',))


def test_what_is_kept_is_told(tmp_path):
    used, unused = columns_of(put(tmp_path, CSV), ReadSpec(context=["device"]))

    assert used == {"user": "user", "item": "item", "context.device": "device"}
    assert unused == ["hour", "note"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV, "there is no column 'devise' to keep as context; the columns are 'user', 'item', 'device'"),
        ("user,item,devise,devise\na,b,c,d\n", "there is more than one column 'devise'"),
    ],
)
def test_a_column_that_is_not_there_is_refused_in_words(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        told(put(tmp_path, text), context=["devise"])


@pytest.mark.parametrize(
    "settings", [{"context": "device"}, {"context": [""]}, {"context": ["a", "a"]}, {"context": ["a"], "header": False}]
)
def test_names_that_cannot_be_columns_are_refused(settings):
    with pytest.raises(ConfigError, match="context"):
        ReadSpec(**settings)


def test_lists_have_no_columns_to_keep(tmp_path):
    with pytest.raises(ConfigError, match="without a header they have none"):
        told(put(tmp_path, "a x y\nb x\n", "train.txt"), context=["device"])
