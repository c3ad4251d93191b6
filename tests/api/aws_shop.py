"""The shop of the API's tests with all its stores on a stand-in for AWS."""

import uuid
from contextlib import closing, contextmanager

from conftest import Shop

from batch_jobs.event_log import EventLog
from batch_jobs.handlers import take_in_events
from batch_jobs.log_files import log_files
from recsys.stores import ServingStores


class AwsShop(Shop):
    """Opened by `aws_shop`."""

    environment = None

    def __init__(self, aws, folder):
        self.folder, self.sqs = folder, aws.client("sqs")
        name = f"queue-{uuid.uuid4().hex}"
        self.queue = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        self.environment = {
            "RECSYS_ARTIFACTS": f"s3://{aws.bucket()}/artifacts",
            "RECSYS_REGISTRY": f"dynamodb://{aws.table()}",
            "RECSYS_ONLINE": f"dynamodb://{aws.table()}",
            "RECSYS_QUEUE": f"sqs://{name}",
            "RECSYS_CACHE": f"{folder}/cache",
            "RECSYS_SECRET": "the same for every server of the shop",
            "RECSYS_EVENTS": f"file:{folder}/events",
        }

    def version(self):
        return self.registry.current("shop").version

    def stored(self, user):
        """Return the ids of all events the online store has of a user."""
        return [one.event.event_id for one in self.online.recent_events("shop", user, after=0, limit=10**6)]

    def logged(self):
        """Bring the queue into the log, as Lambda does; return the ids of all events the next model learns from."""
        records = []
        while batch := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            records += [{"messageId": one["MessageId"], "body": one["Body"]} for one in batch]
            done = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(batch)]
            self.sqs.delete_message_batch(QueueUrl=self.queue, Entries=done)
        assert take_in_events({"Records": records}, None) == {"batchItemFailures": []}
        return EventLog(log_files()).read("shop").events["event_id"].to_pylist()


@contextmanager
def aws_shop(aws, folder, monkeypatch):
    """Make places on a stand-in and open the stores there, past any plug."""
    shop = AwsShop(aws, folder)
    for name, place in shop.environment.items():
        monkeypatch.setenv(name, place)
    stores = ServingStores.from_environment()
    shop.artifacts, shop.registry, shop.online = stores.artifacts, stores.registry, stores.online
    with closing(shop.online), closing(shop.registry._client), closing(shop.artifacts._objects._client):
        yield shop
