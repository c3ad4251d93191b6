"""One JSON line a request: for people a structured log, for CloudWatch embedded metrics (EMF), for X-Ray the trace.

All metrics are in the CloudWatch namespace `NAMESPACE` with the dimension ``function`` (the name of the Lambda function
holds app and stage); latency also by ``function, strategy``. Namespaces, routes, versions and statuses are properties:
every combination of dimensions is billed as a metric of its own, while Logs Insights finds a property at no such cost,
and a client that makes up namespaces makes no metric.
"""

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, wraps
from traceback import walk_tb
from typing import Any, TypeVar, cast

from recsys.errors import RecsysError

NAMESPACE = "Recsys"
LATENCY = "Latency"  # every request; its SampleCount is the number of requests
COLD_START = "ColdStart"  # 1 for the first request of a process, else 0
FALLBACK = "Fallback"  # of personal lists: 1 where popular items stood in, else 0; its Average is the share
DEGRADED = "Degraded"  # of answers from a model: 1 where a store was out of reach, else 0
MODEL_AGE = "ModelAge"  # since the model that answered was made
UNITS = {LATENCY: "Milliseconds", COLD_START: "Count", FALLBACK: "Count", DEGRADED: "Count", MODEL_AGE: "Seconds"}

FRAMES = 8
LONGEST_CAUSE = 1000
_XRAY = r"Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|\Z)"  # compiled when the first one comes
_W3C = "00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
Handle = TypeVar("Handle", bound=Callable[[Any, Any], Any])
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode  # ASCII: what would break a line is escaped
_first = threading.Lock()  # taken by the first request and never given back


def emit(metrics: Mapping[str, float], properties: Mapping[str, str | int | None]) -> None:
    """Write one line to stderr, where Lambda collects it; a property of None is left out.

    Only names made here or checked before belong into properties: a line holds no key, no token, no user and no item.
    """
    now = datetime.now(UTC)
    known = {name: value for name, value in properties.items() if value is not None}
    told = _directives(*metrics, by_strategy="strategy" in known)
    line = {
        "time": now.isoformat(timespec="milliseconds"),
        "level": "ERROR" if "error" in known else "INFO",
        "function": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"),
        **known,
        **metrics,
    }
    metadata = f'"_aws":{{"Timestamp":{int(now.timestamp() * 1000)},"CloudWatchMetrics":{told}}}'
    with suppress(OSError, ValueError):  # nobody reads it any more; the answer does not suffer for that
        sys.stderr.write(f"{{{metadata},{_encode(line)[1:]}\n")


@cache
def _directives(*names: str, by_strategy: bool) -> str:
    """Tell CloudWatch which members of a line are metrics, and of which dimensions."""
    found = [_directive(["function"], names)]
    return _encode([*found, _directive(["function", "strategy"], (LATENCY,))] if by_strategy else found)


def _directive(dimensions: list[str], names: tuple[str, ...]) -> dict[str, object]:
    metrics = [{"Name": name, "Unit": UNITS[name]} for name in names]
    return {"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics}


def is_cold() -> bool:
    """Whether this is the first request of the process: True for one caller, also among many at once."""
    return _first.acquire(blocking=False)


def traces(headers: Mapping[str, str]) -> dict[str, str | None]:
    """Return what a request belongs to, each in its own form or not at all: it is the client's to make up."""
    given, parent = os.environ.get("_X_AMZN_TRACE_ID") or headers.get("x-amzn-trace-id"), headers.get("traceparent")
    xray, w3c = given and re.search(_XRAY, given), parent and re.fullmatch(_W3C, parent)
    return {"xray_trace_id": xray[1] if xray else None, "traceparent": w3c[0] if w3c else None}


def cause(error: BaseException) -> str:
    """Return why something failed, for us: our own errors name a place in a store.

    Of any other only the type and the way to it: its message may quote what a client sent.
    """
    if isinstance(error, RecsysError):
        return f"{type(error).__name__}: {error}"[:LONGEST_CAUSE]
    codes = [(frame.f_code, line) for frame, line in walk_tb(error.__traceback__)][-FRAMES:]
    way = (f"{os.path.basename(code.co_filename)}:{line} {code.co_name}" for code, line in codes)  # noqa: PTH119
    return f"{type(error).__name__} at {' > '.join(way)}"[:LONGEST_CAUSE]


def observed(handle: Handle) -> Handle:
    """Log every call of a job's Lambda function in one line, with its cause where it fails."""

    @wraps(handle)
    def call(event: Any, context: Any) -> Any:
        began_s, cold, error = time.perf_counter(), is_cold(), None
        try:
            return handle(event, context)
        except Exception as failure:
            error = cause(failure)
            raise
        finally:
            metrics = {LATENCY: milliseconds_since(began_s), COLD_START: int(cold)}
            emit(metrics, {"request_id": getattr(context, "aws_request_id", None), **traces({}), "error": error})

    return cast(Handle, call)


def milliseconds_since(began_s: float) -> float:
    """Return the time since a moment of `time.perf_counter`."""
    return round(1e3 * (time.perf_counter() - began_s), 3)
