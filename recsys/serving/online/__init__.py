"""What the server knows of a user right now: published state, newest events; and what items are called."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ArtifactError
from recsys.events import InteractionEvent
from recsys.serving.online.erasures import Erased, Erasure, Held
from recsys.serving.online.keys import KeyStore

if TYPE_CHECKING:
    from recsys.impressions import ImpressionEvent
    from recsys.serving.online.tally import Tally

_HEADER = struct.Struct("<4sI")
_SIZES = struct.Struct("<IIf")
_LENGTH = struct.Struct("<I")
_STATE, _LIST = b"RUS3", b"RUL1"
NO_END = 2**63 - 1
"""A position that no event is beyond."""


class UserState(NamedTuple):
    """A user as published with one version.

    Parameters
    ----------
    vector : ndarray of shape (d,), float32
    items : ndarray of shape (n,), int32
        Item rows of the user's raw events in the training data, oldest first, repeats included.
    weights : ndarray of shape (n,), float32
        Raw weights of these events.
    bias : float
        What a prediction has of the user alone; a float32.
    """

    vector: NDArray[np.float32]
    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    bias: float = 0.0

    def to_bytes(self) -> bytes:
        """Packed little-endian form, with a CRC-32."""
        arrays = (self.vector.astype("<f4"), self.items.astype("<i4"), self.weights.astype("<f4"))
        return _packed(_STATE, _SIZES.pack(len(self.vector), len(self.items), self.bias), *arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> UserState:
        """Unpack; `ArtifactError` if the bytes are not a user state."""
        body = _unpacked(_STATE, _SIZES, data, "user state", "publish")
        width, n_items, bias = _SIZES.unpack_from(body)
        start = _SIZES.size
        if len(body) != start + 4 * (width + 2 * n_items):
            raise ArtifactError("a stored user state is damaged")
        vector = np.frombuffer(body, "<f4", width, start)
        items = np.frombuffer(body, "<i4", n_items, start + 4 * width)
        return cls(vector, items, np.frombuffer(body, "<f4", n_items, start + 4 * (width + n_items)), bias)


class StoredList(NamedTuple):
    """A user's list, made by a batch job from one version and what that knew of the user.

    Parameters
    ----------
    items : ndarray of shape (n,), int32
        Item rows of the version, best first.
    scores : ndarray of shape (n,), float32
    strategy : str
        Where the scores come from, as of `RankedList`.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    strategy: str

    def to_bytes(self) -> bytes:
        """Packed little-endian form, with a CRC-32."""
        arrays = (self.items.astype("<i4"), self.scores.astype("<f4"), np.frombuffer(self.strategy.encode(), np.uint8))
        return _packed(_LIST, _LENGTH.pack(len(self.items)), *arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> StoredList:
        """Unpack; `ArtifactError` if the bytes are not a list."""
        body = _unpacked(_LIST, _LENGTH, data, "list", "score --to-store")
        (n,) = _LENGTH.unpack_from(body)
        start = _LENGTH.size
        if len(body) < start + 8 * n:
            raise ArtifactError("a stored list is damaged")
        items, scores = np.frombuffer(body, "<i4", n, start), np.frombuffer(body, "<f4", n, start + 4 * n)
        return cls(items, scores, bytes(body[start + 8 * n :]).decode())


class StoredEvent(NamedTuple):
    """An event with its place in the order of arrival: positions rise and are never used twice."""

    position: int
    event: InteractionEvent


class StoredImpression(NamedTuple):
    """An impression with its place in their order of arrival, which is not that of the events."""

    position: int
    impression: ImpressionEvent


class CatalogueHead(NamedTuple):
    """What a request looks at first: whether the catalogue is still as it was read.

    Parameters
    ----------
    revision : int
        That of the newest change of an item; 0 where nothing was ever said of one.
    fields : mapping of str to str
        Kind of each declared field by its name, as `recsys.serving.fields` has them.
    """

    revision: int = 0
    fields: Mapping[str, str] = {}


class ItemChange(NamedTuple):
    """What is known of an item from a revision on; None as metadata where it was taken out of the catalogue."""

    revision: int
    item: str
    metadata: dict[str, Any] | None


class OnlineStore(Protocol):
    """User states and lists by (namespace, version, user), events by arrival, item metadata. Raises `StorageError`."""

    def put_users(
        self, namespace: str, version: str, states: Iterable[tuple[str, UserState]], *, erasures: int = 0
    ) -> None:
        """Store or overwrite the states of a version, all of those it has.

        Users erased after the first `erasures` erasures, those its training knew of, are left out.
        """

    def has_users(self, namespace: str, version: str) -> bool:
        """Whether the states of a version were stored to the end, and not dropped since."""

    def user_state(self, namespace: str, version: str, user: str) -> UserState | None:
        """Return a user's state in a version, None if the version does not know the user."""

    def put_lists(
        self, namespace: str, version: str, lists: Iterable[tuple[str, StoredList]], *, erasures: int = 0
    ) -> None:
        """Store or overwrite the lists a version gives its users; users are left out as of `put_users`."""

    def user_list(self, namespace: str, version: str, user: str) -> StoredList | None:
        """Return a user's list of a version, None if no job stored one."""

    def drop_version(self, namespace: str, version: str) -> None:
        """Remove the user states and lists of a version; nothing happens if there are none."""

    def append_events(self, namespace: str, events: Sequence[InteractionEvent]) -> int:
        """Store events durably, all or none; return how many were new. A known `event_id` changes nothing.

        Nor does an event of before the erasure of its user.
        """

    def append_impressions(self, namespace: str, impressions: Sequence[ImpressionEvent]) -> int:
        """Store impressions durably, on their way to the log, where an `event_id` counts once; all or none.

        Return how many were new, as far as the store knows. They are no events: nothing else here tells of them.
        """

    def recent_events(
        self, namespace: str, user: str, *, after: int, through: int = NO_END, limit: int
    ) -> list[StoredEvent]:
        """Return a user's newest events beyond a position and up to another, at most `limit`, oldest first."""

    def recent_items(self, namespace: str, user: str, *, after: int, through: int = NO_END) -> list[str]:
        """Return the distinct items of all events of a user between such positions, in no particular order."""

    def tally(self, namespace: str, *, after: int) -> Tally:
        """Return how often items came up in the events of all users beyond a position."""

    def put_items(self, namespace: str, items: Mapping[str, Mapping[str, Any]]) -> None:
        """Store or replace item metadata, all or none; each item gets a revision of its own, above all before it."""

    def delete_items(self, namespace: str, items: Sequence[str]) -> None:
        """Take items out of the catalogue, all or none, until they are put again; a revision each, as of `put_items`.

        Items that only a model knows are taken out as well.
        """

    def removed_items(self, namespace: str) -> list[str]:
        """Return the items that were deleted and not put again, in no particular order."""

    def item_changes(self, namespace: str, after: int, *, limit: int) -> list[ItemChange]:
        """Return what changed beyond a revision, oldest first: all there is to know up to the last one returned.

        An item is what it is now, at the revision of its newest change; one that changes meanwhile comes once more.
        At most `limit`, unless the store has nothing but the whole; none where nothing changed.
        """

    def put_fields(self, namespace: str, fields: Mapping[str, str]) -> None:
        """Declare the fields of the items, in place of those declared before."""

    def catalogue_head(self, namespace: str) -> CatalogueHead:
        """Return the newest revision that was acknowledged, or a newer one, and the declared fields."""

    def user_and_head(self, namespace: str, version: str, user: str) -> tuple[UserState | None, CatalogueHead]:
        """Return `user_state` and `catalogue_head`, by one read where the store can."""

    def all_items(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Return the metadata of all items that are not deleted, by item in ascending order: what is trained on."""

    def item_metadata(self, namespace: str, items: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what is known of those of the given items that are in the catalogue."""

    def put_user_profiles(self, namespace: str, profiles: Mapping[str, Mapping[str, Any]]) -> None:
        """Store or replace what is known of users, all or none; nothing of those who were erased."""

    def all_user_profiles(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Return what is known of all users, by user in ascending order: what a model is trained on."""

    @property
    def keys(self) -> KeyStore:
        """The keys of those who may ask."""

    def held(self, namespace: str, user: str, *, limit: int) -> Held:
        """Return profile and newest events of a user."""

    def erase_user(self, namespace: str, user: str, *, versions: Collection[str]) -> Erased:
        """Leave a tombstone, then remove states, lists, events and profile of a user.

        From the tombstone on no state or list of before is read, and none comes back. A call that failed, or whose
        process ended, is completed by the same call; it erases what came since as well. `versions` are those that may
        have states or lists, where the store cannot tell.
        """

    def erasures(self, namespace: str) -> list[Erasure]:
        """Return the newest erasure of every user who was erased, by number."""

    def erasures_of(self, namespace: str, users: Collection[str]) -> dict[str, Erasure]:
        """Return the newest erasures of those of some users who were erased."""

    def purge(self) -> None:
        """Empty what the store itself keeps of what was removed, as a write-ahead log."""

    def check(self) -> None:
        """Raise `StorageError` if the store cannot be read."""

    def close(self) -> None:
        """Give connections back; the next call opens them again."""


@runtime_checkable
class EventFeed(Protocol):
    """An online store whose events a job copies into the event log; one that has a queue needs no feed."""

    def events_after(self, namespace: str, position: int, *, limit: int) -> list[StoredEvent]:
        """Return events of all users beyond a position in order of arrival."""

    def last_position(self, namespace: str) -> int:
        """Return a position no event of the namespace is beyond, 0 in a new store; removing events never lowers it."""

    def impressions_after(self, namespace: str, position: int, *, limit: int) -> list[StoredImpression]:
        """Return impressions beyond a position in order of arrival."""

    def last_impression(self, namespace: str) -> int:
        """See `last_position`; of impressions."""


POSITIONS_A_SECOND = 1_000_000 << 11
"""Positions of events that go through an `EventQueue` are times: so many to a second."""


class EventQueue(Protocol):
    """On the way to the event log: at least once, in any order; the log knows an event by its id."""

    def send(self, namespace: str, events: Sequence[StoredEvent]) -> None:
        """Hand events over durably; after a `StorageError` any of them may have arrived, and all can be sent again."""

    def send_impressions(self, namespace: str, impressions: Sequence[ImpressionEvent]) -> None:
        """Hand impressions over as `send` does events."""

    def check(self) -> None:
        """Raise `StorageError` if the queue cannot be reached."""

    def close(self) -> None:
        """Give connections back; the next call opens them again."""


def _packed(magic: bytes, sizes: bytes, *arrays: NDArray[Any]) -> bytes:
    body = sizes + b"".join(one.tobytes() for one in arrays)
    return _HEADER.pack(magic, zlib.crc32(body)) + body


def _unpacked(magic: bytes, sizes: struct.Struct, data: bytes, what: str, remedy: str) -> memoryview:
    """Return the body of what `_packed` made, long enough for its sizes; `ArtifactError` if it is anything else."""
    if len(data) < _HEADER.size + sizes.size:
        raise ArtifactError(f"a stored {what} is truncated")
    found, checksum = _HEADER.unpack_from(data)
    if found != magic and found[:3] == magic[:3]:
        raise ArtifactError(f"a stored {what} is in the form of another release. Run: recsys {remedy}")
    body = memoryview(data)[_HEADER.size :]
    if found != magic or checksum != zlib.crc32(body):
        raise ArtifactError(f"a stored {what} is damaged")
    return body
