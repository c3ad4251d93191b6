"""Events on their way to the log, through SQS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property

from recsys.aws.client import Client
from recsys.errors import StorageError
from recsys.serving.online import StoredEvent

MESSAGE_BYTES = 200_000
"""A message is packed up to this size; SQS takes 256 KiB of any account."""


class SqsEventQueue:
    """See `EventQueue`. A message is JSON: ``{"namespace": ..., "events": [{"position": ..., "event_id": ...}]}``.

    IAM actions on the queue: sqs:SendMessage and sqs:GetQueueUrl.

    Parameters
    ----------
    queue : str
        Name or URL.
    client : Client
        Of SQS.
    """

    def __init__(self, queue: str, client: Client) -> None:
        self._queue = queue
        self._client = client

    def send(self, namespace: str, events: Sequence[StoredEvent]) -> None:
        """See `EventQueue.send`."""
        for body in _bodies(namespace, events):
            answer = self._client.call("SendMessage", QueueUrl=self._url, MessageBody=body)
            if answer.get("MD5OfMessageBody") != hashlib.md5(body.encode(), usedforsecurity=False).hexdigest():
                raise StorageError(f"queue {self._queue} does not say that it holds a message. Send it again")

    def check(self) -> None:
        """See `EventQueue.check`."""
        self._found()

    def close(self) -> None:
        """See `EventQueue.close`."""
        self._client.close()

    @cached_property
    def _url(self) -> str:
        if "://" in self._queue:
            return self._queue
        return self._found()

    def _found(self) -> str:
        answer = self._client.call("GetQueueUrl", QueueName=self._queue.rpartition("/")[2])
        if not isinstance(url := answer.get("QueueUrl"), str):
            raise StorageError(f"SQS does not say where queue {self._queue} is. Run it again")
        return url


def _bodies(namespace: str, events: Sequence[StoredEvent]) -> Iterator[str]:
    """Pack events into as few messages as their size allows; all signs are ASCII, for SQS refuses some others."""
    head = f'{{"namespace":{json.dumps(namespace)},"events":['
    packed, size = list[str](), 0
    for one in events:
        text = _text(one)
        if packed and size + len(text) > MESSAGE_BYTES:
            yield f"{head}{','.join(packed)}]}}"
            packed, size = [], 0
        packed.append(text)
        size += len(text) + 1
    if packed:
        yield f"{head}{','.join(packed)}]}}"


def _text(stored: StoredEvent) -> str:
    event = stored.event
    fields = {
        "position": stored.position,
        "event_id": event.event_id,
        "user": event.user,
        "item": event.item,
        "timestamp": event.timestamp_s,
        "event": event.event,
        "value": event.value,
        "context": event.context,
    }
    return json.dumps(fields, allow_nan=False, separators=(",", ":"))
