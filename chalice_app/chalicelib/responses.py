"""Uniform answers: lists in one shape, errors as RFC 9457 problems."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chalice import Response

from chalicelib.cursors import cursor_of
from chalicelib.wiring import cursor_key

if TYPE_CHECKING:
    from recsys.serving import RankedList, ScoredItem, ScoredItems

HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class Problem(Exception):
    """What the client can mend, or has to wait for."""

    def __init__(self, status: int, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.field = field


def answer(request_id: str, body: dict[str, Any], *, status: int = 200) -> Response:
    """Return JSON with the request id in it."""
    return Response(_json({**body, "request_id": request_id}), dict(HEADERS), status)


class FromModel(Response):
    """What a model answered; of `found` the log takes which model it was and how."""

    def __init__(
        self, request_id: str, items: list[dict[str, Any]], found: RankedList | ScoredItems, **more: Any
    ) -> None:
        body = {
            "items": items,
            "model_version": found.model_version,
            "strategy": found.strategy,
            "degraded": found.degraded,
            **more,
            "request_id": request_id,
        }
        super().__init__(_json(body), dict(HEADERS))
        self.found = found


def ranked(request_id: str, found: RankedList) -> Response:
    """Return a list in the shape every list has, with the cursor of the next page; 304 where the client has it."""
    items: list[dict[str, Any]] = [{"item": one.item, "score": one.score, "reason": one.reason} for one in found.items]
    for place, told in enumerate(found.metadata or ()):
        items[place]["metadata"] = told
    for place, one in enumerate(found.explained or ()):
        items[place] |= _explained(one)
    cursor = None if found.next is None else cursor_of(found.next, cursor_key())
    response = FromModel(request_id, items, found, cursor=cursor)
    if found.tag:
        response.headers |= {"ETag": f'W/"{found.tag}"', "Cache-Control": "private, no-cache"}
    if found.unchanged:
        response.status_code, response.body = 304, ""
    return response


def scored(request_id: str, found: ScoredItems, *, explain: bool) -> Response:
    """Return predictions in the order they were asked for, with what each consists of where that is wanted."""
    items = [{"item": one.item, "score": one.score, **(_explained(one) if explain else {})} for one in found.items]
    return FromModel(request_id, items, found)


def _explained(one: ScoredItem) -> dict[str, Any]:
    parts = [{"source": part.source, "name": part.name, "value": part.value} for part in one.contributions]
    return {"raw_score": one.raw_score, "explanation": parts}


def problem(status: int, detail: str, request_id: str, *, field: str | None = None) -> Response:
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
    headers = {**HEADERS, "Content-Type": "application/problem+json"}
    if status == 503:
        headers["Retry-After"] = "1"
    return Response(_json({**body, "request_id": request_id}), headers, status)
