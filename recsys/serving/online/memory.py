"""The online store in memory: for notebooks and tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

from recsys.events import InteractionEvent
from recsys.serving.online import CatalogueHead, ItemChange, StoredEvent, StoredList, UserState
from recsys.serving.online.keys import MemoryKeys


class MemoryOnlineStore:
    """See `OnlineStore` and `EventFeed`; gone with the process."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, str], dict[str, bytes]] = {}
        self._lists: dict[tuple[str, str], dict[str, bytes]] = {}
        self._events: dict[str, list[InteractionEvent]] = {}
        self._event_ids: dict[str, set[str]] = {}
        self._items: dict[str, dict[str, ItemChange]] = {}  # oldest change first
        self._heads: dict[str, CatalogueHead] = {}
        self._profiles: dict[str, dict[str, dict[str, Any]]] = {}
        self._lock = Lock()
        self.keys = MemoryKeys()

    def put_users(self, namespace: str, version: str, states: Iterable[tuple[str, UserState]]) -> None:
        """See `OnlineStore.put_users`."""
        packed = {user: state.to_bytes() for user, state in states}
        with self._lock:
            self._users.setdefault((namespace, version), {}).update(packed)

    def user_state(self, namespace: str, version: str, user: str) -> UserState | None:
        """See `OnlineStore.user_state`."""
        packed = self._users.get((namespace, version), {}).get(user)
        return None if packed is None else UserState.from_bytes(packed)

    def put_lists(self, namespace: str, version: str, lists: Iterable[tuple[str, StoredList]]) -> None:
        """See `OnlineStore.put_lists`."""
        packed = {user: one.to_bytes() for user, one in lists}
        with self._lock:
            self._lists.setdefault((namespace, version), {}).update(packed)

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
            new = []
            for one in events:
                if one.event_id not in known:
                    known.add(one.event_id)
                    new.append(one)
            self._events.setdefault(namespace, []).extend(new)
            return len(new)

    def recent_events(self, namespace: str, user: str, *, after: int, limit: int) -> list[InteractionEvent]:
        """See `OnlineStore.recent_events`."""
        return [one for one in self._events.get(namespace, [])[after:] if one.user == user][-limit:] if limit else []

    def recent_items(self, namespace: str, user: str, *, after: int) -> list[str]:
        """See `OnlineStore.recent_items`."""
        return list({one.item for one in self._events.get(namespace, [])[after:] if one.user == user})

    def events_after(self, namespace: str, position: int, *, limit: int) -> list[StoredEvent]:
        """See `EventFeed.events_after`."""
        events = self._events.get(namespace, [])[position : position + limit]
        return [StoredEvent(at, one) for at, one in enumerate(events, position + 1)]

    def last_position(self, namespace: str) -> int:
        """See `EventFeed.last_position`."""
        return len(self._events.get(namespace, []))

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
            self._profiles.setdefault(namespace, {}).update({user: dict(one) for user, one in profiles.items()})

    def all_user_profiles(self, namespace: str) -> dict[str, dict[str, Any]]:
        """See `OnlineStore.all_user_profiles`."""
        return {user: dict(one) for user, one in sorted(self._profiles.get(namespace, {}).items())}

    def check(self) -> None:
        """See `OnlineStore.check`."""

    def close(self) -> None:
        """See `OnlineStore.close`."""

    def _change(self, namespace: str, items: Mapping[str, dict[str, Any] | None]) -> None:
        with self._lock:
            known, head = self._items.setdefault(namespace, {}), self.catalogue_head(namespace)
            for revision, (item, one) in enumerate(items.items(), head.revision + 1):
                known.pop(item, None)
                known[item] = ItemChange(revision, item, one)
            self._heads[namespace] = head._replace(revision=head.revision + len(items))
