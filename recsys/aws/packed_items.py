"""User states and lists in DynamoDB: one item each, and more where one is not large enough."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from recsys.aws.batches import Item, put, query, read_items, write_items
from recsys.aws.client import Client
from recsys.serving.online import StoredList, UserState

PARTS = "X"
_SHARDS = 16  # partitions of what is enumerated: DynamoDB gives one 1,000 writes a second
_PART_BYTES = 300_000  # an item takes 409,600; but in moto, which counts binary as base64, not many more than these


def key(kind: str, owner: str, name: str) -> Item:
    """Return the key of what can be enumerated by its owner: a namespace, or a namespace and a version."""
    return {"pk": {"S": f"{kind}#{owner}#{zlib.crc32(name.encode()) % _SHARDS:x}"}, "sk": {"S": name}}


def items_of(client: Client, table: str, kind: str, owner: str, **more: Any) -> Iterator[Item]:
    """Yield all items of a kind that an owner has."""
    for shard in range(_SHARDS):
        yield from query(client, table, "pk = :pk", {":pk": f"{kind}#{owner}#{shard:x}"}, **more)


def get_item(client: Client, table: str, wanted: Item) -> Item | None:
    """Return an item by its key, as it is after every write that was acknowledged."""
    found: Item | None = client.call("GetItem", TableName=table, Key=wanted, ConsistentRead=True).get("Item")
    return found


def put_packed(
    client: Client,
    table: str,
    kind: str,
    owner: str,
    records: Iterable[tuple[str, UserState | StoredList]],
    more: Item,
) -> None:
    """Store or overwrite a stream of records by user, each with more attributes."""

    def puts() -> Iterator[dict[str, Any]]:
        for user, one in records:
            packed = one.to_bytes()
            whole = len(packed) <= _PART_BYTES
            yield put(key(kind, owner, user) | more | ({"packed": {"B": packed}} if whole else parted(packed)))

    def parted(packed: bytes) -> Item:
        """Store the parts, named by what they hold: complete before the item that names them, never overwritten."""
        starts = range(0, len(packed), _PART_BYTES)
        named = {"parts": {"S": hashlib.sha256(packed).hexdigest()}, "count": {"N": str(len(starts))}}
        parts = ({"packed": {"B": packed[start : start + _PART_BYTES]}} for start in starts)
        keys = part_keys(owner, named)
        write_items(client, table, (put(one | part) for one, part in zip(keys, parts, strict=True)))
        return named

    write_items(client, table, puts())


def unpacked(client: Client, table: str, owner: str, item: Item) -> bytes:
    """Return the bytes of a record's item, from its parts where it has some; errors as of `get_packed`."""
    if "packed" in item:
        return bytes(item["packed"]["B"])
    keys = part_keys(owner, item)
    parts = {one["sk"]["S"]: one["packed"]["B"] for one in read_items(client, table, keys)}
    return b"".join(parts[one["sk"]["S"]] for one in keys)


def part_keys(owner: str, named: Item) -> list[Item]:
    """Return the keys of the parts that a record's item names."""
    return [key(PARTS, owner, f"{named['parts']['S']}#{number}") for number in range(int(named["count"]["N"]))]
