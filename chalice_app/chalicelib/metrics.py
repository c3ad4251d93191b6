"""The numbers of this process as Prometheus reads them, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from chalice import Response
from chalice.app import Request

from chalicelib.counts import A_DECADE, BUCKETS, Answered, Counts, bucket_end_ms
from chalicelib.responses import answer

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_SHOWN = range(0, BUCKETS - 1, A_DECADE // 3)
"""Buckets whose ends Prometheus is told: three a decade."""


def metrics(request: Request, request_id: str, counts: Counts) -> Response:
    """Return the numbers in the form that was asked for."""
    if "application/json" in request.headers.get("accept", "").lower():
        return answer(request_id, as_json(counts))
    return Response(as_text(counts), {"Content-Type": _TEXT})


def as_json(counts: Counts) -> dict[str, Any]:
    """Return the numbers; latencies are ends of buckets, at most 1.101 times the quantile."""
    answered, strategies, degraded = counts.taken()
    routes = [
        {
            "route": route,
            "method": method,
            "count": one.count,
            "errors": one.errors,
            "p50_ms": one.quantile_ms(0.5),
            "p99_ms": one.quantile_ms(0.99),
        }
        for (route, method), one in answered.items()
    ]
    return {"since_s": round(counts.since_s, 3), "routes": routes, "strategies": strategies, "degraded": degraded}


def as_text(counts: Counts) -> str:
    """Return the numbers in the text format of Prometheus."""
    answered, strategies, degraded = counts.taken()
    labelled = [(f'route="{route}",method="{method}"', one) for (route, method), one in answered.items()]
    by_strategy = [("{" + f'strategy="{name}"' + "}", count) for name, count in strategies.items()]
    lines = [
        *_metric("recsys_start_time_seconds", "gauge", "When this process started.", [("", round(counts.since_s, 3))]),
        *_metric(
            "recsys_errors_total",
            "counter",
            "Answers of 5xx.",
            [("{" + labels + "}", one.errors) for labels, one in labelled],
        ),
        *_metric("recsys_answers_from_models_total", "counter", "Lists and scores by their strategy.", by_strategy),
        *_metric("recsys_degraded_total", "counter", "Answers that lacked a store.", [("", degraded)]),
        "# HELP recsys_request_duration_seconds Time from the event to the answer.",
        "# TYPE recsys_request_duration_seconds histogram",
        *(line for labels, one in labelled for line in _histogram(labels, one)),
    ]
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, told: str, values: Iterable[tuple[str, float]]) -> list[str]:
    return [f"# HELP {name} {told}", f"# TYPE {name} {kind}", *(f"{name}{labels} {value}" for labels, value in values)]


def _histogram(labels: str, one: Answered) -> Iterator[str]:
    name, reached = "recsys_request_duration_seconds", list(accumulate(one.buckets))
    for number in _SHOWN:
        yield f'{name}_bucket{{{labels},le="{bucket_end_ms(number) / 1000:.6g}"}} {reached[number]}'
    yield f'{name}_bucket{{{labels},le="+Inf"}} {one.count}'
    yield f"{name}_sum{{{labels}}} {one.total_ms / 1000:.6f}"
    yield f"{name}_count{{{labels}}} {one.count}"
