"""What every online store promises of the catalogue: revisions, changes after them, deletions, declared fields."""

import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest
from records import state

from recsys.aws import catalogue_items
from recsys.aws.batches import delete, put, write_items
from recsys.aws.client import connect
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.aws.packed_items import get_item, key
from recsys.serving import SQLiteOnlineStore
from recsys.serving.online import CatalogueHead, ItemChange


def followed(store, after=0, limit=3):
    """Follow the changes to the end, as a reader does; return what is known by then, and up to which revision."""
    known = {}
    while changes := store.item_changes("shop", after, limit=limit):
        assert [one.revision for one in changes] == sorted(one.revision for one in changes)
        assert changes[0].revision > after
        after = changes[-1].revision
        known |= {one.item: one.metadata for one in changes}
    return known, after


def test_a_new_catalogue_is_empty(store):
    assert store.catalogue_head("shop") == CatalogueHead(0, {})
    assert store.item_changes("shop", 0, limit=9) == store.removed_items("shop") == []


def test_every_change_has_a_revision_and_a_reader_goes_on_where_it_was(store):
    store.put_items("shop", {"b": {"n": 1}, "a": {"n": 2}})
    store.put_items("other", {"z": {"n": 9}})
    assert store.catalogue_head("shop").revision == 2
    assert followed(store) == ({"a": {"n": 2}, "b": {"n": 1}}, 2)
    store.delete_items("shop", ["b", "never known"])
    store.put_items("shop", {"c": {"title": "é 😀"}, "a": {"n": 3}})
    assert store.catalogue_head("shop").revision == 6
    changed = {"b": None, "never known": None, "c": {"title": "é 😀"}, "a": {"n": 3}}
    assert followed(store, after=2) == (changed, 6)
    assert followed(store) == (changed, 6)
    assert store.item_changes("shop", 5, limit=9) == [ItemChange(6, "a", {"n": 3})]
    assert store.item_changes("shop", 6, limit=9) == []
    assert store.catalogue_head("other").revision == 1


def test_a_deleted_item_is_gone_until_it_is_put_again(store):
    store.put_items("shop", {"a": {"n": 1}, "b": {"n": 2}})
    store.delete_items("shop", ["a", "x"])
    assert sorted(store.removed_items("shop")) == ["a", "x"]
    assert store.all_items("shop") == store.item_metadata("shop", ["a", "b", "x"]) == {"b": {"n": 2}}
    store.put_items("shop", {"a": {}})
    assert store.removed_items("shop") == ["x"]
    assert store.all_items("shop") == {"a": {}, "b": {"n": 2}}
    assert store.removed_items("other") == []
    store.put_items("shop", {})
    store.delete_items("shop", [])
    assert store.catalogue_head("shop").revision == 5


def test_fields_are_declared_beside_the_revision(store):
    store.put_fields("shop", {})
    store.put_fields("shop", {"genre": "keyword"})
    store.put_items("shop", {"a": {"genre": "x"}})
    assert store.catalogue_head("shop") == CatalogueHead(1, {"genre": "keyword"})
    store.put_fields("shop", {"year": "number", "genre": "keywords"})
    store.put_items("shop", {"a": {"genre": "y"}})
    assert store.catalogue_head("shop") == CatalogueHead(2, {"genre": "keywords", "year": "number"})
    assert store.catalogue_head("other") == CatalogueHead()


@pytest.mark.parametrize("width", [2, 100_000])
def test_a_user_and_the_head_are_read_together(store, width):
    assert store.user_and_head("shop", "v1", "anna") == (None, CatalogueHead())
    store.put_users("shop", "v1", [("anna", state(*np.ones(width)))])
    store.put_items("shop", {"a": {}})
    found, head = store.user_and_head("shop", "v1", "anna")
    assert found.to_bytes() == store.user_state("shop", "v1", "anna").to_bytes()
    assert head == store.catalogue_head("shop") == CatalogueHead(1, {})
    assert store.user_and_head("shop", "v1", "bo") == (None, head)


