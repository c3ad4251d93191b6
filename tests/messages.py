"""Messages as `SqsEventQueue` writes them and Lambda hands them to the consumer."""

import hashlib
import itertools
import uuid

from recsys.aws.sqs import SqsEventQueue
from recsys.events import InteractionEvent
from recsys.serving.online import POSITIONS_A_SECOND, StoredEvent

NOON_S = 1_700_000_000
_numbers = itertools.count()


def stored(user, item, at_s=0.0, **fields):
    """Return an event of the online store, `at_s` seconds past noon."""
    fields = {"event_id": f"e{next(_numbers)}", "timestamp_s": NOON_S + at_s, "value": 2.0} | fields
    return StoredEvent(round((NOON_S + at_s) * POSITIONS_A_SECOND), InteractionEvent(user=user, item=item, **fields))


class Sent:
    """Stands where SQS would: keeps what is sent."""

    def __init__(self):
        self.bodies = []

    def call(self, operation, *, QueueUrl, MessageBody):
        self.bodies.append(MessageBody)
        return {"MD5OfMessageBody": hashlib.md5(MessageBody.encode()).hexdigest()}

    def close(self):
        pass


def records(namespace, *events):
    """Return the records of messages that hold the events."""
    return _sent(lambda queue: queue.send(namespace, events))


def shown_records(namespace, *impressions):
    """Return the same of impressions."""
    return _sent(lambda queue: queue.send_impressions(namespace, impressions))


def _sent(send):
    sent = Sent()
    send(SqsEventQueue("https://queue", sent))
    return [{"messageId": str(uuid.uuid4()), "body": body} for body in sent.bodies]
