"""Who asks, and what they may: API keys from the online store, tokens (JWT), and how often.

Within the app and not in a Lambda authorizer: a second function is a second cold start and nearly twice the price, and
the gateway would keep its word for minutes after a key was revoked.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from chalicelib.responses import Problem
from recsys.errors import ArtifactError, ConfigError, StorageError

if TYPE_CHECKING:
    from chalicelib.limits import Limits
    from chalicelib.tokens import Tokens
    from recsys.serving.online.keys import ApiKey, KeyStore

REFRESH_S = 1.0
"""How old what a process knows of keys may be: so long a revoked key still works, and a new one does not yet."""
STALE_S = 3600.0
"""How long keys go on working while the store is out of reach."""
MODES = ("", "required", "open")
_KEY = "rs_([0-9a-f]{12})_([0-9a-f]{64})"  # compiled when the first one comes
_LONGEST = 8192
_UNREAD = "?"
"""No revision of a store."""
CHALLENGE = {"WWW-Authenticate": 'ApiKey realm="recsys", Bearer realm="recsys"'}


class Who(NamedTuple):
    """Somebody who may ask: what they are granted; the key, which a token has none of."""

    scopes: tuple[str, ...]
    namespaces: tuple[str, ...]
    key: ApiKey | None = None

    def may_see(self, namespace: str) -> bool:
        """Whether a namespace is granted."""
        return namespace in self.namespaces or "*" in self.namespaces


class Keyring:
    """The keys of a store as this process knows them, all of them: who made an id up costs no look at the store.

    Parameters
    ----------
    store : KeyStore
    refresh_s, stale_s : float
    """

    def __init__(self, store: KeyStore, *, refresh_s: float = REFRESH_S, stale_s: float = STALE_S) -> None:
        self._store, self.refresh_s, self._stale_s = store, refresh_s, stale_s
        self._lock = threading.Lock()
        self._revision: str | None = None
        self._keys: dict[str, ApiKey] = {}
        self._looked_s = self._read_s = float("-inf")
        self.failed = self._closed = False

    @property
    def is_empty(self) -> bool:
        """Whether there never was a key; `StorageError` as of `find`."""
        self._look()
        if self._revision is None:
            raise StorageError("the keys cannot be read")
        return not self._closed

    def find(self, key_id: str, sha256: str) -> ApiKey | None:
        """Return a key that is not revoked, by id and hash; `StorageError` where none was read for too long."""
        if self.is_empty:
            return None
        if self.failed and time.monotonic() - self._read_s > self._stale_s:
            raise StorageError(f"the keys could not be read for {self._stale_s:.0f} s")
        return self._keys.get(key_id + sha256)

    def _look(self) -> None:
        """Read the revision once in a while, and the keys where it is another; one thread does it for all."""
        if time.monotonic() - self._looked_s < self.refresh_s or not self._lock.acquire(self._revision is None):
            return
        try:
            if time.monotonic() - self._looked_s >= self.refresh_s:
                self._read()
        finally:
            self._lock.release()

    def _read(self) -> None:
        """Read all keys at first, as somebody waits for it; later the revision, and all keys where it is another."""
        began_s = time.monotonic()
        try:
            revision = _UNREAD if self._revision is None else self._store.revision()
            if revision != self._revision:
                found = self._store.all()  # none at all where there never was one
                self._keys = {one.key_id + one.sha256: one for one in found if not one.revoked}
                self._revision, self._closed = revision if found else "", self._closed or bool(found)
            self._read_s, self.failed = began_s, False
        except (StorageError, ArtifactError):
            self.failed = True
        self._looked_s = time.monotonic()


class Gate:
    """Lets requests in.

    Parameters
    ----------
    store : KeyStore
    mode : str
        Of RECSYS_AUTH: ``required``; ``open`` lets everybody in, whatever keys there are; else everybody as long as
        there never was a key and no tokens are taken.
    tokens : Tokens, optional
        Where tokens are taken.
    """

    def __init__(self, store: KeyStore, mode: str = "", tokens: Tokens | None = None) -> None:
        self.keyring, self.mode = Keyring(store), mode
        self._store, self._tokens, self._limits = store, tokens, None
        self._making = threading.Lock()

    @classmethod
    def from_environment(cls, store: KeyStore) -> Gate:
        """Read RECSYS_AUTH and RECSYS_JWKS; `ConfigError` if they cannot be used."""
        mode = os.environ.get("RECSYS_AUTH", "")
        if mode not in MODES:
            raise ConfigError(f"RECSYS_AUTH={mode!r} cannot be used: it is required or open, or not set")
        if not os.environ.get("RECSYS_JWKS"):
            return cls(store, mode)
        from chalicelib.tokens import Tokens

        return cls(store, mode, Tokens.from_environment())

    @property
    def is_open(self) -> bool:
        """Whether everybody is let in; `StorageError` if nobody can tell."""
        if self.mode or self._tokens:
            return self.mode == "open"
        return self.keyring.is_empty

    def who(self, headers: Mapping[str, str]) -> Who | None:
        """Return who asks; None where everybody may.

        Raises
        ------
        Problem
            401 for a credential that is missing or wrong.
        StorageError
            If the store is out of reach, for every credential that is not among those known so far.
        """
        if self.is_open:
            return None
        key, authorization = headers.get("x-api-key"), headers.get("authorization")
        if key is not None:
            return self._of_key(key)
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and self._tokens and len(token) <= _LONGEST:
            return self._tokens.who(token.strip())
        raise refused("this needs a key, as x-api-key, or a token, as Authorization: Bearer")

    def check(self, who: Who | None, scope: str, namespace: str | None) -> None:
        """Let somebody who asks use a route, or raise `Problem`: 429 beyond the rate of the key, 403 without the scope.

        A route without a namespace tells of all of them, and takes a key for all.
        """
        if who is None:
            return
        if who.key and who.key.rate and (wait_s := self.limits.take(who.key)):
            raise Problem(429, "this key asks too often", headers={"Retry-After": str(wait_s)})
        if scope not in who.scopes:
            raise Problem(403, f"this credential lacks the scope {scope}")
        if namespace is None and not who.may_see("*"):
            raise Problem(403, "this credential is not for all namespaces")

    def answered(self, who: Who | None, status: int) -> None:
        """Count an answer."""
        if who and who.key:
            self.limits.count(who.key, status)

    def close(self) -> None:
        """Store what was counted."""
        if self._limits:
            self._limits.flush()

    @property
    def limits(self) -> Limits:
        """What counts requests, made for the first key."""
        with self._making:
            if self._limits is None:
                from chalicelib.limits import Limits

                self._limits = Limits(self._store)
            return self._limits

    def _of_key(self, text: str) -> Who:
        """Find a key by its id and the hash of its secret: a made-up id and a wrong secret are the same miss.

        Nothing is compared that a client could approach byte by byte: the hash of a guess says nothing of the next.
        """
        from hashlib import sha256

        parsed = re.fullmatch(_KEY, text)
        key_id, secret = parsed.groups() if parsed else ("", "")
        key = self.keyring.find(key_id, sha256(secret.encode()).hexdigest())
        if key is None:
            if self.keyring.failed:
                raise StorageError("a key cannot be looked up")
            raise refused("the key is not valid")
        return Who(key.scopes, key.namespaces, key)


def refused(reason: str, *, log: str | None = None) -> Problem:
    """Return the problem of a credential that is missing or wrong."""
    return Problem(401, reason, headers=CHALLENGE, log=log)
