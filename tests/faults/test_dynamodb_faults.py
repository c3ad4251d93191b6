"""DynamoDB throttles, leaves items undone and resets connections after the deed; nothing is lost or counted twice.

ministack stands for DynamoDB, as moto serves one request after the other, and the faults come from a proxy before it.
"""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random

import numpy as np
import pytest
from faulty import SEED, Weather, server, until_done

from recsys.aws import batches, event_items
from recsys.aws.client import AwsError, connect
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.errors import StorageError
from recsys.events import InteractionEvent
from recsys.serving import UserState

SENDERS, USERS = 8, 5


class ShakyQueue:
    """Refuses a tenth of what it is sent, some of which it keeps all the same."""

    def __init__(self):
        self.random, self.kept = Random(SEED), []

    def send(self, namespace, events):
        refused = self.random.random() < 0.1
        self.kept += events[: len(events) // 2] if refused else events
        if refused:
            raise StorageError("refused")

    def close(self):
        pass


@pytest.fixture
def weather(aws, monkeypatch):
    table = aws("ministack").table()
    bad = Weather(os.environ["AWS_ENDPOINT_URL"])
    with closing(bad.upstream), server(bad) as url, closing(DynamoOnlineStore(table, connect("dynamodb"))) as bad.calm:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with closing(DynamoOnlineStore(table, connect("dynamodb"), ShakyQueue())) as bad.store:
            yield bad


def events_of(sender, count):
    random = Random(sender)
    return [
        InteractionEvent(f"{sender}-{n}", f"{sender}-{random.randrange(USERS)}", f"i{n}", 1e9 + n) for n in range(count)
    ]


def send(store, sender, count):
    """Send events in calls of 1 to 120; a refused call again until it passes, and every tenth that passed.

    Return how often an acknowledged event could not be read at once.
    """
    random, events, start, unread = Random(sender), events_of(sender, count), 0, 0
    while start < count:
        some = events[start : start + random.randint(1, 120)]
        start += len(some)
        for _ in range(2 if random.random() < 0.1 else 1):
            until_done(store.append_events, "shop", some)
        newest = until_done(store.recent_events, "shop", some[-1].user, after=0, limit=1)
        unread += [one.event for one in newest] != some[-1:]
    return unread


def faults_of(store, each):
    """Return how many events are lost from the table or the queue, doubled in either, out of order or unread."""
    found = Counter()
    with ThreadPoolExecutor(SENDERS) as pool:
        found["unread"] = sum(pool.map(lambda sender: send(store, sender, each), range(SENDERS)))
    places = {}
    for one in store.queue.kept:
        places.setdefault(one.event.event_id, set()).add(one.position)
    for sender in range(SENDERS):
        sent = events_of(sender, each)
        found["not queued"] += sum(one.event_id not in places for one in sent)
        for user in {one.user for one in sent}:
            wanted = [one for one in sent if one.user == user]
            stored = [one.event for one in until_done(store.recent_events, "shop", user, after=0, limit=10**6)]
            found["lost"] += len({one.event_id for one in wanted} - {one.event_id for one in stored})
            found["doubled"] += len(stored) - len({one.event_id for one in stored})
            found["disordered"] += list(dict.fromkeys(one.event_id for one in stored)) != [
                one.event_id for one in wanted if one in stored
            ]
    found["doubled in the queue"] = sum(len(one) > 1 for one in places.values())
    return {name: count for name, count in found.items() if count}


def test_ten_thousand_events_through_bad_weather(weather):
    assert faults_of(weather.store, 1_250) == {}
    assert weather.seen["throttled"] > 100
    assert weather.seen["reset"] > 10


def acknowledges_too_early(*arguments, real=event_items._transaction):
    try:
        return real(*arguments)
    except AwsError:
        return [], 0


def forgets_known_events(*arguments, real=event_items._transaction):
    stored, new = real(*arguments)
    return stored[len(stored) - new :], new


def without_conditions(*arguments, real=event_items._puts):
    for action in real(*arguments):
        kept = {name: action["Put"][name] for name in ("TableName", "Item")}
        yield {"Put": kept}


PLANTED = {
    "lost": ("_transaction", acknowledges_too_early),
    "not queued": ("_transaction", forgets_known_events),
    "doubled": ("_puts", without_conditions),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_bugs_of_events_are_found(weather, monkeypatch, fault):
    monkeypatch.setattr("recsys.aws.client._MOST_TRIES", 1)  # the client hides none of the weather
    monkeypatch.setattr(event_items, *PLANTED[fault])
    assert fault in faults_of(weather.store, 250)


def lost_states(weather):
    def state(n):
        return UserState(np.full(8, n, np.float32), np.arange(3, dtype=np.int32), np.ones(3, np.float32))

    until_done(lambda: weather.store.put_users("shop", "v1", ((f"u{n}", state(n)) for n in range(1_000))))
    found = (weather.calm.user_state("shop", "v1", f"u{n}") for n in range(1_000))
    return sum(one is None or one.to_bytes() != state(n).to_bytes() for n, one in enumerate(found))


def test_a_thousand_states_through_bad_weather(weather):
    assert lost_states(weather) == 0
    assert weather.seen["partly"] > 5


def test_a_writer_that_does_not_look_at_what_is_left_is_found(weather, monkeypatch):
    def once(client, table, batch):
        until_done(client.call, "BatchWriteItem", RequestItems={table: batch})
        return 0

    monkeypatch.setattr(batches, "_write", once)
    assert lost_states(weather) > 0
