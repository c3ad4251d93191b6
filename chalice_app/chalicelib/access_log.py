"""What the line of a request says. Keys, tokens, users, items and whatever else a client made up stay out of it.

Why not AWS Lambda Powertools (3.37.0, logger and metrics)? To import them takes 15.1 ms of processor time where all
that this app imports takes 118.4 (medians of 21 fresh processes, imported after the app). With jmespath and
typing_extensions they add 586 kB to the package, 2.0 MB unpacked. They write one line for the log and another for the
metrics, in 71 microseconds where `recsys.telemetry` takes 13 for one that is both. And a process has one set of
metrics, in which one thread finds what another added. As middleware of Chalice they leave its own error log as it is,
text of many lines that quotes a user id in a KeyError, and what a line says of lists and models would be ours to write
all the same.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime
from threading import local
from typing import TYPE_CHECKING

from chalice.app import Request

from recsys.serving.searches import POPULAR
from recsys.telemetry import (
    COLD_START,
    DEGRADED,
    FALLBACK,
    LATENCY,
    MODEL_AGE,
    cause,
    emit,
    is_cold,
    milliseconds_since,
    traces,
)

if TYPE_CHECKING:
    from chalicelib.auth import Who
    from recsys.serving import RankedList, ScoredItems
    from recsys.serving.because import Rows

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
PERSONAL = "/recommendations"
"""End of the routes that never ask for popular items: there they are the fallback."""


class Noted(local):
    """What comes up while a thread works on a request."""

    began_s: float = 0.0
    cold: bool = False
    found: RankedList | ScoredItems | Rows | None = None
    error: str | None = None
    who: Who | None = None

    def begin(self) -> None:
        """Forget the request before."""
        self.began_s, self.cold, self.found, self.error = time.perf_counter(), is_cold(), None, None
        self.who = None


class Causes(logging.Handler):
    """Takes what is logged during a request, Chalice's own errors too, into the line of that request."""

    def __init__(self, noted: Noted) -> None:
        super().__init__(logging.ERROR)
        self._noted = noted

    def emit(self, record: logging.LogRecord) -> None:
        """Note the cause; the message of a record may quote what a client sent."""
        error = record.exc_info[1] if record.exc_info else None
        self._noted.error = cause(error) if error else str(record.msg)


def log_request(noted: Noted, request: Request | None, request_id: str, status: int) -> None:
    """Write the line of an answered request."""
    found, route = noted.found, request.path if request else ""
    metrics = {LATENCY: milliseconds_since(noted.began_s), COLD_START: int(noted.cold)}
    properties: dict[str, str | int | None] = {"request_id": request_id, "status": status, "error": noted.error}
    if request:
        properties |= {"route": route, "method": request.method if request.method in METHODS else "other"}
        properties |= traces(request.headers)
        if status < 400 and "{ns}" in route:  # so it is one that exists
            properties["namespace"] = request.uri_params["ns"]
    if found:
        properties |= {"strategy": found.strategy, "model_version": found.model_version}
        metrics |= {DEGRADED: int(found.degraded)}
        metrics |= _age(found.model_created_at)
        if route.endswith(PERSONAL):
            metrics[FALLBACK] = int(found.strategy == POPULAR)
    emit(metrics, properties)


def _age(created_at: str) -> dict[str, float]:
    """Return the seconds since a model was made, or nothing where its manifest says no time."""
    try:
        return {MODEL_AGE: round(max(0.0, time.time() - datetime.fromisoformat(created_at).timestamp()), 3)}
    except (ValueError, OverflowError):
        return {}