def test_many_items_are_many_changes(store):
    items = {f"i{n}": {"n": n} for n in range(120)}
    store.put_items("shop", items)
    assert followed(store, limit=50) == (items, 120)
    store.put_items("shop", {f"i{n}": {"n": -n} for n in range(60, 180)})
    known, last = followed(store, after=120, limit=50)
    assert (len(known), last) == (120, 240)
    assert store.catalogue_head("shop").revision == 240


def test_a_reader_beside_many_writers_misses_nothing(store):
    """Each of them changes items of its own and common ones, and declares a field."""

    def write(part):
        for n in range(4):
            store.put_items("shop", {f"{part}-{n}": {"by": part}, "common": {"by": part, "n": n}})
            store.delete_items("shop", [f"{part}-{n - 1}"] if n % 2 else ["common"])
        store.put_fields("shop", {"by": "keyword"})

    writers = [threading.Thread(target=write, args=(str(part),)) for part in range(3)]
    for one in writers:
        one.start()
    known, after = {}, 0
    while any(one.is_alive() for one in writers) or after < store.catalogue_head("shop").revision:
        head = store.catalogue_head("shop")
        more, after = followed(store, after)
        known |= more
        assert after >= head.revision  # what was acknowledged is there
    for one in writers:
        one.join()
    assert {item for item, told in known.items() if told is None} == set(store.removed_items("shop"))
    assert {item: told for item, told in known.items() if told is not None} == store.all_items("shop")
    assert store.catalogue_head("shop") == CatalogueHead(3 * 4 * 3, {"by": "keyword"})


def test_a_log_with_a_gap_is_noticed(aws):
    """DynamoDB drops records of the log after thirty days, in any order."""
    table = aws("ministack").table()
    with closing(DynamoOnlineStore(table, connect("dynamodb"))) as store:
        for n in range(6):
            store.put_items("shop", {f"i{n % 4}": {"n": n}})
        store.delete_items("shop", ["i0"])
        for revision in (2, 5):
            key = {"pk": {"S": "C#shop"}, "sk": {"S": catalogue_items._sort_key(revision)}}
            write_items(store._client, table, [delete(key)])
            for after in range(7):
                known, last = followed(store, after)
                assert last == 7
                newest = {"i2": (3, {"n": 2}), "i3": (4, {"n": 3}), "i1": (6, {"n": 5}), "i0": (7, None)}
                assert known == {item: told for item, (at, told) in newest.items() if at > after}


def test_a_change_that_is_not_yet_through_is_waited_for(aws):
    """DynamoDB shows the log before the items of the same transaction: what comes after is not told before."""
    table = aws("ministack").table()
    with closing(DynamoOnlineStore(table, connect("dynamodb"))) as store:
        for n in range(5):
            store.put_items("shop", {f"i{n % 3}": {"n": n}})
        through = get_item(store._client, table, key("I", "shop", "i0"))
        earlier = through | {"json": {"S": '{"n": 0}'}, "revision": {"N": "1"}}
        for write in (put(earlier), delete(key("I", "shop", "i0"))):
            write_items(store._client, table, [write])
            assert followed(store, after=1, limit=9) == ({"i2": {"n": 2}}, 3)
        write_items(store._client, table, [put(through)])
        assert followed(store, after=3) == ({"i0": {"n": 3}, "i1": {"n": 4}}, 5)


def test_a_file_of_an_earlier_release_gets_revisions(tmp_path):
    path = tmp_path / "online.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE items (namespace TEXT, item TEXT, metadata TEXT NOT NULL, PRIMARY KEY (namespace, item)) "
            "WITHOUT ROWID"
        )
        rows = [("shop", "b", '{"n": 1}'), ("shop", "a", "{}"), ("other", "z", "{}")]
        db.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
    for revision in (3, 4):
        with closing(SQLiteOnlineStore(path)) as store:
            assert store.item_metadata("shop", ["a", "b"]) == {"a": {}, "b": {"n": 1}}
            store.put_items("shop", {"c": {}})
            assert store.catalogue_head("shop").revision == revision
            assert followed(store) == ({"a": {}, "b": {"n": 1}, "c": {}}, revision)
            assert store.catalogue_head("other").revision == 1
