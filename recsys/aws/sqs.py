"""Events on their way to the log, through SQS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from recsys.aws.client import Client
from recsys.errors import StorageError
from recsys.serving.online import StoredEvent

if TYPE_CHECKING:
    from recsys.impressions import ImpressionEvent

MESSAGE_BYTES = 200_000
"""A message is packed up to this size; SQS takes 256 KiB of any account."""


class SqsEventQueue:
    """See `EventQueue`. A message is JSON: ``{"namespace": ..., "events": [{"position": ..., "event_id": ...}]}``.

    One of impressions has them, as rows of `ImpressionEvent`, under the name ``impressions`` instead.

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
        self._send(_bodies(namespace, "events", map(_text, events)))

    def send_impressions(self, namespace: str, impressions: Sequence[ImpressionEvent]) -> None:
        """See `EventQueue.send_impressions`."""
        rows = (json.dumps(one.row(), allow_nan=False, separators=(",", ":")) for one in impressions)
        self._send(_bodies(namespace, "impressions", rows))

    def _send(self, bodies: Iterable[str]) -> None:
        for body in bodies:
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


def _bodies(namespace: str, kind: str, texts: Iterable[str]) -> Iterator[str]:
    """Pack JSON into as few messages as their size allows; all signs are ASCII, for SQS refuses some others."""
    head = f'{{"namespace":{json.dumps(namespace)},"{kind}":['
    packed, size = list[str](), 0
    for text in texts:
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
