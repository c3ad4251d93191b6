"""Who was erased, and what of them is older: a tombstone outlives what it stands for, and names nobody."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from recsys.events import InteractionEvent
    from recsys.impressions import ImpressionEvent

Told = TypeVar("Told", "InteractionEvent", "ImpressionEvent")


class Erasure(NamedTuple):
    """The newest erasure of a user.

    Parameters
    ----------
    number : int
        1, 2, 3, ... within the namespace: a version that was trained after it tells so by this number.
    digest : str
        Of the user, as `digest_of` makes it: without it nobody could keep them out.
    position : int
        Of the last event before it.
    at_s : float
        UTC seconds.
    """

    number: int
    digest: str
    position: int
    at_s: float

    def covers(self, position: int | None, timestamp_s: float | None) -> bool:
        """Whether an event of the user was before it, by its place in the order of arrival or its own time.

        One of which neither is known cannot be shown to be newer.
        """
        if position is not None and position <= self.position:
            return True
        return timestamp_s <= self.at_s if timestamp_s is not None else position is None


class Erased(NamedTuple):
    """What a store removed: events and states by their number, and whether there was a profile."""

    events: int
    states: int
    profile: bool


class Held(NamedTuple):
    """What a store holds of a user, apart from models: the newest events, oldest first, and how many there are."""

    profile: dict[str, Any]
    events: "list[InteractionEvent]"
    total: int


def digest_of(namespace: str, user: str) -> str:
    """Return what stands for a user in a tombstone."""
    return hashlib.sha256(f"{namespace}\0{user}".encode()).hexdigest()


def left_out(namespace: str, erasures: Iterable[Erasure], known: int = 0) -> Callable[[str], bool]:
    """Return whether a user is one of those erased after the first `known` erasures."""
    digests = {one.digest for one in erasures if one.number > known}
    return lambda user: bool(digests) and digest_of(namespace, user) in digests


def not_older(told: Sequence[Told], erased: Mapping[str, Erasure]) -> list[Told]:
    """Return events or impressions but those of before the erasure of their user."""
    return [one for one in told if one.user not in erased or not erased[one.user].covers(None, one.timestamp_s)]


def newest(erasures: Sequence[Erasure]) -> int:
    """Return the number of the last erasure, 0 if there was none."""
    return max((one.number for one in erasures), default=0)
