"""What every online store promises of users who are erased."""

import time
from contextlib import closing

import pytest
from clouds import CLOUDS
from records import Sent, ranked, state

from recsys.aws.client import connect
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.events import InteractionEvent
from recsys.impressions import ImpressionEvent, Shown
from recsys.serving import MemoryOnlineStore, SQLiteOnlineStore
from recsys.serving.online import EventFeed
from recsys.serving.online.erasures import Erased, Erasure, digest_of

VERSIONS = ("v1", "v2")
EMBEDDED = {
    "memory": lambda folder: MemoryOnlineStore(),
    "sqlite": lambda folder: SQLiteOnlineStore(folder / "online.db"),
}


def event(number, user="anna", at_s=1e9, **changes):
    return InteractionEvent(
        **{"event_id": f"e{number}", "user": user, "item": f"i{number}", "timestamp_s": at_s} | changes
    )


def shown(number, user="anna"):
    return ImpressionEvent(f"s{number}", user, 1e9, "r", "v1", (Shown("i1"),))


@pytest.fixture(params=[*EMBEDDED, *CLOUDS])
def store(request, tmp_path, aws):
    if request.param in EMBEDDED:
        opened = EMBEDDED[request.param](tmp_path)
    else:
        opened = DynamoOnlineStore(aws(request.param).table(), connect("dynamodb"), Sent())
    with closing(opened):
        yield opened


@pytest.fixture
def told(store):
    """Give a store that knows anna and bo."""
    for version in VERSIONS:
        store.put_users("shop", version, [("anna", state(1.0)), ("bo", state(2.0))])
    store.put_lists("shop", "v1", [("anna", ranked(3)), ("bo", ranked(3))])
    store.append_impressions("shop", [shown(8), shown(9, "bo")])
    store.put_user_profiles("shop", {"anna": {"age": 3}, "bo": {"age": 4}})
    store.append_events("shop", [event(n, user) for user, ns in (("anna", range(55)), ("bo", (900,))) for n in ns])
    return store


def erase(store, user="anna"):
    return store.erase_user("shop", user, versions=VERSIONS)


def traces(store, user="anna"):
    """Everything a store says of a user."""
    states = [store.user_state("shop", version, user) for version in VERSIONS]
    states += [store.user_and_head("shop", version, user)[0] for version in VERSIONS]
    events = [*store.recent_events("shop", user, after=0, limit=999), *store.recent_items("shop", user, after=0)]
    lists = [store.user_list("shop", version, user) for version in VERSIONS]
    profile = store.all_user_profiles("shop").get(user)
    held = store.held("shop", user, limit=9)
    fed = isinstance(store, EventFeed) and [
        *(one for one in store.events_after("shop", 0, limit=999) if one.event.user == user),
        *(one for one in store.impressions_after("shop", 0, limit=999) if one.impression.user == user),
    ]
    return [one for one in (*states, *lists, *events, profile, held.profile, *held.events, held.total, fed) if one]


def test_what_is_held_is_the_profile_the_newest_events_and_their_number(told):
    held = told.held("shop", "anna", limit=3)
    assert (held.profile, held.total) == ({"age": 3}, 55)
    assert held.events == [event(n) for n in (52, 53, 54)]
    assert told.held("shop", "bo", limit=3).events == [event(900, "bo")]
    for nobody in (told.held("shop", "cleo", limit=3), told.held("other", "anna", limit=3)):
        assert nobody == ({}, [], 0)


def test_an_erased_user_is_gone_and_nobody_else(told):
    before = traces(told, "bo")
    assert erase(told) == Erased(55, 3, True)
    assert traces(told) == []
    assert len(traces(told, "bo")) == len(before)
    assert erase(told) == Erased(0, 0, False)
    assert erase(told, "nobody") == Erased(0, 0, False)


def test_erasures_are_numbered_and_name_nobody(told):
    began = time.time()
    assert told.erasures("shop") == []
    for user in ("anna", "bo", "anna"):
        erase(told, user)
    found = told.erasures("shop")
    assert [(one.number, one.digest) for one in found] == [(2, digest_of("shop", "bo")), (3, digest_of("shop", "anna"))]
    assert all(began - 1 <= one.at_s <= time.time() + 1 for one in found)
    assert told.erasures_of("shop", ["anna", "cleo"]) == {"anna": found[1]}
    assert told.erasures("other") == []
    assert told.erasures_of("other", ["anna"]) == {}


def test_no_writer_brings_them_back(told):
    erase(told)
    for version in VERSIONS:
        told.put_users("shop", version, [("anna", state(1.0)), ("bo", state(5.0))])
        told.put_lists("shop", version, [("anna", ranked(3)), ("bo", ranked(5))])
    told.put_user_profiles("shop", {"anna": {"age": 3}, "bo": {"age": 5}})
    assert told.append_events("shop", [event(n) for n in (3, 4, 777)]) == 0  # some are sent again, one comes late
    assert told.append_impressions("shop", [shown(n, user) for n, user in enumerate(("anna", "bo"))]) == 1
    assert traces(told) == []
    assert told.user_list("shop", "v2", "bo").items.tolist() == [5]
    assert told.all_user_profiles("shop") == {"bo": {"age": 5}}


def test_a_version_trained_after_the_erasure_may_know_the_user_again(told):
    erase(told)
    told.append_events("shop", [event("new", at_s=time.time() + 60)])
    assert [one.event_id for one in told.held("shop", "anna", limit=9).events] == ["enew"]
    (erasure,) = told.erasures("shop")
    told.put_users("shop", "v3", [("anna", state(7.0))], erasures=erasure.number)
    told.put_lists("shop", "v3", [("anna", ranked(7))], erasures=erasure.number)
    assert told.user_state("shop", "v3", "anna").to_bytes() == state(7.0).to_bytes()
    assert told.user_list("shop", "v3", "anna").items.tolist() == [7]
    assert told.erase_user("shop", "anna", versions=[*VERSIONS, "v3"]) == Erased(1, 2, False)
    assert told.user_state("shop", "v3", "anna") is None


def test_one_erased_while_a_version_is_written_is_in_none_of_it(told):
    def states():
        yield "anna", state(1.0)
        for n in range(201):  # more than go to a server at once
            yield f"u{n}", state(1.0)
        erase(told)
        yield "bo", state(6.0)

    told.put_users("shop", "v1", states())
    assert traces(told) == []
    assert told.user_state("shop", "v1", "bo").to_bytes() == state(6.0).to_bytes()


def test_the_states_of_a_version_are_whole_from_the_last_to_the_first_of_them(told):
    assert told.has_users("shop", "v1")
    assert not told.has_users("shop", "v9")
    assert not told.has_users("other", "v1")

    def breaking():
        assert not told.has_users("shop", "v9")
        yield "anna", state(1.0)
        raise OSError

    with pytest.raises(OSError, match=r"^$"):
        told.put_users("shop", "v9", breaking())
    assert not told.has_users("shop", "v9")
    told.drop_version("shop", "v1")
    assert not told.has_users("shop", "v1")
    assert told.has_users("shop", "v2")
    told.purge()


def test_an_event_is_older_by_its_place_or_by_its_time():
    erasure = Erasure(1, "", 10, 100.0)
    assert erasure.covers(10, 999.0)
    assert erasure.covers(11, 100.0)
    assert not erasure.covers(11, 100.1)
    assert not erasure.covers(None, 100.1)
    assert erasure.covers(None, None)
    assert not erasure.covers(11, None)
