"""The online store in memory: for notebooks and tests."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from recsys.events import InteractionEvent
from recsys.serving.online import (
    NO_END,
    CatalogueHead,
    ItemChange,
    StoredEvent,
    StoredImpression,
    StoredList,
    UserState,
)
from recsys.serving.online.erasures import Erased, Erasure, Held, digest_of, left_out, newest, not_older
from recsys.serving.online.keys import MemoryKeys
from recsys.serving.online.tally import Tally, counted

if TYPE_CHECKING:
    from recsys.impressions import ImpressionEvent


class MemoryOnlineStore:
    """See `OnlineStore` and `EventFeed`; gone with the process."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, str], dict[str, bytes]] = {}
        self._lists: dict[tuple[str, str], dict[str, bytes]] = {}
        self._events: dict[str, list[InteractionEvent | None]] = {}  # None: erased, for positions stay
        self._event_ids: dict[str, set[str]] = {}
        self._impressions: dict[str, dict[str, ImpressionEvent | None]] = {}  # by id, oldest first
        self._items: dict[str, dict[str, ItemChange]] = {}  # oldest change first
        self._heads: dict[str, CatalogueHead] = {}
        self._profiles: dict[str, dict[str, dict[str, Any]]] = {}
        self._erasures: dict[str, dict[str, Erasure]] = {}  # by digest, oldest first
        self._lock = Lock()
        self.keys = MemoryKeys()

    def put_users(
        self, namespace: str, version: str, states: Iterable[tuple[str, UserState]], *, erasures: int = 0
    ) -> None:
        """See `OnlineStore.put_users`."""
        self._put(self._users, namespace, version, states, erasures)

    def has_users(self, namespace: str, version: str) -> bool:
        """See `OnlineStore.has_users`."""
        return (namespace, version) in self._users

    def user_state(self, namespace: str, version: str, user: str) -> UserState | None:
        """See `OnlineStore.user_state`."""
        packed = self._users.get((namespace, version), {}).get(user)
        return None if packed is None else UserState.from_bytes(packed)

    def put_lists(
        self, namespace: str, version: str, lists: Iterable[tuple[str, StoredList]], *, erasures: int = 0
    ) -> None:
        """See `OnlineStore.put_lists`."""
        self._put(self._lists, namespace, version, lists, erasures)

    def user_list(self, namespace: str, version: str, user: str) -> StoredList | None:
        """See `OnlineStore.user_list`."""
        packed = self._lists.get((namespace, version), {}).get(user)
        return None if packed is None else StoredList.from_bytes(packed)

    def drop_version(self, namespace: str, version: str) -> None:
        """See `OnlineStore.drop_version`."""
        with self._lock:
            self._users.pop((namespace, version), None)
            self._lists.pop((namespace, version), None)

    def append_events(self, namespace: str, events: Sequence[InteractionEvent]) -> int:
        """See `OnlineStore.append_events`."""
        with self._lock:
            known = self._event_ids.setdefault(namespace, set())
            erased = self.erasures_of(namespace, {one.user for one in events})
            new = []
            for one in not_older(events, erased):
                if one.event_id not in known:
                    known.add(one.event_id)
                    new.append(one)
            self._events.setdefault(namespace, []).extend(new)
            return len(new)

    def append_impressions(self, namespace: str, impressions: Sequence[ImpressionEvent]) -> int:
        """See `OnlineStore.append_impressions`."""
        with self._lock:
            known = self._impressions.setdefault(namespace, {})
            before = len(known)
            for one in not_older(impressions, self.erasures_of(namespace, {one.user for one in impressions})):
                known.setdefault(one.event_id, one)
            return len(known) - before

    def recent_events(
        self, namespace: str, user: str, *, after: int, through: int = NO_END, limit: int
    ) -> list[StoredEvent]:
        """See `OnlineStore.recent_events`."""
        events = enumerate(self._events.get(namespace, [])[after:through], after + 1)
        own = [StoredEvent(at, one) for at, one in events if one is not None and one.user == user]
        return own[-limit:] if limit else []

    def recent_items(self, namespace: str, user: str, *, after: int, through: int = NO_END) -> list[str]:
        """See `OnlineStore.recent_items`."""
        found = self.recent_events(namespace, user, after=after, through=through, limit=sys.maxsize)
        return list({one.event.item for one in found})

    def tally(self, namespace: str, *, after: int) -> Tally:
        """See `OnlineStore.tally`."""
        events = self._events.get(namespace, [])[after:]
        there = ((one.item, one.timestamp_s) for one in events if one is not None)
        return Tally(after + len(events), counted(there), [])

    def events_after(self, namespace: str, position: int, *, limit: int) -> list[StoredEvent]:
        """See `EventFeed.events_after`."""
        events = enumerate(self._events.get(namespace, [])[position:], position + 1)
        return [StoredEvent(at, one) for at, one in events if one is not None][:limit]

    def last_position(self, namespace: str) -> int:
        """See `EventFeed.last_position`."""
        return len(self._events.get(namespace, []))

    def impressions_after(self, namespace: str, position: int, *, limit: int) -> list[StoredImpression]:
        """See `EventFeed.impressions_after`."""
        shown = enumerate(list(self._impressions.get(namespace, {}).values())[position:], position + 1)
        return [StoredImpression(at, one) for at, one in shown if one is not None][:limit]

    def last_impression(self, namespace: str) -> int:
        """See `EventFeed.last_impression`."""
        return len(self._impressions.get(namespace, {}))

    def put_items(self, namespace: str, items: Mapping[str, Mapping[str, Any]]) -> None:
        """See `OnlineStore.put_items`."""
        self._change(namespace, {item: dict(one) for item, one in items.items()})

    def delete_items(self, namespace: str, items: Sequence[str]) -> None:
        """See `OnlineStore.delete_items`."""
        self._change(namespace, dict.fromkeys(items))

    def removed_items(self, namespace: str) -> list[str]:
        """See `OnlineStore.removed_items`."""
        with self._lock:
            return [one.item for one in self._items.get(namespace, {}).values() if one.metadata is None]

    def item_changes(self, namespace: str, after: int, *, limit: int) -> list[ItemChange]:
        """See `OnlineStore.item_changes`."""
        with self._lock:
            changes = [one for one in self._items.get(namespace, {}).values() if one.revision > after]
        return [one._replace(metadata=one.metadata and dict(one.metadata)) for one in changes[:limit]]

    def put_fields(self, namespace: str, fields: Mapping[str, str]) -> None:
        """See `OnlineStore.put_fields`."""
        with self._lock:
            self._heads[namespace] = self.catalogue_head(namespace)._replace(fields=dict(fields))

    def catalogue_head(self, namespace: str) -> CatalogueHead:
        """See `OnlineStore.catalogue_head`."""
        return self._heads.get(namespace, CatalogueHead())

    def user_and_head(self, namespace: str, version: str, user: str) -> tuple[UserState | None, CatalogueHead]:
        """See `OnlineStore.user_and_head`."""
        return self.user_state(namespace, version, user), self.catalogue_head(namespace)

    def all_items(self, namespace: str) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.all_items`."""
        with self._lock:
            known = sorted(self._items.get(namespace, {}))
        return self.item_metadata(namespace, known)

    def item_metadata(self, namespace: str, items: Sequence[str]) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.item_metadata`."""
        with self._lock:
            known = self._items.get(namespace, {})
            found = {item: known[item].metadata for item in items if item in known}
        return {item: dict(one) for item, one in found.items() if one is not None}

    def put_user_profiles(self, namespace: str, profiles: Mapping[str, Mapping[str, Any]]) -> None:
        """See `OnlineStore.put_user_profiles`."""
        with self._lock:
            is_erased = left_out(namespace, self.erasures(namespace))
            kept = {user: dict(one) for user, one in profiles.items() if not is_erased(user)}
            self._profiles.setdefault(namespace, {}).update(kept)

    def all_user_profiles(self, namespace: str) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.all_user_profiles`."""
        return {user: dict(one) for user, one in sorted(self._profiles.get(namespace, {}).items())}

    def held(self, namespace: str, user: str, *, limit: int) -> Held:
        """See `OnlineStore.held`."""
        events = [one.event for one in self.recent_events(namespace, user, after=0, limit=sys.maxsize)]
        return Held(dict(self._profiles.get(namespace, {}).get(user, {})), events[-limit:], len(events))

    def erase_user(self, namespace: str, user: str, *, versions: Collection[str]) -> Erased:
        """See `OnlineStore.erase_user`."""
        with self._lock:
            number, position = newest(self.erasures(namespace)) + 1, self.last_position(namespace)
            digest, of_namespace = digest_of(namespace, user), self._erasures.setdefault(namespace, {})
            of_namespace.pop(digest, None)
            of_namespace[digest] = Erasure(number, digest, position, time.time())
            events = self._events.get(namespace, [])
            theirs = [at for at, one in enumerate(events) if one is not None and one.user == user]
            for at in theirs:
                self._event_ids[namespace].discard(cast(InteractionEvent, events[at]).event_id)
                events[at] = None
            shown = self._impressions.get(namespace, {})
            shown |= {event_id: None for event_id, one in shown.items() if one is not None and one.user == user}
            tables = [*self._users.items(), *self._lists.items()]
            states = sum(of_version.pop(user, None) is not None for (ns, _), of_version in tables if ns == namespace)
            return Erased(len(theirs), states, self._profiles.get(namespace, {}).pop(user, None) is not None)

    def erasures(self, namespace: str) -> list[Erasure]:
        """See `OnlineStore.erasures`."""
        return list(self._erasures.get(namespace, {}).values())

    def erasures_of(self, namespace: str, users: Collection[str]) -> dict[str, Erasure]:
        """See `OnlineStore.erasures_of`."""
        known = self._erasures.get(namespace, {})
        found = {user: known.get(digest_of(namespace, user)) for user in users} if known else {}
        return {user: one for user, one in found.items() if one is not None}

    def purge(self) -> None:
        """See `OnlineStore.purge`."""

    def check(self) -> None:
        """See `OnlineStore.check`."""

    def close(self) -> None:
        """See `OnlineStore.close`."""

    def _put(
        self,
        table: dict[tuple[str, str], dict[str, bytes]],
        namespace: str,
        version: str,
        records: Iterable[tuple[str, UserState | StoredList]],
        erasures: int,
    ) -> None:
        packed = {user: one.to_bytes() for user, one in records}
        with self._lock:
            is_erased = left_out(namespace, self.erasures(namespace), erasures)
            kept = {user: one for user, one in packed.items() if not is_erased(user)}
            table.setdefault((namespace, version), {}).update(kept)

    def _change(self, namespace: str, items: Mapping[str, dict[str, Any] | None]) -> None:
        with self._lock:
            known, head = self._items.setdefault(namespace, {}), self.catalogue_head(namespace)
            for revision, (item, one) in enumerate(items.items(), head.revision + 1):
                known.pop(item, None)
                known[item] = ItemChange(revision, item, one)
            self._heads[namespace] = head._replace(revision=head.revision + len(items))
