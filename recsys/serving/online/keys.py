"""API keys as a store holds them: what each may do and how often, and what was asked with it.

A store never has a secret, only the SHA-256 of it: secrets have 256 random bits, so that no slower hash is needed.
A key is never removed, only revoked: a server that once had keys never opens again.
"""

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any, NamedTuple, Protocol

from recsys.errors import ArtifactError, ConflictError

EVERY = "*"
"""In the place of a namespace: all of them."""


class ApiKey(NamedTuple):
    """A key, as it is stored.

    Parameters
    ----------
    key_id : str
    sha256 : str
        Of the secret, in hexadecimal digits.
    scopes : tuple of str
        Of ``read``, ``write`` and ``admin``; none of them holds another.
    namespaces : tuple of str
        Names, or `EVERY`.
    rate, burst : float, int
        Requests a second, and at once; a rate of 0 sets no bound.
    created_at : str
        ISO 8601.
    note : str
    revoked : bool
    """

    key_id: str
    sha256: str
    scopes: tuple[str, ...]
    namespaces: tuple[str, ...]
    rate: float = 0.0
    burst: int = 0
    created_at: str = ""
    note: str = ""
    revoked: bool = False

    def to_record(self) -> dict[str, Any]:
        """Return what is written as JSON."""
        return self._asdict()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ApiKey":
        """Read what `to_record` returned; `ArtifactError` if it is anything else."""
        try:
            key = cls(**{**record, "scopes": tuple(record["scopes"]), "namespaces": tuple(record["namespaces"])})
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"a stored key is damaged: {error}") from error
        return key


class Usage(NamedTuple):
    """Requests of a key on a day (UTC, ISO 8601) by the class of their status: ``{"2xx": 31, "4xx": 2}``."""

    day: str
    key_id: str
    counts: Mapping[str, int]


class KeyStore(Protocol):
    """The keys of an online store. Raises `StorageError`, and `ArtifactError` for records that are damaged."""

    def revision(self) -> str:
        """Return what differs after every change of a key; empty where there never was one."""

    def all(self) -> list[ApiKey]:
        """Return all keys by id, revoked ones too, as they are after every change that was acknowledged."""

    def add(self, key: ApiKey) -> None:
        """Store a new key; `ConflictError` if its id is taken."""

    def revoke(self, key_id: str) -> bool:
        """Revoke a key; False if there is no such key."""

    def change_bucket(self, key_id: str, change: Callable[[float], float]) -> None:
        """Replace a number of a key, 0 at first, by `change` of it, whatever other processes do meanwhile.

        `change` may be called several times; the last call counts.
        """

    def put_usage(self, process: str, rows: Iterable[Usage]) -> None:
        """Store what a process counted so far, in place of what it stored before of the same days and keys."""

    def usage(self, since: str) -> list[Usage]:
        """Return the sums over all processes by day and key from a day on, oldest first."""


def summed(rows: Iterable[Usage]) -> list[Usage]:
    """Add up the counts of processes by day and key."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for one in rows:
        counts = found.setdefault((one.day, one.key_id), {})
        for status, count in one.counts.items():
            counts[status] = counts.get(status, 0) + count
    return [Usage(*whose, dict(sorted(counts.items()))) for whose, counts in sorted(found.items())]


class MemoryKeys:
    """See `KeyStore`; gone with the process."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}
        self._buckets: dict[str, float] = {}
        self._usage: dict[tuple[str, str, str], Usage] = {}
        self._lock = Lock()

    def revision(self) -> str:
        """See `KeyStore.revision`."""
        return str(len(self._keys) + sum(one.revoked for one in self.all()) or "")

    def all(self) -> list[ApiKey]:
        """See `KeyStore.all`."""
        with self._lock:
            return [self._keys[key_id] for key_id in sorted(self._keys)]

    def add(self, key: ApiKey) -> None:
        """See `KeyStore.add`."""
        with self._lock:
            if key.key_id in self._keys:
                raise taken(key)
            self._keys[key.key_id] = key

    def revoke(self, key_id: str) -> bool:
        """See `KeyStore.revoke`."""
        with self._lock:
            if key_id in self._keys:
                self._keys[key_id] = self._keys[key_id]._replace(revoked=True)
            return key_id in self._keys

    def change_bucket(self, key_id: str, change: Callable[[float], float]) -> None:
        """See `KeyStore.change_bucket`."""
        with self._lock:
            self._buckets[key_id] = change(self._buckets.get(key_id, 0.0))

    def put_usage(self, process: str, rows: Iterable[Usage]) -> None:
        """See `KeyStore.put_usage`."""
        with self._lock:
            self._usage |= {(process, one.day, one.key_id): one for one in rows}

    def usage(self, since: str) -> list[Usage]:
        """See `KeyStore.usage`."""
        with self._lock:
            return summed(one for one in self._usage.values() if one.day >= since)


def taken(key: ApiKey) -> ConflictError:
    """Return what a store says that has a key of this id."""
    return ConflictError(f"there is a key {key.key_id} already. Add another")
