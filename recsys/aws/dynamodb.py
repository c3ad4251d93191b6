"""The online store in a DynamoDB table: the same promises as SQLite, from any number of containers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from recsys.aws import catalogue_items, erasure_items
from recsys.aws.batches import Item, delete, put, read_items, write_items
from recsys.aws.catalogue_items import head_key, head_of
from recsys.aws.client import Client
from recsys.aws.erasure_items import tombstone_key, whole_key
from recsys.aws.event_items import event_of, events_of_user, insert_events
from recsys.aws.key_items import DynamoKeys
from recsys.aws.packed_items import PARTS, get_item, items_of, key, put_packed, unpacked
from recsys.aws.tally_items import read_tally
from recsys.errors import ArtifactError, DataError, StorageError
from recsys.events import InteractionEvent
from recsys.serving.online import NO_END, CatalogueHead, EventQueue, ItemChange, StoredEvent, StoredList, UserState
from recsys.serving.online.erasures import Erased, Erasure, Held, digest_of, left_out, newest, not_older
from recsys.serving.online.tally import Tally

if TYPE_CHECKING:
    from recsys.impressions import ImpressionEvent

Event = TypeVar("Event", InteractionEvent, "ImpressionEvent")

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

    def put_users(
        self, namespace: str, version: str, states: Iterable[tuple[str, UserState]], *, erasures: int = 0
    ) -> None:
        """See `OnlineStore.put_users`."""
        self._put_packed("S", namespace, version, states, erasures)
        self._write([put(whole_key(namespace, version))])

    def has_users(self, namespace: str, version: str) -> bool:
        """See `OnlineStore.has_users`."""
        return get_item(self._client, self.table, whole_key(namespace, version)) is not None

    def user_state(self, namespace: str, version: str, user: str) -> UserState | None:
        """See `OnlineStore.user_state`."""
        packed = self._packed("S", namespace, version, user)
        return None if packed is None else UserState.from_bytes(packed)

    def put_lists(
        self, namespace: str, version: str, lists: Iterable[tuple[str, StoredList]], *, erasures: int = 0
    ) -> None:
        """See `OnlineStore.put_lists`."""
        self._put_packed("L", namespace, version, lists, erasures)

    def user_list(self, namespace: str, version: str, user: str) -> StoredList | None:
        """See `OnlineStore.user_list`."""
        packed = self._packed("L", namespace, version, user)
        return None if packed is None else StoredList.from_bytes(packed)

    def drop_version(self, namespace: str, version: str) -> None:
        """See `OnlineStore.drop_version`. Item by item: a call that failed is continued by the next."""
        owner = f"{namespace}#{version}"
        with _reading("version"):
            self._write([delete(whole_key(namespace, version))])
            self._write(
                delete({"pk": item["pk"], "sk": item["sk"]})
                for kind in ("S", "L", PARTS)
                for item in self._items(kind, owner, ProjectionExpression="pk, sk")
            )

    def append_events(self, namespace: str, events: Sequence[InteractionEvent]) -> int:
        """See `OnlineStore.append_events`; all or none of 49 events, and then all of them into the queue.

        Known events are sent to the queue as well, as they were stored: whoever was refused because of the queue sends
        them again. Events of a call that failed may be stored already; the same call again completes it.
        """
        with _reading("event"):
            stored, new = insert_events(self._client, self.table, namespace, _distinct(events))
        # Looked for after they are stored, as the erasure looks for events after its tombstone: one finds the other.
        erased = self.erasures_of(namespace, {one.event.user for one in stored})
        if old := [one for one in stored if _is_older(one, erased)]:
            erasure_items.remove_events(self._client, self.table, namespace, old)
            stored, new = [one for one in stored if one not in old], max(0, new - len(old))
        if self.queue is not None and stored:
            self.queue.send(namespace, stored)
        return new

    def append_impressions(self, namespace: str, impressions: Sequence[ImpressionEvent]) -> int:
        """See `OnlineStore.append_impressions`. They go to the queue and nowhere else; all of them count as new.

        After a failure some may be on their way; the same call again sends all, and the log counts each once.
        """
        if self.queue is None:
            raise StorageError("impressions reach the log through a queue. Name one by RECSYS_QUEUE")
        distinct = not_older(_distinct(impressions), self.erasures_of(namespace, {one.user for one in impressions}))
        self.queue.send_impressions(namespace, distinct)
        return len(distinct)

    def recent_events(
        self, namespace: str, user: str, *, after: int, through: int = NO_END, limit: int
    ) -> list[StoredEvent]:
        """See `OnlineStore.recent_events`."""
        if not limit:
            return []
        newest = {"ScanIndexForward": False, "Limit": limit}
        with _reading("event"):
            found = islice(events_of_user(self._client, self.table, namespace, user, after, through, **newest), limit)
            return [event_of(item) for item in found][::-1]

    def recent_items(self, namespace: str, user: str, *, after: int, through: int = NO_END) -> list[str]:
        """See `OnlineStore.recent_items`."""
        with _reading("event"):
            found = events_of_user(self._client, self.table, namespace, user, after, through)
            return list({event_of(item).event.item for item in found})

    def tally(self, namespace: str, *, after: int) -> Tally:
        """See `OnlineStore.tally`. Of the last 30 days."""
        with _reading("tally"):
            return read_tally(self._client, self.table, namespace, after)

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
        of_head = head_key(namespace)
        with _reading("user state or catalogue"):
            packed, (head,) = self._packed_and("S", namespace, version, user, of_head)
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
        erased = {one.digest for one in self.erasures(namespace)}  # last, as of `append_events`
        self._write(delete(key("P", namespace, name)) for name in texts if digest_of(namespace, name) in erased)

    def all_user_profiles(self, namespace: str) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.all_user_profiles`."""
        return self._all_described("P", namespace)

    def held(self, namespace: str, user: str, *, limit: int) -> Held:
        """See `OnlineStore.held`."""
        with _reading("event or profile"):
            return erasure_items.held(self._client, self.table, namespace, user, limit)

    def erase_user(self, namespace: str, user: str, *, versions: Collection[str]) -> Erased:
        """See `OnlineStore.erase_user`."""
        with _reading("event or erasure"):
            return erasure_items.erase(self._client, self.table, namespace, user, versions)

    def erasures(self, namespace: str) -> list[Erasure]:
        """See `OnlineStore.erasures`."""
        with _reading("erasure"):
            return erasure_items.erasures(self._client, self.table, namespace)

    def erasures_of(self, namespace: str, users: Collection[str]) -> dict[str, Erasure]:
        """See `OnlineStore.erasures_of`."""
        with _reading("erasure"):
            return erasure_items.erasures_of(self._client, self.table, namespace, users)

    def purge(self) -> None:
        """See `OnlineStore.purge`; DynamoDB keeps no log of its own but for backups."""

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

    def _put_packed(
        self,
        kind: str,
        namespace: str,
        version: str,
        records: Iterable[tuple[str, UserState | StoredList]],
        erasures: int,
    ) -> None:
        owner, before = f"{namespace}#{version}", self.erasures(namespace)
        is_erased = left_out(namespace, before, erasures)
        kept = (one for one in records if not is_erased(one[0]))
        put_packed(self._client, self.table, kind, owner, kept, {"erasures": {"N": str(erasures)}} if erasures else {})
        if late := {one.digest for one in self.erasures(namespace) if one.number > newest(before)}:
            erasure_items.remove_older(self._client, self.table, kind, owner, late)

    def _packed(self, kind: str, namespace: str, version: str, user: str) -> bytes | None:
        with _reading("user state or list"):
            return self._packed_and(kind, namespace, version, user)[0]

    def _packed_and(
        self, kind: str, namespace: str, version: str, user: str, *others: Item
    ) -> tuple[bytes | None, list[Item | None]]:
        """Return a record, unless its user was erased since it was made, and other items, by one read."""
        owner, tombstone = f"{namespace}#{version}", tombstone_key(namespace, user)
        wanted = [key(kind, owner, user), tombstone, *others]
        found = {one["pk"]["S"]: one for one in read_items(self._client, self.table, wanted)}
        record, erasure, *rest = (found.get(one["pk"]["S"]) for one in wanted)
        if record is None or erasure_items.is_older(record, erasure):
            return None, rest
        return unpacked(self._client, self.table, owner, record), rest

    def _all_described(self, kind: str, namespace: str) -> dict[str, dict[str, Any]]:
        with _reading("item or profile"):
            found = {one["sk"]["S"]: json.loads(one["json"]["S"]) for one in self._items(kind, namespace)}
        return {name: one for name, one in sorted(found.items()) if one is not None}

    def _items(self, kind: str, owner: str, **more: Any) -> Iterator[Item]:
        return items_of(self._client, self.table, kind, owner, **more)

    def _write(self, writes: Iterable[dict[str, Any]]) -> None:
        write_items(self._client, self.table, writes)


def _is_older(stored: StoredEvent, erased: Mapping[str, Erasure]) -> bool:
    erasure = erased.get(stored.event.user)
    return erasure is not None and erasure.covers(stored.position, stored.event.timestamp_s)


def _distinct(events: Sequence[Event]) -> list[Event]:
    """Leave out those whose id one before them has."""
    distinct: dict[str, Event] = {}
    for one in events:
        distinct.setdefault(one.event_id, one)
    return list(distinct.values())


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
