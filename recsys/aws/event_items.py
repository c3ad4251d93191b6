"""Events in DynamoDB: one item by the event's id, so that it counts once, and one by its place in its user's order."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from recsys.aws.batches import Item, query
from recsys.aws.client import AwsError, Client, tries
from recsys.aws.tally_items import put_tally
from recsys.errors import StorageError
from recsys.events import InteractionEvent
from recsys.serving.online import NO_END, POSITIONS_A_SECOND, StoredEvent

_EVENTS = 49  # of two items each, and the tally: DynamoDB takes 100 in a transaction
_KEPT_S = 30 * 86_400
_PATIENCE_S = 5.0
_A_MICROSECOND = POSITIONS_A_SECOND // 1_000_000
_UNDECIDED = {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


def insert_events(
    client: Client, table: str, namespace: str, events: Sequence[InteractionEvent]
) -> tuple[list[StoredEvent], int]:
    """Store events of different ids; return them as they are stored, known ones as they were, and how many are new.

    All of 49 events are stored or none; of more, a failure may leave the first ones. Then they are known to the next
    call with the same events, which stores the rest.
    """
    stored: list[StoredEvent] = []
    new = 0
    for start in range(0, len(events), _EVENTS):
        some, of_them_new = _transaction(client, table, namespace, events[start : start + _EVENTS])
        stored, new = stored + some, new + of_them_new
    return stored, new


def events_of_user(
    client: Client, table: str, namespace: str, user: str, after: int, through: int = NO_END, **more: Any
) -> Iterator[Item]:
    """Yield the items of a user's events beyond a position and up to another."""
    if through <= after:
        return iter(())  # DynamoDB refuses such bounds
    bounds = {":user": f"E#{namespace}#{user}", ":first": _sort_key(after + 1), ":last": _sort_key(through)}
    return query(client, table, "pk = :user AND sk BETWEEN :first AND :last", bounds, **more)


def event_of(item: Item) -> StoredEvent:
    """Return the event an item holds; KeyError, TypeError, ValueError or DataError if it is another item."""
    return StoredEvent(int(item["position"]["N"]), InteractionEvent(**json.loads(item["event"]["S"])))


def keys_of(namespace: str, stored: StoredEvent) -> tuple[Item, Item]:
    """Return the keys of an event: by its id, and by its place in its user's order."""
    by_id = {"pk": {"S": f"D#{namespace}#{stored.event.event_id}"}, "sk": {"S": "event"}}
    return by_id, {"pk": {"S": f"E#{namespace}#{stored.event.user}"}, "sk": {"S": _sort_key(stored.position)}}


def next_position() -> int:
    """Return the position of what happens now."""
    return _positions.next()


class _Positions:
    """Microseconds since 1970 and random bits below them: rising in a process, distinct between most others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        random = int.from_bytes(os.urandom(2)) % _A_MICROSECOND
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000 * _A_MICROSECOND + random)
            return self._last


_positions = _Positions()


def _transaction(
    client: Client, table: str, namespace: str, events: Sequence[InteractionEvent]
) -> tuple[list[StoredEvent], int]:
    """Store those that are unknown, all or none; which ones are known is in DynamoDB's refusal to store them all."""
    waiting = [StoredEvent(_positions.next(), one) for one in events]
    known: list[StoredEvent] = []
    tried = set[int]()
    for _ in tries(_PATIENCE_S):
        tried |= {one.position for one in waiting}
        try:
            if waiting:
                expires_s = int(time.time()) + _KEPT_S
                actions = [one for event in waiting for one in _puts(table, namespace, event, expires_s)]
                actions.append(put_tally(table, namespace, waiting, expires_s))
                client.call("TransactWriteItems", TransactItems=actions, ClientRequestToken=os.urandom(16).hex())
        except AwsError as error:
            if error.code != "TransactionCanceledException":
                raise
            waiting, found = _sorted_out(waiting, error)
            known += found
        else:  # a known one at a position of this very call was stored by a try whose answer was lost
            return known + waiting, len(waiting) + sum(one.position in tried for one in known)
    raise StorageError(f"DynamoDB still refuses {len(waiting)} events after {_PATIENCE_S:.0f} s. Send them again")


def _puts(table: str, namespace: str, stored: StoredEvent, expires_s: int) -> Iterator[dict[str, Any]]:
    body = {
        "position": {"N": str(stored.position)},
        "event": {"S": json.dumps(vars(stored.event), ensure_ascii=False, default=dict)},
        "expires": {"N": str(expires_s)},
    }
    for key in keys_of(namespace, stored):
        yield {
            "Put": {
                "TableName": table,
                "Item": key | body,
                "ConditionExpression": "attribute_not_exists(pk)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }


def _sorted_out(waiting: list[StoredEvent], error: AwsError) -> tuple[list[StoredEvent], list[StoredEvent]]:
    """Return what is to be tried again and what is known, by DynamoDB's reason for each of the puts."""
    reasons = error.answer.get("CancellationReasons", ())
    if len(reasons) != 2 * len(waiting) + 1 or reasons[-1]["Code"] not in _UNDECIDED:  # the last one is of the tally
        raise error
    left, known = [], []
    for one, by_id, by_user in zip(waiting, reasons[:-1:2], reasons[1::2], strict=True):
        if by_id["Code"] == "ConditionalCheckFailed":
            known.append(event_of(by_id["Item"]))
        elif by_user["Code"] == "ConditionalCheckFailed":  # another process drew the same position for this user
            left.append(StoredEvent(_positions.next(), one.event))
        elif {by_id["Code"], by_user["Code"]} <= _UNDECIDED:
            left.append(one)
        else:
            raise error
    return left, known


def _sort_key(position: int) -> str:
    return f"{position:020d}"
