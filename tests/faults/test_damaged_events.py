"""Events that are not what was stored: the list goes on without them and says so, the training names them."""

import sqlite3
from contextlib import closing

import pytest
from machine import Machine
from records import impression
from world import World

from recsys.errors import ArtifactError
from recsys.events import InteractionEvent
from recsys.serving import SQLiteOnlineStore

DAMAGES = ("context = '{'", "context = '[]'", "context = x'00'", "value = -1", "value = 'much'", "timestamp_s = 1e20")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_event_degrades_a_list_and_is_named_to_the_training(tmp_path, damage):
    world = World(tmp_path)
    world.publish(Machine())
    world.service.online = SQLiteOnlineStore(tmp_path / "online.db")
    world.service.record_events("shop", [InteractionEvent("e", "u", "i1", 1e9, context={"device": "phone"})])
    assert not world.service.recommend("shop", "u", 5).degraded
    with sqlite3.connect(tmp_path / "online.db") as db:
        db.execute(f"UPDATE events SET {damage}")
    db.close()

    found = world.service.recommend("shop", "u", 5)
    assert (found.degraded, len(found.items)) == (True, 5)
    with pytest.raises(ArtifactError, match="a stored event is damaged"):
        world.service.online.events_after("shop", 0, limit=5)
    world.service.online.close()


@pytest.mark.parametrize("row", ["{", "[]", "{}", '{"event_id": 7}'])
def test_a_damaged_impression_is_named(tmp_path, row):
    with closing(SQLiteOnlineStore(tmp_path / "online.db")) as store:
        store.append_impressions("shop", [impression(1)])
        with closing(sqlite3.connect(store.path)) as db, db:
            db.execute("UPDATE impressions SET row = ?", (row,))
        with pytest.raises(ArtifactError, match="a stored impression is damaged"):
            store.impressions_after("shop", 0, limit=5)
