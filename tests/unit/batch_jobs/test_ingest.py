"""The event log and what fills it: files once and whole, online events once and in order."""

import pyarrow.parquet as pq
import pytest

from batch_jobs.config import IngestConfig
from batch_jobs.console import Screen
from batch_jobs.ingest import ingest
from batch_jobs.stores import Stores
from recsys.data import to_interactions
from recsys.errors import DataError, InsufficientDataError
from recsys.events import InteractionEvent

QUIET = Screen(as_json=True)
CSV = "user_id,item_id,rating,timestamp\nanna,tea,5,100\nbo,milk,3,200\n"


@pytest.fixture
def stores(tmp_path, monkeypatch):
    for name, scheme in (("ARTIFACTS", "file"), ("REGISTRY", "file"), ("ONLINE", "sqlite"), ("EVENTS", "file")):
        monkeypatch.setenv(f"RECSYS_{name}", f"{scheme}:{tmp_path / name.lower()}")
    opened = Stores.from_environment()
    yield opened
    opened.online.close()


def take(stores, *files, namespace="shop", **settings):
    return ingest(stores, namespace, IngestConfig(tuple(map(str, files)), **settings), QUIET)


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


def logged(stores, namespace="shop"):
    interactions = to_interactions(stores.events.read(namespace))
    users, items = interactions.users.ids(interactions.user), interactions.items.ids(interactions.item)
    return list(zip(users, items, interactions.weight.tolist(), interactions.timestamp.tolist(), strict=True))


def event(number, **changes):
    fields = {
        "event_id": f"e{number}",
        "user": "cleo",
        "item": f"i{number}",
        "timestamp_s": 300.25 + number,
        "value": 2.0,
    }
    return InteractionEvent(**{**fields, **changes})


def test_a_file_is_taken_in_once_whatever_it_is_called(stores, tmp_path):
    first, copy = write(tmp_path, "a.csv", CSV), write(tmp_path, "b.csv", CSV)
    assert take(stores, first)["events_from_files"] == 2
    again = take(stores, first, copy)
    assert (again["events_from_files"], again["files_known_already"]) == (0, 2)
    assert logged(stores) == [("anna", "tea", 5.0, 100), ("bo", "milk", 3.0, 200)]
    assert take(stores, copy, namespace="other")["events_from_files"] == 2


def test_a_broken_file_leaves_the_log_as_it_was(stores, tmp_path):
    take(stores, write(tmp_path, "a.csv", CSV))
    before = sorted(path.name for path in stores.events.root.rglob("*"))
    with pytest.raises(DataError, match=r"b\.csv:3: column 'rating': 'bad'"):
        take(stores, write(tmp_path, "b.csv", CSV.replace("3,200", "bad,200")))
    assert sorted(path.name for path in stores.events.root.rglob("*")) == before


def test_skipping_keeps_the_good_lines_and_counts_the_bad(stores, tmp_path):
    told = take(stores, write(tmp_path, "b.csv", CSV.replace("3,200", "bad,200")), on_error="skip")
    assert (told["events_from_files"], told["rows_rejected"]) == (1, 1)
    assert "b.csv:3" in told["rejections"][0]


def test_online_events_reach_the_log_once_and_know_how_far_they_go(stores):
    assert stores.events.online_position("shop") == 0
    stores.online.append_events("shop", [event(n) for n in range(3)])
    stores.online.append_events("other", [event(9)])
    assert take(stores)["events_from_api"] == 3
    assert take(stores)["events_from_api"] == 0
    position = stores.events.online_position("shop")
    stores.online.append_events("shop", [event(2), event(3)])
    assert take(stores)["events_from_api"] == 1
    assert stores.events.online_position("shop") > position
    assert logged(stores) == [("cleo", f"i{n}", 2.0, 300 + n) for n in range(4)]


def test_a_crash_between_reading_and_writing_repeats_nothing(stores):
    """The same range of positions is the same file, so a second run after a crash cannot double it."""
    stores.online.append_events("shop", [event(n) for n in range(3)])
    table = None

    def remember(namespace, first, last, given):
        nonlocal table
        table = (namespace, first, last, given)
        raise OSError("power cut")

    original, stores.events.append_online = stores.events.append_online, remember
    with pytest.raises(OSError, match="power cut"):
        take(stores)
    stores.events.append_online = original
    stores.events.append_online(*table)
    stores.events.append_online(*table)
    assert take(stores)["events_from_api"] == 0
    assert len(logged(stores)) == 3


def test_the_log_says_when_it_is_empty_or_damaged(stores, tmp_path):
    with pytest.raises(InsufficientDataError, match="recsys ingest"):
        stores.events.read("shop")
    take(stores, write(tmp_path, "a.csv", CSV))
    [path] = stores.events.root.rglob("*.parquet")
    assert path.parent.name.startswith("dt=")
    assert pq.read_metadata(path).num_rows == 2
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        stores.events.read("shop")


def test_items_are_described_for_the_namespace(stores, tmp_path):
    table = write(tmp_path, "items.csv", "item_id,title,genres\ntea,Green Tea,Drinks|Hot\n")
    assert take(stores, items=str(table))["items_described"] == 1
    assert stores.online.item_metadata("shop", ["tea"]) == {"tea": {"title": "Green Tea", "genres": ["Drinks", "Hot"]}}
