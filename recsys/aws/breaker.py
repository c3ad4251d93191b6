"""`Breaker`: keeps callers from waiting, one after the other, for a service that does not answer."""

from __future__ import annotations

import threading
import time
from typing import Any

from recsys.aws.client import UNREACHABLE, AwsError, Client

_LONG_S = 1.0
_PAUSE_S = 3.0


class Breaker:
    """A circuit breaker around a client of the service; see `Client`.

    After a call that waited a second or more for no answer, others fail at once. Every three seconds one goes through,
    and with the first that is answered, be it by a refusal, all do. A service that refuses quickly is asked every time.

    Parameters
    ----------
    client : Client
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._open_until_s: float | None = None

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """See `Client.call`."""
        self._enter(operation)
        began_s = time.monotonic()
        try:
            answer = self._client.call(operation, **parameters)
        except AwsError as error:
            waited_s = time.monotonic() - began_s
            in_vain = error.code == UNREACHABLE and waited_s >= _LONG_S
            self._open_until_s = time.monotonic() + _PAUSE_S if in_vain else None
            raise
        self._open_until_s = None
        return answer

    def close(self) -> None:
        """See `Client.close`."""
        self._client.close()

    def _enter(self, operation: str) -> None:
        with self._lock:
            if self._open_until_s is None:
                return
            if time.monotonic() < self._open_until_s:
                raise AwsError(operation, UNREACHABLE, "there was no answer to the call before")
            self._open_until_s = time.monotonic() + _PAUSE_S  # this call finds out for all others
