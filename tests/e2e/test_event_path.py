"""Events from the API through DynamoDB and SQS into the log and the next model, on both stand-ins."""

import json
import uuid
from contextlib import closing

import pytest
from clouds import CLOUDS
from messages import stored
from shop import Shop

from batch_jobs.config import EvaluateConfig, GateConfig, IngestConfig, JobConfig, SplitConfig
from batch_jobs.console import Screen
from batch_jobs.handlers import take_in_events
from batch_jobs.nightly import nightly
from batch_jobs.stores import Stores
from recsys.aws.client import connect
from recsys.aws.sqs import SqsEventQueue

QUIET = Screen(as_json=True)


def settings(*files, **ingest):
    return JobConfig(
        namespace="shop",
        ingest=IngestConfig(files=tuple(map(str, files)), **ingest),
        model={"kind": "als", "factors": 4, "iterations": 2, "threads": 1},
        split=SplitConfig(kind="leave-last"),
        evaluate=EvaluateConfig(k=(5,), baselines=False),
        gate=GateConfig(max_drop=1.0, min_users=1),
    )


class Queue:
    """A queue with a dead-letter queue behind it, and what Lambda's event source mapping does with them."""

    def __init__(self, client):
        self.client, self.name = client, f"events-{uuid.uuid4().hex}"
        self.dead = client.create_queue(QueueName=f"dead-{uuid.uuid4().hex}")["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=self.dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
        attributes = {"VisibilityTimeout": "0", "RedrivePolicy": redrive}
        self.url = client.create_queue(QueueName=self.name, Attributes=attributes)["QueueUrl"]

    def received(self, url):
        return self.client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])

    def deliver(self):
        """Receive a batch, call the consumer, delete what did not fail; return how many messages failed."""
        batch = self.received(self.url)
        records = [{"messageId": one["MessageId"], "body": one["Body"]} for one in batch]
        answer = json.loads(json.dumps(take_in_events({"Records": records}, None)))
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        for one in batch:
            if one["MessageId"] not in failed:
                self.client.delete_message(QueueUrl=self.url, ReceiptHandle=one["ReceiptHandle"])
        return len(failed) if batch else None

    def drain(self):
        while self.deliver() is not None:
            pass


@pytest.fixture(params=CLOUDS)
def path(request, tmp_path, monkeypatch):
    """A shop whose stores are all on a stand-in."""
    aws = request.getfixturevalue("aws")(request.param)
    queue, bucket = Queue(aws.client("sqs")), aws.bucket()
    places = {
        "RECSYS_ARTIFACTS": f"s3://{bucket}/artifacts",
        "RECSYS_EVENTS": f"s3://{bucket}/events",
        "RECSYS_RUNS": f"s3://{bucket}/runs",
        "RECSYS_REGISTRY": f"dynamodb://{aws.table()}",
        "RECSYS_ONLINE": f"dynamodb://{aws.table()}",
        "RECSYS_QUEUE": f"sqs://{queue.name}",
        "RECSYS_CACHE": str(tmp_path / "cache"),
        "RECSYS_SECRET": "the same for every server of the shop",
    }
    for name, place in places.items():
        monkeypatch.setenv(name, place)
    shop = Shop(tmp_path)
    shop.environment |= places
    return shop, queue


@pytest.fixture
def stores(path):
    opened = Stores.from_environment()
    with closing(opened.online), closing(opened.registry._client):
        yield opened


@pytest.fixture
def taste(tmp_path):
    """A file: two kinds of users, and each kind has its items."""
    rows = [f"u{n},{'ab'[n % 2]}{(n // 2 + k) % 6},1,{100 * k + n}" for n in range(24) for k in range(4)]
    file = tmp_path / "taste.csv"
    file.write_text("\n".join(["user_id,item_id,rating,timestamp", *rows]))
    return file


def manifest(stores):
    pointer = stores.registry.current("shop")
    return stores.artifacts.open("shop", pointer.version, names=()).manifest


def test_an_event_through_the_queue_is_recent_at_once_and_in_the_next_model(path, stores, taste):
    shop, queue = path
    nightly(stores, settings(taste), QUIET)
    assert manifest(stores).data["events_through"] == 0
    told = [{"user": "new", "item": item, "event_id": item, "timestamp": 1e9} for item in ("a1", "b3", "fresh")]
    asked = "/v1/shop/users/new/recommendations?k=20"
    with shop:
        for _ in range(2):  # a client that got no answer sends them again
            shop.ask("/v1/shop/events", {"events": told})
        at_once = shop.ask(asked)
        assert {"a1", "b3"} & {one["item"] for one in at_once["items"]} == set()
        assert queue.client.send_message(QueueUrl=queue.url, MessageBody="poison")
        queue.drain()

        nightly(stores, settings(), QUIET)
        unsettled = manifest(stores)
        assert unsettled.data["interactions"] == 24 * 4
        assert shop.wait_for(asked, unsettled.version)["strategy"] == "fold_in"

        nightly(stores, settings(settle_s=0.0), QUIET)
        settled = manifest(stores)
        assert settled.data["interactions"] == 24 * 4 + 3
        assert settled.data["log_files"] == unsettled.data["log_files"]
        assert settled.data["events_through"] > unsettled.data["events_through"]
        known = shop.wait_for(asked, settled.version)
        assert known["strategy"] == "als"
        assert {"a1", "b3", "fresh"} & {one["item"] for one in known["items"]} == set()
    names = stores.events.files.names("shop")
    assert sorted(name.rpartition(".")[2] for name in names) == ["parquet", "parquet"]
    assert [one["Body"] for one in queue.received(queue.dead)] == ["poison"]


def test_a_log_out_of_reach_keeps_the_messages_in_the_queue(path, monkeypatch):
    _, queue = path
    with closing(SqsEventQueue(queue.name, connect("sqs"))) as opened:
        opened.send("shop", [stored("u", "i")])
    with monkeypatch.context() as cut:
        cut.setenv("RECSYS_EVENTS", "s3://no-such-bucket/events")
        assert queue.deliver() == 1
    assert queue.deliver() == 0
    assert queue.deliver() is None
    assert Stores.from_environment().events.read("shop").events["item_id"].to_pylist() == ["i"]
