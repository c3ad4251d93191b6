"""What every online store promises of events and impressions; those on AWS against both stand-ins, by either client."""

import random
import threading

import pytest
from records import event, impression

from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.errors import StorageError
from recsys.serving.online import EventFeed
from recsys.serving.online.tally import ItemCount


def newest_position(store):
    return store.last_position("shop") if isinstance(store, EventFeed) else store.queue[-1].position


def recent(store, user="u", after=0, limit=9, **more):
    """Recent events, without their positions."""
    return [one.event for one in store.recent_events("shop", user, after=after, limit=limit, **more)]


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


def test_positions_are_those_of_one_namespace_and_are_never_used_twice(feed):
    for number in range(3):
        feed.append_events("shop", [event(number), event(0)])
        feed.append_events("other", [event(n) for n in range(number, 9)])
        feed.append_impressions("shop", [impression(number)])
        feed.append_impressions("other", [impression(n) for n in range(9)])
        feed.erase_user("other", "v", versions=())
        assert feed.last_position("shop") == feed.last_impression("shop") == number + 1
        assert feed.tally("shop", after=number).position == number + 1
    assert [one.position for one in feed.events_after("shop", 0, limit=9)] == [1, 2, 3]
    assert feed.last_position("nowhere") == feed.last_impression("nowhere") == 0

    feed.erase_user("shop", "u", versions=())
    assert [(one.number, one.position) for one in feed.erasures("shop")] == [(1, 3)]
    assert (feed.events_after("shop", 0, limit=9), feed.last_position("shop")) == ([], 3)
    assert feed.last_impression("shop") == 3
    feed.append_events("shop", [event(9, user="v")])
    feed.append_impressions("shop", [impression(9, user="v")])
    assert (
        feed.events_after("shop", 0, limit=9)[0].position == feed.impressions_after("shop", 0, limit=9)[0].position == 4
    )


def test_events_come_back_with_their_context(store):
    context = {"device": "phone", "hour": 9, "share": 0.5, "member": True, "tags": ["a", "b"]}
    sent = [event(1, context=context), event(2), event(3, context={"device": "é"})]
    store.append_events("shop", sent)
    assert recent(store) == sent
    handed_on = store.events_after("shop", 0, limit=9) if isinstance(store, EventFeed) else store.queue
    assert [one.event for one in handed_on] == sent


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
