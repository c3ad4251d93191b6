"""Erasures in DynamoDB: a tombstone under a digest first, then the user's items go; readers look at both at once."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable
from functools import partial
from itertools import islice
from typing import Any

from recsys.aws.batches import Item, delete, query, read_items, transact, write_items
from recsys.aws.client import Client
from recsys.aws.event_items import event_of, events_of_user, keys_of, next_position
from recsys.aws.packed_items import get_item, items_of, key, part_keys
from recsys.serving.online import StoredEvent
from recsys.serving.online.erasures import Erased, Erasure, Held, digest_of

_ACTIONS = 100  # as many as DynamoDB takes in a transaction
_WHAT = "to erase a user"


def tombstone_key(namespace: str, user: str) -> Item:
    """Return where the erasure of a user is, if there was one."""
    return _tombstone_key(namespace, digest_of(namespace, user))


def whole_key(namespace: str, version: str) -> Item:
    """Return the mark of a version whose user states are all there."""
    return {"pk": {"S": f"V#{namespace}"}, "sk": {"S": version}}


def is_older(record: Item, tombstone: Item | None) -> bool:
    """Whether a state or list was made without the knowledge of an erasure."""
    known = int(record.get("erasures", {"N": "0"})["N"])
    return tombstone is not None and int(tombstone["number"]["N"]) > known


def erasures(client: Client, table: str, namespace: str) -> list[Erasure]:
    """Return all of a namespace, by number."""
    values = {":pk": f"Z#{namespace}", ":digest": "z#"}
    return sorted(map(_erasure, query(client, table, "pk = :pk AND begins_with(sk, :digest)", values)))


def erasures_of(client: Client, table: str, namespace: str, users: Collection[str]) -> dict[str, Erasure]:
    """Return those of some users."""
    digests = {digest_of(namespace, user): user for user in users}
    found = map(_erasure, read_items(client, table, [_tombstone_key(namespace, digest) for digest in digests]))
    return {digests[one.digest]: one for one in found}


def held(client: Client, table: str, namespace: str, user: str, limit: int) -> Held:
    """Return profile and newest events of a user."""
    profile = get_item(client, table, key("P", namespace, user))
    newest = events_of_user(client, table, namespace, user, 0, ScanIndexForward=False, Limit=limit)
    events = [event_of(item).event for item in islice(newest, limit)][::-1]
    total = len(events)
    if total == limit:
        total = sum(1 for _ in events_of_user(client, table, namespace, user, 0, ProjectionExpression="sk"))
    return Held({} if profile is None else json.loads(profile["json"]["S"]), events, total)


def erase(client: Client, table: str, namespace: str, user: str, versions: Collection[str]) -> Erased:
    """Leave a tombstone, then remove what there is."""
    newest = events_of_user(client, table, namespace, user, 0, ScanIndexForward=False, Limit=1)
    position = max([next_position(), *(event_of(item).position for item in islice(newest, 1))])
    _bury(client, table, namespace, user, position)
    states = read_items(client, table, [key(kind, f"{namespace}#{one}", user) for kind in "SL" for one in versions])
    _remove(client, table, [one for state in states for one in _keys_of(state)])
    profiles = read_items(client, table, [key("P", namespace, user)])
    _remove(client, table, [one for profile in profiles for one in _keys_of(profile)])
    events = [event_of(item) for item in events_of_user(client, table, namespace, user, 0)]
    remove_events(client, table, namespace, events)
    return Erased(len(events), len(states), bool(profiles))


def remove_events(client: Client, table: str, namespace: str, events: Iterable[StoredEvent]) -> None:
    """Remove events, and that their ids were known."""
    _remove(client, table, [one for event in events for one in keys_of(namespace, event)])


def remove_older(client: Client, table: str, kind: str, owner: str, digests: set[str]) -> None:
    """Remove the records of users who were erased while their version was written."""
    namespace = owner.partition("#")[0]
    keys = items_of(client, table, kind, owner, ProjectionExpression="pk, sk")
    write_items(client, table, (delete(one) for one in keys if digest_of(namespace, one["sk"]["S"]) in digests))


def _tombstone_key(namespace: str, digest: str) -> Item:
    return {"pk": {"S": f"Z#{namespace}"}, "sk": {"S": f"z#{digest}"}}


def _bury(client: Client, table: str, namespace: str, user: str, position: int) -> None:
    """Leave the tombstone; of two at once each has a number of its own."""
    head: Item = {"pk": {"S": f"Z#{namespace}"}, "sk": {"S": "head"}}

    def actions() -> list[dict[str, Any]]:
        before = get_item(client, table, head)
        number = int(before["number"]["N"]) + 1 if before else 1
        tombstone = tombstone_key(namespace, user) | {
            "number": {"N": str(number)},
            "position": {"N": str(position)},
            "at_s": {"N": repr(time.time())},
        }
        unmoved: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if before:
            unmoved = {"ConditionExpression": "#number = :before", "ExpressionAttributeNames": {"#number": "number"}}
            unmoved["ExpressionAttributeValues"] = {":before": before["number"]}
        moved = head | {"number": {"N": str(number)}}
        return [
            {"Put": {"TableName": table, "Item": moved, **unmoved}},
            {"Put": {"TableName": table, "Item": tombstone}},
        ]

    transact(client, actions, _WHAT)


def _remove(client: Client, table: str, keys: list[Item]) -> None:
    """Remove items by transactions, which ask for no right but that to remove one."""
    for start in range(0, len(keys), _ACTIONS):
        some = keys[start : start + _ACTIONS]
        transact(client, partial(_deletes, table, some), _WHAT)


def _deletes(table: str, keys: list[Item]) -> list[dict[str, Any]]:
    return [{"Delete": {"TableName": table, "Key": one}} for one in keys]


def _erasure(item: Item) -> Erasure:
    number, position = int(item["number"]["N"]), int(item["position"]["N"])
    return Erasure(number, item["sk"]["S"].removeprefix("z#"), position, float(item["at_s"]["N"]))


def _keys_of(item: Item) -> list[Item]:
    """Return the key of an item, and those of the parts it is made of."""
    owner = item["pk"]["S"].partition("#")[2].rpartition("#")[0]
    return [{"pk": item["pk"], "sk": item["sk"]}, *(part_keys(owner, item) if "parts" in item else [])]
