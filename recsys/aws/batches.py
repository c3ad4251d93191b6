"""Many items of a DynamoDB table at once: whatever DynamoDB leaves undone is tried again, and never dropped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from recsys.aws.client import AwsError, Client, tries
from recsys.errors import StorageError

LARGEST_ITEM_BYTES = 400 * 1024
Item = dict[str, dict[str, Any]]
_WRITES, _READS = 25, 100  # the most DynamoDB takes in one request
_BATCH_BYTES = 4 * 2**20  # of the 16 MB that DynamoDB takes; the answer is waited for no longer than to a small one
_AT_ONCE = 8
_PATIENCE_S = 60.0
_OVERTAKEN_S = 20.0
_OVERTAKEN = {"None", "ConditionalCheckFailed", "TransactionConflict", "ThrottlingError",
              "ProvisionedThroughputExceeded"}  # fmt: skip


def item_size(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Bytes of an item as DynamoDB counts them; its keys, text (S), numbers (N) and binary (B)."""
    return sum(len(name.encode()) + _value_size(*one) for name, value in item.items() for one in value.items())


def put(item: Item) -> dict[str, Any]:
    """Return the request that stores or replaces an item."""
    return {"PutRequest": {"Item": item}}


def delete(key: Item) -> dict[str, Any]:
    """Return the request that removes an item, or finds none."""
    return {"DeleteRequest": {"Key": key}}


def write_items(client: Client, table: str, writes: Iterable[dict[str, Any]]) -> None:
    """Put and delete a stream of items, up to eight batches at once; of two writes to a key the later one stays.

    Raises
    ------
    StorageError
        If DynamoDB still refuses some after a minute: it says how many, all others that were taken from the stream
        are written, and the whole can be written again. Also if an item is larger than DynamoDB takes.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for window in _windows(writes):
            left = sum(pool.map(partial(_write, client, table), _batches(window)))
            if left:
                raise StorageError(
                    f"DynamoDB still refuses {left} of {len(window)} items after {_PATIENCE_S:.0f} s; "
                    f"those before them are in table {table}. Run it again: writing an item twice changes nothing"
                )


def read_items(client: Client, table: str, keys: Sequence[Item]) -> list[Item]:
    """Return those items of distinct keys that exist, in no particular order."""
    found: list[Item] = []
    for start in range(0, len(keys), _READS):
        wanted: dict[str, Any] = {table: {"Keys": keys[start : start + _READS], "ConsistentRead": True}}
        for _ in tries(_PATIENCE_S):
            answer = client.call("BatchGetItem", RequestItems=wanted)
            found += answer["Responses"].get(table, [])
            wanted = answer.get("UnprocessedKeys") or {}
            if not wanted:
                break
        else:
            raise StorageError(f"DynamoDB leaves items of table {table} unread for {_PATIENCE_S:.0f} s. Run it again")
    return found


def query(client: Client, table: str, condition: str, values: Mapping[str, str], **more: Any) -> Iterator[Item]:
    """Yield the items of a strongly consistent query, page after page; `values` are texts by placeholder."""
    texts = {name: {"S": value} for name, value in values.items()}
    asked = {"TableName": table, "KeyConditionExpression": condition, "ExpressionAttributeValues": texts, **more}
    while True:
        answer = client.call("Query", ConsistentRead=True, **asked)
        yield from answer["Items"]
        if not answer.get("LastEvaluatedKey"):
            return
        asked["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def transact(client: Client, actions: Callable[[], list[dict[str, Any]]], what: str) -> None:
    """Write the items of a transaction, all or none; one that somebody else overtook is put together anew.

    Raises
    ------
    StorageError
        If DynamoDB still refuses `what` after twenty seconds.
    """
    for _ in tries(_OVERTAKEN_S):
        try:
            client.call("TransactWriteItems", TransactItems=actions(), ClientRequestToken=os.urandom(16).hex())
            return
        except AwsError as error:
            if error.code != "TransactionCanceledException":
                raise
            if not {one["Code"] for one in error.answer.get("CancellationReasons", ())} <= _OVERTAKEN:
                raise
    raise StorageError(f"DynamoDB still refuses {what} after {_OVERTAKEN_S:.0f} s. Send it again")


def _value_size(kind: str, value: Any) -> int:
    if kind == "N":
        return len(value) // 2 + 2
    return len(value.encode() if kind == "S" else value)


def _item(write: Mapping[str, Any]) -> Item:
    """Return what a write puts, or the key it deletes."""
    item: Item = write["PutRequest"]["Item"] if "PutRequest" in write else write["DeleteRequest"]["Key"]
    return item


def _windows(writes: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Cut a stream into writes to different keys: their order is free, and DynamoDB refuses a key twice in a batch."""
    window: dict[tuple[str, str], dict[str, Any]] = {}
    for one in writes:
        item = _item(one)
        if item_size(item) > LARGEST_ITEM_BYTES:
            raise StorageError(
                f"an item of {item_size(item):,} bytes is more than the {LARGEST_ITEM_BYTES:,} of DynamoDB"
            )
        window[item["pk"]["S"], item["sk"]["S"]] = one
        if len(window) == _AT_ONCE * _WRITES:
            yield list(window.values())
            window = {}
    if window:
        yield list(window.values())


def _batches(window: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for one in window:
        bytes_ = item_size(_item(one))
        if batch and (len(batch) == _WRITES or size + bytes_ > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += bytes_
    yield batch


def _write(client: Client, table: str, batch: list[dict[str, Any]]) -> int:
    """Write one batch; return how many of it are left when patience ends."""
    for _ in tries(_PATIENCE_S):
        try:
            answer = client.call("BatchWriteItem", RequestItems={table: batch})
        except AwsError as error:
            if not error.transient:
                raise
        else:
            batch = (answer.get("UnprocessedItems") or {}).get(table, [])
            if not batch:
                return 0
    return len(batch)
