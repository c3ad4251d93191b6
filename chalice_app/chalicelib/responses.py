"""Uniform answers: lists in one shape, errors as RFC 9457 problems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chalice import Response

if TYPE_CHECKING:
    from recsys.serving import RankedList, ScoredItem, ScoredItems

SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not say otherwise."""
HEADERS = {"Content-Type": "application/json", **SECURITY}


class Problem(Exception):
    """What the client can mend, or has to wait for; `log` is for us."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        log: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.field, self.headers, self.log = status, field, headers or {}, log


def answer(request_id: str, body: dict[str, Any], *, status: int = 200) -> Response:
    """Return JSON with the request id in it."""
    return Response(_json({**body, "request_id": request_id}), dict(HEADERS), status)


class FromModel(Response):
    """What a model answered; of `found` the log takes which model it was and how."""

    def __init__(self, request_id: str, items: list[dict[str, Any]], found: RankedList | ScoredItems) -> None:
        body = {
            "items": items,
            "model_version": found.model_version,
            "strategy": found.strategy,
            "degraded": found.degraded,
            "request_id": request_id,
        }
        super().__init__(_json(body), dict(HEADERS))
        self.found = found


def ranked(request_id: str, found: RankedList) -> Response:
    """Return a list in the shape every list has."""
    items = [{"item": one.item, "score": one.score, "reason": one.reason} for one in found.items]
    return FromModel(request_id, items, found)


def scored(request_id: str, found: ScoredItems, *, explain: bool) -> Response:
    """Return predictions in the order they were asked for, with what each consists of where that is wanted."""
    items = [{"item": one.item, "score": one.score, **(_explained(one) if explain else {})} for one in found.items]
    return FromModel(request_id, items, found)


def _explained(one: ScoredItem) -> dict[str, Any]:
    parts = [{"source": part.source, "name": part.name, "value": part.value} for part in one.contributions]
    return {"raw_score": one.raw_score, "explanation": parts}


def problem(
    status: int,
    detail: str,
    request_id: str,
    *,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an RFC 9457 problem; 503 asks the client to come back."""
    from http import HTTPStatus

    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if field is not None:
        body["field"] = field
    told = {**HEADERS, "Content-Type": "application/problem+json", **(headers or {})}
    if status == 503:
        told["Retry-After"] = "1"
    return Response(_json({**body, "request_id": request_id}), told, status)


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, allow_nan=False, separators=(",", ":"))
