"""What every online store promises; those on AWS against both stand-ins, by either client."""

import random
import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from records import ranked, state

from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.errors import StorageError
from recsys.events import InteractionEvent
from recsys.impressions import ImpressionEvent, Shown
from recsys.serving import SQLiteOnlineStore, StoredList, UserState
from recsys.serving.online import EventFeed
from recsys.serving.online.tally import ItemCount

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20)


def newest_position(store):
    return store.last_position("shop") if isinstance(store, EventFeed) else store.queue[-1].position


def rows_at_once(store):
    """Rows of a transaction, or of what goes to a server together: where a stream is cut."""
    return 200 if isinstance(store, DynamoOnlineStore) else 10_000


def event(number, user="u", **changes):
    fields = {"event_id": f"e{number}", "user": user, "item": f"i{number}", "timestamp_s": 1e9 + number}
    return InteractionEvent(**{**fields, **changes})


def recent(store, user="u", after=0, limit=9, **more):
    """Recent events, without their positions."""
    return [one.event for one in store.recent_events("shop", user, after=after, limit=limit, **more)]


def same(left, right):
    return left.to_bytes() == right.to_bytes()


def test_a_state_belongs_to_one_namespace_one_version_one_user(store):
    store.put_users("shop", "v1", [("anna", state(1.0, items=[3, 1, 3], weights=[1, 2, 3])), ("bo", state(2.0))])
    store.put_users("shop", "v2", [("anna", state(9.0))])
    assert same(store.user_state("shop", "v1", "anna"), state(1.0, items=[3, 1, 3], weights=[1, 2, 3]))
    assert same(store.user_state("shop", "v2", "anna"), state(9.0))
    for where in (("shop", "v2", "bo"), ("other", "v1", "anna"), ("shop", "v1", "cleo")):
        assert store.user_state(*where) is None


def test_writing_a_state_again_replaces_it_and_dropping_a_version_leaves_the_others(store):
    for value in (1.0, 2.0):
        store.put_users("shop", "v1", [("anna", state(value))])
    store.put_users("shop", "v2", [("anna", state(3.0))])
    store.put_users("other", "v1", [("anna", state(4.0))])
    assert same(store.user_state("shop", "v1", "anna"), state(2.0))
    for _ in range(2):
        store.drop_version("shop", "v1")
    assert store.user_state("shop", "v1", "anna") is None
    assert same(store.user_state("shop", "v2", "anna"), state(3.0))
    assert same(store.user_state("other", "v1", "anna"), state(4.0))


def test_a_list_belongs_to_one_namespace_one_version_one_user(store):
    store.put_lists("shop", "v1", [("anna", ranked(3, 1, 2)), ("bo", ranked(strategy="popular"))])
    store.put_lists("shop", "v2", [("anna", ranked(9))])
    found = store.user_list("shop", "v1", "anna")
    assert (found.items.tolist(), found.scores.tolist(), found.strategy) == ([3, 1, 2], [0.0, -1.0, -2.0], "als")
    assert same(store.user_list("shop", "v1", "bo"), ranked(strategy="popular"))
    assert same(store.user_list("shop", "v2", "anna"), ranked(9))
    for where in (("shop", "v2", "bo"), ("other", "v1", "anna"), ("shop", "v1", "cleo")):
        assert store.user_list(*where) is None
    assert store.user_state("shop", "v1", "anna") is None


def test_writing_a_list_again_replaces_it_and_dropping_a_version_takes_its_lists_along(store):
    store.put_users("shop", "v1", [("anna", state(1.0))])
    for item in (1, 2):
        store.put_lists("shop", "v1", [("anna", ranked(item))])
    store.put_lists("shop", "v2", [("anna", ranked(3))])
    store.put_lists("other", "v1", [("anna", ranked(4))])
    assert same(store.user_list("shop", "v1", "anna"), ranked(2))
    assert same(store.user_state("shop", "v1", "anna"), state(1.0))
    for _ in range(2):
        store.drop_version("shop", "v1")
    assert store.user_list("shop", "v1", "anna") is None
    assert same(store.user_list("shop", "v2", "anna"), ranked(3))
    assert same(store.user_list("other", "v1", "anna"), ranked(4))


@pytest.mark.parametrize(("times", "more"), [(1, -1), (1, 0), (1, 1), (2.5, 0)])
def test_lists_are_taken_from_a_stream_longer_than_a_transaction(store, times, more):
    count = int(times * rows_at_once(store)) + more
    store.put_lists("shop", "v1", ((f"u{n}", ranked(n, n + 1)) for n in range(count)))
    for n in (0, rows_at_once(store) - 2, count - 1):
        assert same(store.user_list("shop", "v1", f"u{n}"), ranked(n, n + 1))
    assert store.user_list("shop", "v1", f"u{count}") is None


