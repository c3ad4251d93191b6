"""The catalogue in DynamoDB: items, the log of their changes and its newest revision move in one transaction.

A transaction requires the revision it was made for, so that revisions have no gaps and every change is in the log. A
reader that finds a gap, because the log goes back 30 days, reads the items themselves.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from recsys.aws.batches import Item, delete, put, query, read_items, transact
from recsys.aws.client import Client
from recsys.aws.packed_items import get_item, items_of, key
from recsys.serving.online import CatalogueHead, ItemChange

REMOVED = "null"
"""In the place of an item's JSON, once it was deleted."""
_ITEMS = 49  # of two actions each: DynamoDB takes 100 in a transaction, and head and log are two more
_TEXT_BYTES = 3_500_000  # of the 4 MB of a transaction
_KEPT_S = 30 * 86_400
_WHAT = "a change of the catalogue"


def head_key(namespace: str) -> Item:
    """Return where a request looks first."""
    return {"pk": {"S": f"C#{namespace}"}, "sk": {"S": "head"}}


def head_of(item: Item | None) -> CatalogueHead:
    """Return the head an item holds; KeyError, TypeError or ValueError if it is another item."""
    return (
        CatalogueHead() if item is None else CatalogueHead(int(item["revision"]["N"]), json.loads(item["fields"]["S"]))
    )


def change_items(client: Client, table: str, namespace: str, texts: Mapping[str, str]) -> None:
    """Store the JSON of items; all of 49 or none. Of more, a failure may leave the first ones."""
    for some in _chunks(texts):
        transact(client, partial(_transaction, client, table, namespace, some), _WHAT)


def put_fields(client: Client, table: str, namespace: str, fields: Mapping[str, str]) -> None:
    """Declare fields, whatever changes meanwhile."""

    def actions() -> list[dict[str, Any]]:
        head = head_of(get_item(client, table, head_key(namespace)))
        return [_move_head(table, namespace, head, head._replace(fields=fields))]

    transact(client, actions, _WHAT)


def removed_items(client: Client, table: str, namespace: str) -> list[str]:
    """Return the deleted items."""
    return [item["sk"]["S"] for item in query(client, table, "pk = :pk", {":pk": f"T#{namespace}"})]


def item_changes(client: Client, table: str, namespace: str, after: int, limit: int) -> list[ItemChange]:
    """Return what changed beyond a revision: from the log, or, at the beginning and after a gap, from all items."""
    head = head_of(get_item(client, table, head_key(namespace)))
    if head.revision <= after:
        return []
    named = _from_log(client, table, namespace, after, limit) if after else None
    return _whole(client, table, namespace, after, head) if named is None else _as_now(client, table, namespace, named)


def _from_log(client: Client, table: str, namespace: str, after: int, limit: int) -> dict[str, int] | None:
    """Revisions of the items that changed; None if the log has a gap."""
    bounds = {":pk": f"C#{namespace}", ":first": _sort_key(after + 1), ":last": "9"}
    named: dict[str, int] = {}
    reached = after
    for record in query(client, table, "pk = :pk AND sk BETWEEN :first AND :last", bounds):
        names, last = json.loads(record["items"]["S"]), int(record["sk"]["S"])
        if last - len(names) > reached:
            return None
        for revision, name in enumerate(names, last - len(names) + 1):
            if revision > reached:
                named.pop(name, None)
                named[name] = revision
        reached = last
        if len(named) >= limit:
            break
    return named or None


def _as_now(client: Client, table: str, namespace: str, named: Mapping[str, int]) -> list[ItemChange]:
    """Items as they are; up to the first whose transaction is not yet through."""
    keys = [key("I", namespace, name) for name in named]
    found = {item["sk"]["S"]: item for item in read_items(client, table, keys)}
    changes = []
    for name, revision in named.items():
        if name not in found or _revision(found[name]) < revision:
            break
        changes.append(ItemChange(revision, name, json.loads(found[name]["json"]["S"])))
    return changes


def _whole(client: Client, table: str, namespace: str, after: int, head: CatalogueHead) -> list[ItemChange]:
    """All items; what changed while they were read is said to be of the head, and comes once more after it."""
    changes = [
        ItemChange(min(_revision(item), head.revision), item["sk"]["S"], json.loads(item["json"]["S"]))
        for item in items_of(client, table, "I", namespace)
    ]
    return sorted((one for one in changes if one.revision > after), key=lambda one: (one.revision, one.item))


def _chunks(texts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    some: dict[str, str] = {}
    size = 0
    for name, text in texts.items():
        if some and (len(some) == _ITEMS or size + len(text) > _TEXT_BYTES):
            yield some
            some, size = {}, 0
        some[name] = text
        size += len(text)
    if some:
        yield some


def _transaction(client: Client, table: str, namespace: str, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Put together what stores some items as the next revisions."""
    head = head_of(get_item(client, table, head_key(namespace)))
    removed = set(removed_items(client, table, namespace))
    last = head.revision + len(texts)
    log: Item = {
        "pk": {"S": f"C#{namespace}"},
        "sk": {"S": _sort_key(last)},
        "items": {"S": json.dumps(list(texts))},
        "expires": {"N": str(int(time.time()) + _KEPT_S)},
    }
    writes = [put(log)]
    for revision, (name, text) in enumerate(texts.items(), head.revision + 1):
        writes.append(put(key("I", namespace, name) | {"json": {"S": text}, "revision": {"N": str(revision)}}))
        mark: Item = {"pk": {"S": f"T#{namespace}"}, "sk": {"S": name}}
        if text == REMOVED:
            writes.append(put(mark))
        elif name in removed:
            writes.append(delete(mark))
    return [_move_head(table, namespace, head, head._replace(revision=last)), *(_action(table, one) for one in writes)]


def _move_head(table: str, namespace: str, before: CatalogueHead, after: CatalogueHead) -> dict[str, Any]:
    """Return the action that puts a head in the place of another, and of no third."""
    texts = [json.dumps(dict(one.fields), sort_keys=True) for one in (before, after)]
    item = head_key(namespace) | {"revision": {"N": str(after.revision)}, "fields": {"S": texts[1]}}
    action: dict[str, Any] = {"TableName": table, "Item": item}
    action["ConditionExpression"] = "attribute_not_exists(pk) OR (#revision = :revision AND #fields = :fields)"
    action["ExpressionAttributeNames"] = {"#revision": "revision", "#fields": "fields"}
    action["ExpressionAttributeValues"] = {":revision": {"N": str(before.revision)}, ":fields": {"S": texts[0]}}
    return {"Put": action}


def _action(table: str, write: Mapping[str, Any]) -> dict[str, Any]:
    """Return a write of a batch as one of a transaction."""
    if "PutRequest" in write:
        return {"Put": {"TableName": table, **write["PutRequest"]}}
    return {"Delete": {"TableName": table, **write["DeleteRequest"]}}


def _revision(item: Item) -> int:
    return int(item.get("revision", {"N": "1"})["N"])  # an earlier release wrote none


def _sort_key(revision: int) -> str:
    return f"{revision:020d}"
