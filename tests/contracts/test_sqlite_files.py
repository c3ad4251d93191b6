"""The file of the SQLite store: what it may be instead, and who waits for whom."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from recsys.errors import StorageError
from recsys.events import InteractionEvent
from recsys.serving import SQLiteOnlineStore


def event(number):
    return InteractionEvent(f"e{number}", "u", f"i{number}", 1e9 + number)


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