def test_a_stream_that_breaks_leaves_whole_lists_and_can_be_written_again(store):
    count = rows_at_once(store) * 6 // 5

    def lists(until):
        for n in range(count):
            if n == until:
                raise OSError
            yield f"u{n}", ranked(n)

    store.put_lists("shop", "v1", [(f"u{n}", ranked(5, 5, 5)) for n in range(count)])
    with pytest.raises(OSError, match=r"^$"):
        store.put_lists("shop", "v1", lists(count * 11 // 12))
    found = {n: store.user_list("shop", "v1", f"u{n}").items.tolist() for n in range(0, count, 7)}
    assert all(one in ([n], [5, 5, 5]) for n, one in found.items())
    store.put_lists("shop", "v1", lists(None))
    assert all(store.user_list("shop", "v1", f"u{n}").items.tolist() == [n] for n in range(0, count, 97))


def test_an_event_sent_twice_is_one_event(store):
    assert store.append_events("shop", [event(1), event(2), event(1)]) == 2
    assert store.append_events("shop", [event(2), event(3)]) == 1
    assert store.append_events("shop", [event(3, item="another")]) == 0
    assert [one.item for one in recent(store)] == ["i1", "i2", "i3"]
    assert store.append_events("other", [event(1)]) == 1


def test_recent_events_are_the_newest_of_one_user_oldest_first(store):
    store.append_events("shop", [event(n, user="u" if n % 2 else "v") for n in range(6)])
    sixth = newest_position(store)
    store.append_events("shop", [event(n, user="u" if n % 2 else "v") for n in range(6, 10)])
    assert recent(store, limit=3) == [event(5), event(7), event(9)]
    assert recent(store, after=sixth) == [event(7), event(9)]
    assert recent(store, limit=0) == []
    assert recent(store, "nobody") == []
    assert store.recent_events("other", "u", after=0, limit=9) == []


def test_recent_items_are_the_distinct_items_of_every_event_beyond_a_position(store):
    sent = [event(n, item=f"i{n % 300}", user="u" if n % 2 else "v") for n in range(900)]
    store.append_events("shop", sent[:896])
    position = newest_position(store)
    store.append_events("shop", sent[896:])
    assert sorted(store.recent_items("shop", "u", after=0)) == sorted(f"i{n}" for n in range(1, 300, 2))
    assert sorted(store.recent_items("shop", "v", after=position)) == ["i296", "i298"]
    assert store.recent_items("shop", "nobody", after=0) == store.recent_items("other", "u", after=0) == []


def test_recent_events_and_items_end_at_a_position(store):
    store.append_events("shop", [event(1), event(2, user="v"), event(3)])
    third = newest_position(store)
    store.append_events("shop", [event(4), event(5)])
    first, last, *_ = store.recent_events("shop", "u", after=0, limit=9)
    assert (first.event, last.position) == (event(1), third)
    assert recent(store, through=third) == [event(1), event(3)]
    assert recent(store, through=third, limit=1) == [event(3)]
    assert recent(store, after=first.position, through=third) == [event(3)]
    assert recent(store, through=third - 1) == [event(1)]
    assert recent(store, after=third, through=third) == recent(store, after=third, through=0) == []
    assert sorted(store.recent_items("shop", "u", after=0, through=third)) == ["i1", "i3"]
    assert store.recent_items("shop", "u", after=third, through=third) == []


def total(counts):
    """Events by item and quarter of an hour, and the sum of their times."""
    found = {}
    for one in counts:
        cell = one.item, int(one.time_s // 900)
        events, seconds = found.get(cell, (0, 0.0))
        found[cell] = events + one.events, seconds + one.events * one.time_s
    return {cell: (events, pytest.approx(seconds, abs=0.01)) for cell, (events, seconds) in found.items()}


def test_the_tally_counts_every_event_once_however_often_it_was_sent_and_looked_for(store):
    """By item and time of the event, from one look to the next."""
    chance = random.Random(7)
    sent = [event(n, item=f"i{chance.randrange(4)}", timestamp_s=1e9 + 300 * chance.randrange(30)) for n in range(160)]
    store.append_events("shop", sent[:20])
    start, seen = newest_position(store), sent[20:20]
    store.append_events("other", [event(n, item="i1") for n in range(9)])
    position, settled = start, []
    for first in range(20, 160, 35):
        store.append_events("shop", sent[first : first + 35] + sent[first - 5 : first])
        seen = sent[20 : first + 35]
        tally = store.tally("shop", after=position)
        position, settled = tally.position, settled + tally.settled
        assert total(settled + tally.newer) == total(ItemCount(one.item, one.timestamp_s, 1) for one in seen)
        assert all(one.events > 0 for one in settled)
    assert store.tally("shop", after=newest_position(store))[1:] == store.tally("nowhere", after=0)[1:] == ([], [])
    told = store.events_after("shop", 0, limit=999) if isinstance(store, EventFeed) else store.queue
    third = sorted({one.position for one in told})[-3]
    tally = store.tally("shop", after=third)
    assert sum(one.events for one in tally.settled + tally.newer) == 2


def test_positions_rise_and_pages_of_events_meet(feed):
    feed.append_events("shop", [event(n) for n in range(7)])
    position, pages = 0, []
    while page := feed.events_after("shop", position, limit=3):
        assert all(one.position > position for one in page)
        position = page[-1].position
        pages.append([one.event for one in page])
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [one for page in pages for one in page] == [event(n) for n in range(7)]
    feed.append_events("shop", [event(99)])
    assert [one.event for one in feed.events_after("shop", position, limit=3)] == [event(99)]


def test_the_last_position_is_that_of_the_newest_event(feed):
    assert feed.last_position("shop") == 0
    feed.append_events("shop", [event(n) for n in range(3)])
    last = feed.last_position("shop")
    assert last == feed.events_after("shop", 0, limit=9)[-1].position
    feed.append_events("shop", [event(2)])
    feed.append_events("other", [event(n) for n in range(5)])
    assert feed.last_position("shop") >= last
    feed.append_events("shop", [event(3)])
    assert feed.last_position("shop") == feed.events_after("shop", 0, limit=9)[-1].position


def test_removing_events_does_not_lower_the_last_position(tmp_path):
    with closing(SQLiteOnlineStore(tmp_path / "online.db")) as store:
        store.append_events("shop", [event(n) for n in range(3)])
        with closing(sqlite3.connect(store.path)) as db, db:
            db.execute("DELETE FROM events")
        assert store.last_position("shop") == 3


def test_item_metadata_is_replaced_whole_and_unknown_items_are_left_out(store):
    store.put_items("shop", {"i1": {"title": "One", "genres": ["a", "b"]}, "i2": {"title": "Two"}})
    store.put_items("shop", {"i2": {"year": 2020}})
    known = store.item_metadata("shop", ["i2", "i9", "i1"])
    assert known == {"i2": {"year": 2020}, "i1": {"title": "One", "genres": ["a", "b"]}}
    assert store.item_metadata("other", ["i1"]) == {}


def test_all_items_and_all_profiles_are_those_of_one_namespace_in_order(store):
    for put, read in (
        (store.put_items, store.all_items),
        (store.put_user_profiles, store.all_user_profiles),
    ):
        put("shop", {"é": {"n": 1, "tags": ["x"]}, "a": {"n": None}})
        put("shop", {"b": {}, "a": {"n": True}})
        put("other", {"c": {"n": 3}})
        assert list(read("shop").items()) == [("a", {"n": True}), ("b", {}), ("é", {"n": 1, "tags": ["x"]})]
        assert read("other") == {"c": {"n": 3}}
        assert read("nowhere") == {}


def test_items_and_profiles_are_kept_apart(store):
    store.put_items("shop", {"x": {"title": "X"}})
    store.put_user_profiles("shop", {"x": {"age": 3}})
    assert store.all_items("shop") == store.item_metadata("shop", ["x"]) == {"x": {"title": "X"}}
    assert store.all_user_profiles("shop") == {"x": {"age": 3}}


def test_events_come_back_with_their_context(store):
    context = {"device": "phone", "hour": 9, "share": 0.5, "member": True, "tags": ["a", "b"]}
    sent = [event(1, context=context), event(2), event(3, context={"device": "é"})]
    store.append_events("shop", sent)
    assert recent(store) == sent
    handed_on = store.events_after("shop", 0, limit=9) if isinstance(store, EventFeed) else store.queue
    assert [one.event for one in handed_on] == sent


def test_a_file_of_an_earlier_release_learns_about_context(tmp_path):
    path = tmp_path / "online.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE events (position INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, event_id TEXT "
            "NOT NULL, user TEXT NOT NULL, item TEXT NOT NULL, event TEXT NOT NULL, value REAL NOT NULL, timestamp_s "
            "REAL NOT NULL, UNIQUE (namespace, event_id))"
        )
        db.execute("INSERT INTO events VALUES (1, 'shop', 'e1', 'u', 'i1', 'interaction', 1, 1000000001)")
    for _ in range(2):  # and opening it once more changes nothing
        with closing(SQLiteOnlineStore(path)) as store:
            store.append_events("shop", [event(2, context={"device": "tv"})])
            assert recent(store) == [event(1), event(2, context={"device": "tv"})]


def test_check_passes_on_a_fresh_store(store):
    store.check()


def test_many_threads_lose_no_event_and_count_none_twice(store):
    threads = [
        threading.Thread(
            target=lambda part=part: [store.append_events("shop", [event(n)]) for n in range(part, part + 60)]
        )
        for part in range(0, 160, 40)  # neighbours overlap by 20
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = recent(store, limit=1000)
    assert sorted(one.event_id for one in stored) == sorted(f"e{n}" for n in range(180))
    handed_on = store.events_after("shop", 0, limit=1000) if isinstance(store, EventFeed) else store.queue
    assert (
        len({(one.position, one.event.event_id) for one in handed_on})
        == len({one.position for one in handed_on})
        == 180
    )


def rounds(store):
    """A quarter of the profile's examples where each takes a few calls to a server."""
    return settings(max_examples=settings.default.max_examples // (4 if isinstance(store, DynamoOnlineStore) else 1))


def test_any_text_and_any_numbers_come_back_as_they_went(store):
    @given(
        user=TEXT,
        vector=hnp.arrays(np.float32, st.integers(0, 9), elements=st.floats(width=32)),
        items=hnp.arrays(np.int32, 4),
        bias=st.floats(width=32),
        value=st.floats(0, 1e30),
        timestamp_s=st.floats(0, 4e9),
        item=TEXT,
    )
    @rounds(store)
    def check(user, vector, items, bias, value, timestamp_s, item):
        weights = np.arange(4, dtype=np.float32)
        store.put_users(user[:9], item[:9], [(user, UserState(vector, items, weights, bias))])
        assert same(store.user_state(user[:9], item[:9], user), UserState(vector, items, weights, bias))
        sent = InteractionEvent(f"{user}-{item}-{value}"[:250], user, item, timestamp_s, "view", value)
        if store.append_events("any", [sent]):
            assert [one.event for one in store.recent_events("any", user, after=0, limit=1)] == [sent]

    check()


def test_any_list_comes_back_as_it_went(store):
    @given(
        user=TEXT,
        items=hnp.arrays(np.int32, st.integers(0, 500)),
        strategy=st.text(st.characters(blacklist_categories=["Cs"]), max_size=20),
        data=st.data(),
    )
    @rounds(store)
    def check(user, items, strategy, data):
        scores = data.draw(hnp.arrays(np.float32, len(items), elements=st.floats(width=32)))
        store.put_lists("any", "v", [(user, StoredList(items, scores, strategy))])
        found = store.user_list("any", "v", user)
        assert found.items.tobytes() == items.tobytes()
        assert found.scores.tobytes() == scores.tobytes()
        assert found.strategy == strategy

    check()


def impression(number, **changes):
    shown = (Shown(f"i{number}", 0.25), Shown("é😀\0"))
    fields = {"event_id": f"e{number}", "user": "u", "timestamp_s": 1e9 + number, "request_id": "r", "items": shown}
    return ImpressionEvent(**{**fields, "model_version": "v", "variant": "a", **changes})


def test_impressions_are_on_their_way_to_the_log_and_nowhere_else(store):
    store.append_events("shop", [event(1)])
    sent = [impression(1), impression(2, variant=None, strategy="als"), impression(1, user="another")]
    assert store.append_impressions("shop", sent) == 2
    store.append_impressions("other", [impression(3)])
    if isinstance(store, EventFeed):
        assert store.append_impressions("shop", [impression(2), impression(4)]) == 1
        found = store.impressions_after("shop", 0, limit=9)
        assert [one.impression.event_id for one in found] == ["e1", "e2", "e4"]
        assert [one.impression for one in found[:2]] == sent[:2]
        assert store.impressions_after("shop", found[0].position, limit=1) == [found[1]]
        assert store.impressions_after("shop", store.last_impression("shop"), limit=9) == []
        assert store.last_impression("shop") >= found[-1].position
        assert len(store.events_after("shop", 0, limit=9)) == 1
    else:
        assert store.queue.shown == [("shop", sent[:2]), ("other", [impression(3)])]
    assert len(store.recent_events("shop", "u", after=0, limit=9)) == 1
    assert store.recent_items("shop", "u", after=0) == ["i1"]
    assert store.user_state("shop", "v", "u") is None


def test_impressions_without_a_queue_are_refused_where_there_is_no_other_way():
    with pytest.raises(StorageError, match="RECSYS_QUEUE"):
        DynamoOnlineStore("t", None).append_impressions("shop", [impression(1)])
