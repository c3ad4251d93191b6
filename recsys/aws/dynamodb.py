"""The online store in a DynamoDB table: the same promises as SQLite, from any number of containers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from recsys.aws import catalogue_items
from recsys.aws.batches import Item, delete, put, read_items, write_items
from recsys.aws.catalogue_items import head_key, head_of
from recsys.aws.client import Client
from recsys.aws.event_items import event_of, events_of_user, insert_events
from recsys.aws.key_items import DynamoKeys
from recsys.aws.packed_items import PARTS, get_item, get_packed, items_of, key, put_packed, unpacked
from recsys.errors import ArtifactError, DataError
from recsys.events import InteractionEvent
from recsys.serving.online import CatalogueHead, EventQueue, ItemChange, StoredList, UserState

_LARGEST_DESCRIPTION = 400_000  # and the rest of an item's 409,600 bytes for its keys


class DynamoOnlineStore:
    """See `OnlineStore`. Reads are strongly consistent, so that a version is whole for who follows its pointer.

    The table has a hash key `pk` and a range key `sk`, both text, and the time-to-live attribute `expires`: events are
    known, and recent, for 30 days. Namespaces and versions are those `check_name` lets through. IAM actions: GetItem,
    BatchGetItem, Query, PutItem and DeleteItem to serve and to take events and items; BatchWriteItem besides, for jobs.

    Parameters
    ----------
    table : str
    client : Client
        Of DynamoDB.
    queue : EventQueue, optional
        Events reach the log through it; without one they are served as recent events, and no model learns of them.
    """

    def __init__(self, table: str, client: Client, queue: EventQueue | None = None) -> None:
        self.table, self.queue = table, queue
        self._client = client
        self.keys = DynamoKeys(client, table)

    def put_users(self, namespace: str, version: str, states: Iterable[tuple[str, UserState]]) -> None:
        """See `OnlineStore.put_users`."""
        self._put_packed("S", f"{namespace}#{version}", states)

    def user_state(self, namespace: str, version: str, user: str) -> UserState | None:
        """See `OnlineStore.user_state`."""
        packed = self._packed("S", f"{namespace}#{version}", user)
        return None if packed is None else UserState.from_bytes(packed)

    def put_lists(self, namespace: str, version: str, lists: Iterable[tuple[str, StoredList]]) -> None:
        """See `OnlineStore.put_lists`."""
        self._put_packed("L", f"{namespace}#{version}", lists)

    def user_list(self, namespace: str, version: str, user: str) -> StoredList | None:
        """See `OnlineStore.user_list`."""
        packed = self._packed("L", f"{namespace}#{version}", user)
        return None if packed is None else StoredList.from_bytes(packed)

    def drop_version(self, namespace: str, version: str) -> None:
        """See `OnlineStore.drop_version`. Item by item: a call that failed is continued by the next."""
        owner = f"{namespace}#{version}"
        with _reading("version"):
            self._write(
                delete({"pk": item["pk"], "sk": item["sk"]})
                for kind in ("S", "L", PARTS)
                for item in self._items(kind, owner, ProjectionExpression="pk, sk")
            )

    def append_events(self, namespace: str, events: Sequence[InteractionEvent]) -> int:
        """See `OnlineStore.append_events`; all or none of 50 events, and then all of them into the queue.

        Known events are sent to the queue as well, as they were stored: whoever was refused because of the queue sends
        them again. Events of a call that failed may be stored already; the same call again completes it.
        """
        distinct: dict[str, InteractionEvent] = {}
        for one in events:
            distinct.setdefault(one.event_id, one)
        with _reading("event"):
            stored, new = insert_events(self._client, self.table, namespace, list(distinct.values()))
        if self.queue is not None and stored:
            self.queue.send(namespace, stored)
        return new

    def recent_events(self, namespace: str, user: str, *, after: int, limit: int) -> list[InteractionEvent]:
        """See `OnlineStore.recent_events`."""
        if not limit:
            return []
        newest = {"ScanIndexForward": False, "Limit": limit}
        with _reading("event"):
            found = islice(events_of_user(self._client, self.table, namespace, user, after, **newest), limit)
            return [event_of(item).event for item in found][::-1]

    def recent_items(self, namespace: str, user: str, *, after: int) -> list[str]:
        """See `OnlineStore.recent_items`."""
        with _reading("event"):
            found = events_of_user(self._client, self.table, namespace, user, after)
            return list({event_of(item).event.item for item in found})

    def put_items(self, namespace: str, items: Mapping[str, Mapping[str, Any]]) -> None:
        """See `OnlineStore.put_items`; all or none of 49 items.

        A call that failed may have stored some; the same call again stores all.
        """
        texts = _texts(items)
        with _reading("catalogue"):
            catalogue_items.change_items(self._client, self.table, namespace, texts)

    def delete_items(self, namespace: str, items: Sequence[str]) -> None:
        """See `OnlineStore.delete_items`; promises what `put_items` does."""
        with _reading("catalogue"):
            texts = dict.fromkeys(items, catalogue_items.REMOVED)
            catalogue_items.change_items(self._client, self.table, namespace, texts)

    def removed_items(self, namespace: str) -> list[str]:
        """See `OnlineStore.removed_items`."""
        with _reading("catalogue"):
            return catalogue_items.removed_items(self._client, self.table, namespace)

    def item_changes(self, namespace: str, after: int, *, limit: int) -> list[ItemChange]:
        """See `OnlineStore.item_changes`. From the beginning, and of more than 30 days, it is the whole."""
        with _reading("catalogue"):
            return catalogue_items.item_changes(self._client, self.table, namespace, after, limit)

    def put_fields(self, namespace: str, fields: Mapping[str, str]) -> None:
        """See `OnlineStore.put_fields`."""
        with _reading("catalogue"):
            catalogue_items.put_fields(self._client, self.table, namespace, fields)

    def catalogue_head(self, namespace: str) -> CatalogueHead:
        """See `OnlineStore.catalogue_head`."""
        with _reading("catalogue"):
            return head_of(get_item(self._client, self.table, head_key(namespace)))

    def user_and_head(self, namespace: str, version: str, user: str) -> tuple[UserState | None, CatalogueHead]:
        """See `OnlineStore.user_and_head`."""
        owner, of_head = f"{namespace}#{version}", head_key(namespace)
        with _reading("user state or catalogue"):
            found = read_items(self._client, self.table, [key("S", owner, user), of_head])
            head = next((one for one in found if one["pk"] == of_head["pk"]), None)
            of_user = next((one for one in found if one["pk"] != of_head["pk"]), None)
            packed = None if of_user is None else unpacked(self._client, self.table, owner, of_user)
            return None if packed is None else UserState.from_bytes(packed), head_of(head)

    def all_items(self, namespace: str) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.all_items`."""
        return self._all_described("I", namespace)

    def item_metadata(self, namespace: str, items: Sequence[str]) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.item_metadata`."""
        keys = [key("I", namespace, item) for item in dict.fromkeys(items)]
        with _reading("item"):
            found = read_items(self._client, self.table, keys)
            described = ((one["sk"]["S"], json.loads(one["json"]["S"])) for one in found)
            return {item: one for item, one in described if one is not None}

    def put_user_profiles(self, namespace: str, profiles: Mapping[str, Mapping[str, Any]]) -> None:
        """See `OnlineStore.put_user_profiles`. Each is replaced whole, but DynamoDB has no transaction of all of them.

        A call that failed may have stored some; the same call again stores all.
        """
        texts = _texts(profiles)
        self._write(put(key("P", namespace, name) | {"json": {"S": text}}) for name, text in texts.items())

    def all_user_profiles(self, namespace: str) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.all_user_profiles`."""
        return self._all_described("P", namespace)

    def check(self) -> None:
        """See `OnlineStore.check`."""
        get_item(self._client, self.table, key("I", "check", "check"))
        if self.queue is not None:
            self.queue.check()

    def close(self) -> None:
        """See `OnlineStore.close`."""
        self._client.close()
        if self.queue is not None:
            self.queue.close()

    def _put_packed(self, kind: str, owner: str, records: Iterable[tuple[str, UserState | StoredList]]) -> None:
        put_packed(self._client, self.table, kind, owner, records)

    def _packed(self, kind: str, owner: str, user: str) -> bytes | None:
        with _reading("user state or list"):
            return get_packed(self._client, self.table, kind, owner, user)

    def _all_described(self, kind: str, namespace: str) -> dict[str, dict[str, Any]]:
        with _reading("item or profile"):
            found = {one["sk"]["S"]: json.loads(one["json"]["S"]) for one in self._items(kind, namespace)}
        return {name: one for name, one in sorted(found.items()) if one is not None}

    def _items(self, kind: str, owner: str, **more: Any) -> Iterator[Item]:
        return items_of(self._client, self.table, kind, owner, **more)

    def _write(self, writes: Iterable[dict[str, Any]]) -> None:
        write_items(self._client, self.table, writes)


def _texts(described: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Write each as JSON, no longer than an item can be."""
    texts = {name: json.dumps(dict(one), allow_nan=False) for name, one in described.items()}
    for name, text in texts.items():
        if len(text) > _LARGEST_DESCRIPTION:
            reason = f"what is told of {name!r} has {len(text):,} bytes; DynamoDB holds {_LARGEST_DESCRIPTION:,}"
            raise DataError(reason, remedy="Leave some of its fields out")
    return texts


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn what reading an item of another form raises into `ArtifactError`."""
    try:
        yield
    except (AttributeError, DataError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"a stored {what} is damaged: {error}") from error
