"""Events through a queue, on both stand-ins: nothing an event may hold is refused, and every size fits."""

import json
import uuid
from contextlib import closing

import pytest
from clouds import CLOUDS
from messages import Sent, records, stored

from batch_jobs.consumer import parse
from recsys.aws.client import BotoClient, connect
from recsys.aws.sqs import MESSAGE_BYTES, SqsEventQueue
from recsys.errors import StorageError

HOSTILE = ["\0", "\x1b[0m", "\x7f", "\ufffe", "\uffff", "🜁" * 256, '"}],', "é\r\n"]


@pytest.fixture(params=CLOUDS)
def queue(request):
    client = request.getfixturevalue("aws")(request.param).client("sqs")
    name = f"queue-{uuid.uuid4().hex}"
    url = client.create_queue(QueueName=name)["QueueUrl"]
    return name, url, client


@pytest.fixture
def send(queue):
    """Send events through a queue given by its name or URL, and close it."""

    def send(where, *events, make=connect):
        with closing(SqsEventQueue(where, make("sqs"))) as opened:
            opened.send("shop", events)

    return send


def received(client, url):
    while found := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for one in found:
            client.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
            yield one["Body"]


@pytest.mark.parametrize("make", [connect, BotoClient])
def test_what_is_sent_is_what_the_consumer_reads(queue, send, make):
    name, url, client = queue
    events = [stored(text, text, n, context={text: [text]}, event=text) for n, text in enumerate(HOSTILE)]
    send(name, *events[:4], make=make)
    send(url, *events[4:], make=make)
    rows = [row for body in received(client, url) for row in parse(body)[1]]
    assert sorted(row["user_id"] for row in rows) == sorted(HOSTILE)
    assert {row["position"] for row in rows} == {one.position for one in events}


def test_many_events_are_packed_by_size_and_none_is_left_out(queue, send):
    name, url, client = queue
    long = {"x": "\x01" * 680}  # 4,096 bytes of JSON
    events = [stored("🜁" * 256, "🜁" * 256, n, context=long, event_id=f"{n}-" + "🜁" * 250) for n in range(60)]
    send(name, *events)
    bodies = list(received(client, url))
    assert 2 < len(bodies) < 10
    assert max(map(len, bodies)) <= MESSAGE_BYTES + 100
    assert sorted(row["position"] for body in bodies for row in parse(body)[1]) == [one.position for one in events]


def test_a_queue_that_is_not_there_is_an_error_and_not_a_loss(send):
    with pytest.raises(StorageError, match="GetQueueUrl failed"):
        send("nowhere", stored("u", "i"))


def test_nothing_to_send_sends_nothing():
    sent = Sent()
    SqsEventQueue("https://queue", sent).send("shop", [])
    assert sent.bodies == []


def test_a_message_says_no_more_than_it_must():
    [record] = records("shop", stored("u", "i", event_id="x"))
    assert json.loads(record["body"]).keys() == {"namespace", "events"}


def test_an_answer_that_names_no_message_is_no_acknowledgement():
    sent = Sent()
    sent.call = lambda *_, **__: {"MD5OfMessageBody": "d41d8cd98f00b204e9800998ecf8427e"}
    with pytest.raises(StorageError, match="does not say that it holds"):
        SqsEventQueue("https://queue", sent).send("shop", [stored("u", "i")])
    sent.call = lambda *_, **__: {"garbage": 1}
    with pytest.raises(StorageError, match="does not say where"):
        SqsEventQueue("queue", sent).send("shop", [stored("u", "i")])


def test_a_queue_can_be_looked_for(queue):
    name, url, _ = queue
    for where in (name, url):
        with closing(SqsEventQueue(where, connect("sqs"))) as opened:
            opened.check()
    with closing(SqsEventQueue("nowhere", connect("sqs"))) as opened, pytest.raises(StorageError):
        opened.check()
