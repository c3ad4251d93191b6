"""The event log and what fills it: files once and whole, online events once and in order."""

import os
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from records import Sent, impression

from batch_jobs.config import IngestConfig, JobConfig
from batch_jobs.console import Screen
from batch_jobs.ingest import ingest
from batch_jobs.train import read_log, train
from recsys.artifacts import describe
from recsys.artifacts.store import make_folder
from recsys.aws.client import connect
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.data import to_interactions
from recsys.data.events_table import EVENT_SCHEMA
from recsys.errors import ConfigError, DataError, InsufficientDataError, StorageError
from recsys.events import InteractionEvent

QUIET = Screen(as_json=True)
SHOP = JobConfig(namespace="shop")
CSV = "user_id,item_id,rating,timestamp\nanna,tea,5,100\nbo,milk,3,200\n"


def take(stores, *files, namespace="shop", **settings):
    return ingest(stores, namespace, IngestConfig(tuple(map(str, files)), **settings), QUIET)


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


def logged(stores, namespace="shop"):
    interactions = to_interactions(stores.events.read(namespace).events)
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
    before = sorted(path.name for path in stores.events.files.root.rglob("*"))
    with pytest.raises(DataError, match=r"b\.csv:3: column 'rating': 'bad'"):
        take(stores, write(tmp_path, "b.csv", CSV.replace("3,200", "bad,200")))
    assert sorted(path.name for path in stores.events.files.root.rglob("*")) == before


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


def rows_in_files(stores):
    return sum(pq.read_metadata(path).num_rows for path in stores.events.files.root.rglob("*.parquet"))


