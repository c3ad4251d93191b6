"""The file of the SQLite store: what it may have been before, or be instead, and who waits for whom."""

import multiprocessing
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from older_file import KEPT, LAST, LAST_SHOWN, kept_in, make_older_file
from records import event, impression

from recsys.errors import StorageError
from recsys.serving import SQLiteOnlineStore


def recent(store):
    return [one.event for one in store.recent_events("shop", "u", after=0, limit=9)]


def test_a_file_that_is_no_database_is_named_and_the_store_goes_on_once_it_is_gone(tmp_path):
    path = tmp_path / "online.db"
    path.write_bytes(b"user_id,item_id\n" * 100)
    with closing(SQLiteOnlineStore(path)) as store:
        for ask in (store.check, lambda: store.append_events("shop", [event(1)])):
            with pytest.raises(StorageError, match=rf"{path} failed: file is not a database"):
                ask()
        path.unlink()
        assert store.append_events("shop", [event(1)]) == 1


def test_readers_do_not_wait_for_a_writer_that_waits(tmp_path):
    with closing(SQLiteOnlineStore(tmp_path / "o.db")) as store, closing(SQLiteOnlineStore(tmp_path / "o.db")) as other:
        store.append_events("shop", [event(1)])
        with other._transaction("holding the lock"):
            writer = threading.Thread(target=store.append_events, args=("shop", [event(2)]))
            writer.start()
            time.sleep(0.2)
            for _ in range(100):  # the first of them opens its connection
                assert recent(store) == [event(1)]
            assert writer.is_alive()
        writer.join()
        assert recent(store) == [event(1), event(2)]


def test_connections_that_create_the_database_at_once_all_succeed(tmp_path):
    for n in range(40):
        with closing(SQLiteOnlineStore(tmp_path / f"{n}.db")) as store, ThreadPoolExecutor(2) as pool:
            together = pool.submit(store.append_events, "shop", [event(1)]), pool.submit(store.check)
            assert [one.result() for one in together] == [1, None]


def test_a_file_of_an_earlier_release_keeps_its_positions_and_all_namespaces_go_on_above_them(tmp_path):
    path, namespaces = tmp_path / "online.db", ("shop", "other", "gone", "new")
    make_older_file(path)
    for more in (1, 2):  # and opening it once more changes nothing
        with closing(SQLiteOnlineStore(path)) as store:
            assert store.events_after("shop", 0, limit=1) == [(1, event(1, context={"hour": 9}))]
            assert store.impressions_after("shop", 0, limit=1) == [(1, impression(1))]
            for namespace in namespaces:
                assert store.append_events(namespace, [event(LAST + more)]) == 1
                assert store.append_events(namespace, [event(LAST + more)]) == 0
                assert store.append_impressions(namespace, [impression(LAST_SHOWN + more)]) == 1
                assert store.last_position(namespace) == LAST + more
                assert store.last_impression(namespace) == LAST_SHOWN + more
    for table, last in (("events", LAST), ("impressions", LAST_SHOWN)):
        added = [(namespace, last + more, f"e{last + more}") for namespace in namespaces for more in (1, 2)]
        assert kept_in(path)[table] == sorted(KEPT[table] + added)


def test_a_file_of_before_contexts_and_impressions_learns_about_both(tmp_path):
    path = tmp_path / "online.db"
    make_older_file(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript("ALTER TABLE events DROP COLUMN context; DROP TABLE impressions;")
    with closing(SQLiteOnlineStore(path)) as store:
        store.append_events("shop", [event(99, context={"device": "tv"})])
        found = [one.event for one in store.events_after("shop", 17, limit=9)]
        assert found == [event(19), event(99, context={"device": "tv"})]
        assert store.append_impressions("shop", [impression(1)]) == 1


def test_two_processes_that_open_a_file_of_an_earlier_release_at_once_both_can(tmp_path):
    fork = multiprocessing.get_context("fork")
    for attempt in range(5):
        path, together = tmp_path / f"{attempt}.db", fork.Barrier(2)
        make_older_file(path)
        processes = [fork.Process(target=store_one, args=(path, together, n)) for n in (98, 99)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(20)
        assert [process.exitcode for process in processes] == [0, 0]
        found = kept_in(path)["events"]
        assert sorted(KEPT["events"]) == found[:-2]
        assert [at for _, at, _ in found[-2:]] == [LAST + 1, LAST + 2]
        assert {event_id for *_, event_id in found[-2:]} == {"e98", "e99"}


def store_one(path, together, number):
    together.wait(20)
    with closing(SQLiteOnlineStore(path)) as store:
        assert store.append_events("shop", [event(number)]) == 1


def test_a_process_of_an_earlier_release_that_still_runs_stores_nothing_where_nobody_finds_it(tmp_path):
    path = tmp_path / "online.db"
    make_older_file(path)
    with closing(sqlite3.connect(path)) as older, closing(SQLiteOnlineStore(path)) as store:
        store.check()
        for table, more, values in (
            ("events", "item, timestamp_s, event, value, context", "'i1', 1e9, 'view', 1, NULL"),
            ("impressions", "row", "'{}'"),
        ):
            stored = (
                f"INSERT OR IGNORE INTO {table} (namespace, event_id, user, {more}) VALUES ('shop', 'e', 'u', {values})"
            )
            with pytest.raises(sqlite3.OperationalError, match="has no column named user"):
                older.execute(stored)
    assert kept_in(path) == {table: sorted(rows) for table, rows in KEPT.items()}


def test_a_position_that_is_taken_is_an_error_and_loses_no_event(tmp_path):
    with closing(SQLiteOnlineStore(tmp_path / "online.db")) as store:
        store.append_events("shop", [event(1), event(2)])
        with store._transaction("planting a clash") as db:
            db.execute("UPDATE sequences SET last = 1")
        with pytest.raises(StorageError, match=r"UNIQUE constraint failed: events\.namespace, events\.position"):
            store.append_events("shop", [event(3)])
        with store._transaction("tidying up") as db:
            db.execute("UPDATE sequences SET last = 2")
        assert store.append_events("shop", [event(2), event(3), event(1)]) == 1
        assert store.events_after("shop", 0, limit=9) == [(n, event(n)) for n in (1, 2, 3)]
