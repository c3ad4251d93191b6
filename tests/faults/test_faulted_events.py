"""Ten thousand events through a queue that repeats and reorders and an S3 that refuses and forgets to answer."""

import random

import pytest
from messages import records, stored

from batch_jobs import consumer
from batch_jobs.consumer import take_in
from batch_jobs.event_log import EventLog
from recsys.aws.client import UNREACHABLE, AwsError, BotoClient
from recsys.aws.log_files import S3LogFiles
from recsys.errors import StorageError
from recsys.serving import MemoryOnlineStore

EVENTS, A_MESSAGE = 10_000, 25


class Faulty:
    """Refuses three of ten calls that change something; does what one of ten asks, and resets the connection."""

    def __init__(self, client, chance):
        self.client, self.chance, self.faults = client, chance, 0

    def call(self, operation, **parameters):
        fault = self.chance.random() if operation in ("PutObject", "DeleteObjects") else 1
        if fault < 0.3:
            self.faults += 1
            raise AwsError(operation, "SlowDown", "reduce your request rate")
        answer = self.client.call(operation, **parameters)
        if fault < 0.4:
            self.faults += 1
            raise AwsError(operation, UNREACHABLE, "connection reset by peer")
        return answer


def delivered(files, log, chance):
    """Deliver until every message was taken in once, some of them again, and compact now and then."""
    events = [stored(f"u{n % 97}", f"i{n % 89}", n / 100, event_id=f"e{n}") for n in range(EVENTS)]
    chance.shuffle(events)
    waiting = [records("shop", *events[n : n + A_MESSAGE])[0] for n in range(0, EVENTS, A_MESSAGE)]
    while waiting:
        chance.shuffle(waiting)
        batch, waiting = waiting[:10], waiting[10:]
        failed = set(take_in(files, MemoryOnlineStore(), batch))
        waiting += [one for one in batch if one["messageId"] in failed or chance.random() < 0.1]
        if chance.random() < 0.1:
            try:
                log.compact("shop")
            except StorageError:
                continue


@pytest.fixture
def place(aws):
    return f"{aws('moto').bucket()}/events"


def sweep(place):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance, client = random.Random(seed), BotoClient("s3")
    faulty = Faulty(client, chance)
    delivered(S3LogFiles(place, faulty), EventLog(S3LogFiles(place, faulty)), chance)
    assert faulty.faults > 10
    log = EventLog(S3LogFiles(place, client))
    for _ in range(2):
        assert sorted(log.read("shop").events["event_id"].to_pylist()) == sorted(f"e{n}" for n in range(EVENTS))
        log.compact("shop")
    assert len(log.files.names("shop")) == 1


def test_no_event_is_lost_and_none_counts_twice(place):
    sweep(place)


def unasked(files, namespace, rows):
    """The planted bug: a refusal of S3 is taken for a repeat, as a create-only put that finds the file is one."""
    try:
        added(files, namespace, rows)
    except AwsError:
        return


added = consumer._add


def test_a_consumer_that_takes_refusals_for_repeats_would_be_found(place, monkeypatch):
    monkeypatch.setattr(consumer, "_add", unasked)
    with pytest.raises(AssertionError):
        sweep(place)