def meanwhile(work):
    """Start `work` beside this thread and give it the time to finish, unless it has to wait for us."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.5)
    return thread


def test_two_ingests_at_once_count_no_online_event_twice(stores, monkeypatch):
    stores.online.append_events("shop", [event(n) for n in range(3)])
    original, others = stores.online.events_after, []

    def slowly(*where, **limit):
        found = original(*where, **limit)
        if not others:
            stores.online.append_events("shop", [event(3)])
            others.append(None)  # the ingest beside us comes through here too
            others.append(meanwhile(lambda: take(stores)))
        return found

    monkeypatch.setattr(stores.online, "events_after", slowly)
    take(stores)
    others[1].join()
    assert rows_in_files(stores) == 4
    assert len(logged(stores)) == 4


def test_two_ingests_of_one_file_at_once_take_it_in_once(stores, tmp_path):
    source, added, others = write(tmp_path, "a.csv", CSV), [], []
    table = pa.Table.from_pylist([{"user_id": "u", "item_id": "i", "event": "view", "value": 1}], EVENT_SCHEMA)

    def slowly():
        others.append(meanwhile(lambda: added.append(stores.events.append_file("shop", source, [table]))))
        yield table

    added.append(stores.events.append_file("shop", source, slowly()))
    others[0].join()
    assert sorted(added, key=bool) == [None, 1]  # whichever of the two is the first to say so


def test_reading_takes_events_and_position_from_one_listing(stores, monkeypatch):
    stores.online.append_events("shop", [event(0)])
    take(stores)
    files, listings = stores.events.files, []
    original = files.names
    monkeypatch.setattr(files, "names", lambda namespace: listings.append(namespace) or original(namespace))
    assert read_log(stores, SHOP, QUIET).events_through == stores.online.last_position("shop")
    assert listings == ["shop"]


def test_a_lost_online_store_is_noticed_and_the_remedy_loses_nothing(stores):
    stores.online.append_events("shop", [event(n) for n in range(3)])
    take(stores)
    stores.online.close()
    for path in stores.online.path.parent.glob(stores.online.path.name + "*"):
        path.unlink()
    stores.online.append_events("shop", [event(7)])
    with pytest.raises(StorageError, match=r"up to position 3, but the online store ends at 1.*kept-online"):
        take(stores)
    for path in stores.events.files.root.rglob("online-*.parquet"):
        path.rename(path.with_name(f"kept-{path.name}"))
    assert take(stores)["events_from_api"] == 1
    assert {item for _, item, *_ in logged(stores)} == {"i0", "i1", "i2", "i7"}


def test_every_new_folder_is_made_durable(tmp_path, monkeypatch):
    synced, original = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino) or original(handle))
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [path.stat().st_ino for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")]
    make_folder(tmp_path / "a" / "b" / "c")
    assert len(synced) == 3


def test_log_artefacts_and_registry_are_durable_from_their_roots_on(stores, tmp_path, monkeypatch):
    synced, original = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: synced.add(os.fstat(handle).st_ino) or original(handle))
    take(stores, write(tmp_path, "a.csv", CSV))
    manifest = describe("shop", "als", {"x": np.zeros(3, np.float32)}, config={}, data={}, metrics={})
    stores.artifacts.put(manifest, {"x": np.zeros(3, np.float32)})
    synced.discard(tmp_path.stat().st_ino)
    stores.registry.promote(manifest, expected=0)
    [path] = stores.events.files.root.rglob("*.parquet")
    folders = {path.parent, path.parent.parent, stores.events.files.root, tmp_path}
    folders |= {root for store in (stores.artifacts, stores.registry) for root in (store.root, store.root / "shop")}
    assert {folder.name for folder in folders if folder.stat().st_ino not in synced} == set()


def test_an_event_id_counts_once_in_a_file_and_across_files(stores, tmp_path):
    header = "user_id,item_id,rating,timestamp,event_id\n"
    take(stores, write(tmp_path, "a.csv", header + "anna,tea,1,1,x\nanna,tea,2,2,x\nbo,tea,3,3,\nbo,tea,4,4,\n"))
    stores.online.append_events("shop", [event(1), event(2, event_id="x")])
    take(stores, write(tmp_path, "b.csv", header + "cleo,tea,5,5,y\nanna,tea,6,6,x\n"))
    assert sorted(weight for _, _, weight, _ in logged(stores) if weight != 2.0) == [1.0, 3.0, 4.0, 5.0]
    assert stores.events.read("shop").repeated == 3
    screen = Listening()
    assert len(read_log(stores, SHOP, screen).interactions) == 5
    assert screen.notes == ["event log: 3 events left out, their event_id had come before"]


class Listening(Screen):
    """Remembers what was noted."""

    def __init__(self):
        super().__init__(as_json=True)
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_what_reaches_the_log_by_a_queue_is_not_drained_as_well(stores, aws):
    queue = Sent()
    with closing(DynamoOnlineStore(aws("ministack").table(), connect("dynamodb"), queue)) as online:
        assert online.append_events("shop", [event(1)]) == 1
        assert online.append_impressions("shop", [impression(1)]) == 1
        told = take(replace(stores, online=online))
    assert (told["events_from_api"], told["impressions_from_api"]) == (0, 0)
    assert stores.events.files.names("shop") == stores.events.impressions.files.names("shop") == []
    assert (len(queue), len(queue.shown)) == (1, 1)


def test_an_untimed_file_and_an_event_from_the_api_train_together(stores, tmp_path):
    rows = "".join(f"u{n},i{(n * k) % 7},1\n" for n in range(20) for k in (1, 2, 3))
    stores.online.append_events("shop", [event(1, user="u1", item="i1")])
    take(stores, write(tmp_path, "a.csv", "user_id,item_id,rating\n" + rows))
    screen = Listening()
    told = train(stores, JobConfig(namespace="shop", model={"kind": "als", "factors": 4}), screen)
    assert told["users"] == 20
    assert screen.notes[0] == "60 of 61 events have no time; the log is treated as without times"
    assert read_log(stores, SHOP, QUIET).interactions.timestamp is None


def test_what_a_killed_process_left_is_removed_by_the_next(stores, tmp_path):
    take(stores, write(tmp_path, "a.csv", CSV))
    [path] = stores.events.files.root.rglob("*.parquet")
    draft = path.with_name(".draft-0")
    draft.write_bytes(b"half")
    take(stores)
    assert path.exists()
    assert not draft.exists()


def test_the_log_says_when_it_is_empty_or_damaged(stores, tmp_path):
    with pytest.raises(InsufficientDataError, match="recsys ingest"):
        stores.events.read("shop")
    take(stores, write(tmp_path, "a.csv", CSV))
    [path] = stores.events.files.root.rglob("*.parquet")
    assert path.parent.name.startswith("dt=")
    assert pq.read_metadata(path).num_rows == 2
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        stores.events.read("shop")


def test_items_are_described_for_the_namespace(stores, tmp_path):
    table = write(tmp_path, "items.csv", "item_id,title,genres\ntea,Green Tea,Drinks|Hot\n")
    assert take(stores, items=str(table))["items_described"] == 1
    assert stores.online.item_metadata("shop", ["tea"]) == {"tea": {"title": "Green Tea", "genres": ["Drinks", "Hot"]}}


def test_fields_are_declared_and_only_what_changed_is_stored(stores, tmp_path):
    table = write(tmp_path, "items.csv", "item_id,year,genres\ntea,2001,Drinks|Hot\nmilk,,\nmate,1999,Hot\n")
    for _ in range(2):
        assert take(stores, items=str(table), fields=("year:number", "genres:keywords"))["items_described"] == 3
        assert stores.online.catalogue_head("shop") == (3, {"year": "number", "genres": "keywords"})
    stores.online.delete_items("shop", ["mate"])
    write(tmp_path, "items.csv", "item_id,year,genres\ntea,2002,Drinks|Hot\nmilk,,\nmate,1999,Hot\n")
    told = take(stores, items=str(table))
    assert (told["items_described"], told["items_deleted_before"]) == (2, 1)
    assert [one.item for one in stores.online.item_changes("shop", 4, limit=9)] == ["tea"]
    assert stores.online.removed_items("shop") == ["mate"]


def test_a_value_that_is_none_of_its_field_is_named_and_nothing_is_stored(stores, tmp_path):
    table = write(tmp_path, "items.csv", "item_id,year\ntea,old\n")
    with pytest.raises(DataError, match=r"items\.csv: column 'year': 'old' of item 'tea' is a finite number"):
        take(stores, items=str(table), fields=("year:number",))
    assert stores.online.catalogue_head("shop") == (0, {})
    for wrong in ("year", "year:text", ":number"):
        with pytest.raises(ConfigError, match="name:kind"):
            take(stores, items=str(table), fields=(wrong,))


def contexts(stores):
    found = to_interactions(stores.events.read("shop").events)
    return [None if row < 0 else found.contexts[row] for row in found.context]


def test_contexts_reach_the_log_from_files_and_from_the_api(stores, tmp_path):
    path = write(tmp_path, "a.csv", "user_id,item_id,rating,timestamp,device\nanna,tea,5,100,tv\nbo,milk,3,200,\n")
    stores.online.append_events("shop", [event(0, context={"device": "phone", "n": 1}), event(1)])

    taken = take(stores, path, context=("device",))

    assert taken["columns_used"]["context.device"] == "device"
    assert sorted(map(str, contexts(stores))) == ["None", "None", '{"device":"phone","n":1}', '{"device":"tv"}']


def test_log_files_of_an_earlier_release_are_read_beside_new_ones(stores, tmp_path):
    take(stores, write(tmp_path, "a.csv", CSV))
    (path,) = stores.events.files.root.rglob("*.parquet")
    old = pq.read_table(path, partitioning=None).drop_columns("context")
    pq.write_table(old, path)
    take(stores, write(tmp_path, "b.csv", "user_id,item_id,rating,timestamp,n\ncleo,tea,5,300,7\n"), context=("n",))

    assert sorted(logged(stores)) == [("anna", "tea", 5, 100), ("bo", "milk", 3, 200), ("cleo", "tea", 5, 300)]
    assert sorted(map(str, contexts(stores))) == ["None", "None", '{"n":"7"}']


def test_the_user_table_goes_to_the_online_store(stores, tmp_path):
    table = write(tmp_path, "users.csv", "user_id,age,tags\nanna,30,x|y\nbo,,\n")
    assert take(stores, users=str(table))["users_described"] == 2
    assert stores.online.all_user_profiles("shop") == {
        "anna": {"age": "30", "tags": ["x", "y"]},
        "bo": {"age": None, "tags": []},
    }
