"""Tokens (JWT) of an identity provider, checked against the keys it publishes (JWKS).

RS256 and ES256 alone: with HS256 whoever knows the public key could sign. PyJWT, of the extra ``jwt``, is imported with
the first token.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chalicelib.auth import STALE_S, Who, refused
from recsys.errors import ConfigError, StorageError

ALGORITHMS = ["RS256", "ES256"]
REFRESH_S = 300.0
ASKED_S = 10.0
"""Between two looks at the JWKS for a key it did not have."""
_LEEWAY_S = 10.0
_LARGEST = 256 * 1024
_NEEDED = ("RECSYS_JWT_ISSUER", "RECSYS_JWT_AUDIENCE")


class Tokens:
    """Tells who a token is of.

    Parameters
    ----------
    source : str
        ``file:PATH``, or a URL of https, or of http on loopback.
    issuer, audience : str
        Of the tokens that are taken.
    """

    def __init__(self, source: str, issuer: str, audience: str) -> None:
        url = urlsplit(source)
        if url.scheme not in ("file", "https") and (url.scheme, url.hostname) != ("http", "127.0.0.1"):
            raise ConfigError(
                f"RECSYS_JWKS={source!r} cannot be used: it is file:PATH, https://... or http://127.0.0.1/"
            )
        self._source, self._issuer, self._audience = source, issuer, audience
        self._lock = threading.Lock()
        self._keys: dict[str | None, Any] = {}
        self._looked_s = self._read_s = float("-inf")

    @classmethod
    def from_environment(cls) -> Tokens:
        """Read RECSYS_JWKS, RECSYS_JWT_ISSUER and RECSYS_JWT_AUDIENCE; `ConfigError` if one is missing."""
        if missing := [name for name in _NEEDED if not os.environ.get(name)]:
            raise ConfigError(f"RECSYS_JWKS is set, and {' and '.join(missing)} is not. Tokens are checked against it")
        return cls(os.environ["RECSYS_JWKS"], *(os.environ[name] for name in _NEEDED))

    def who(self, token: str) -> Who:
        """Return who a token is of.

        Raises
        ------
        Problem
            401 unless it is signed, meant for us, of our issuer and of this time, and says scopes and namespaces.
        StorageError
            If its key is not known and the JWKS cannot be read.
        """
        try:
            import jwt
        except ImportError:
            raise refused("tokens are not taken here", log="PyJWT is missing. Run: pip install 'recsys[jwt]'") from None
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            options = {"require": ["exp", "iss", "aud"]}
            claims = jwt.decode(
                token, key, ALGORITHMS, options, audience=self._audience, issuer=self._issuer, leeway=_LEEWAY_S
            )
        except jwt.PyJWTError:
            raise refused("the token is not valid") from None
        scope, namespaces = claims.get("scope", ""), claims.get("namespaces", [])
        namespaces = [namespaces] if isinstance(namespaces, str) else namespaces
        if not isinstance(scope, str) or not isinstance(namespaces, list):
            raise refused("the token does not say scope and namespaces")
        return Who(tuple(scope.split()), tuple(one for one in namespaces if isinstance(one, str)))

    def _key(self, kid: str | None) -> Any:
        """Return the key of an id; where tokens name none, the only one."""
        import jwt

        if kid not in self._keys or time.monotonic() - self._looked_s >= REFRESH_S:
            with self._lock:  # who has a known key does not wait while a made-up one is looked for
                if time.monotonic() - self._looked_s >= (REFRESH_S if kid in self._keys else ASKED_S):
                    self._read()
        if time.monotonic() - self._read_s > STALE_S:
            raise StorageError(f"the JWKS could not be read for {STALE_S:.0f} s")
        key = self._keys.get(kid)
        if key is None:
            if self._read_s < self._looked_s:
                raise StorageError("the JWKS cannot be read")
            raise jwt.InvalidTokenError("an unknown key")
        return key

    def _read(self) -> None:
        import jwt

        self._looked_s = time.monotonic()
        try:
            keys = jwt.PyJWKSet.from_dict(json.loads(self._fetched())).keys
        except (OSError, ValueError, TypeError, AttributeError, RecursionError, jwt.PyJWTError):
            return
        self._keys = {one.key_id: one for one in keys} | ({None: keys[0]} if len(keys) == 1 else {})
        self._read_s = self._looked_s

    def _fetched(self) -> bytes:
        if self._source.startswith("file:"):
            return Path(self._source.removeprefix("file:").removeprefix("//")).read_bytes()
        from urllib.request import HTTPRedirectHandler, build_opener

        class Direct(HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                """Go nowhere else: not from https to http."""

        with build_opener(Direct).open(self._source, timeout=2.0) as answer:
            return answer.read(_LARGEST)
