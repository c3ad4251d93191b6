"""Uniform answers: lists in one shape, errors as RFC 9457 problems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chalice import Response

from chalicelib.cursors import cursor_of

if TYPE_CHECKING:
    from recsys.artifacts import Pointer
    from recsys.serving import RankedList, ScoredItem, ScoredItems
    from recsys.serving.because import Rows
    from recsys.serving.online.erasures import Erased
    from recsys.serving.people import HeldAndTrained

SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not say otherwise."""
JSON = {"Content-Type": "application/json"}
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Lambda passes on 6 MB, in which every quote counts twice."""
_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


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
    return Response(_json({**body, "request_id": request_id}), dict(JSON), status)


class FromModel(Response):
    """What a model answered; of `found` the log takes which model it was and how."""

    def __init__(self, request_id: str, told: dict[str, Any], found: RankedList | ScoredItems | Rows) -> None:
        body = {
            **told,
            "model_version": found.model_version,
            "strategy": found.strategy,
            "degraded": found.degraded,
            "variant": found.variant,
            "request_id": request_id,
        }
        text = _json(body)
        if len(text) > MAX_ANSWER_BYTES:
            reason = f"the answer has {len(text):,} bytes; {MAX_ANSWER_BYTES:,} are the most"
            raise Problem(422, f"{reason}. Ask for fewer items, fields of items or rows")
        super().__init__(text, dict(JSON))
        self.found = found


def ranked(request_id: str, found: RankedList) -> Response:
    """Return a list in the shape every list has, with the cursor of the next page; 304 where the client has it."""
    from chalicelib.wiring import cursor_key  # which needs `Problem`

    cursor = None if found.next is None else cursor_of(found.next, cursor_key())
    response = FromModel(request_id, {"items": items_of(found), "cursor": cursor}, found)
    if found.tag:
        response.headers |= {"ETag": f'W/"{found.tag}"', "Cache-Control": "private, no-cache"}
    if found.unchanged:
        response.status_code, response.body = 304, ""
    return response


def items_of(found: RankedList) -> list[dict[str, Any]]:
    """Return the places of a list, with how likely each item was where places are explored."""
    items: list[dict[str, Any]] = [{"item": one.item, "score": one.score, "reason": one.reason} for one in found.items]
    if found.items and found.items[0].propensity is not None:
        for told, one in zip(items, found.items, strict=True):
            told["propensity"] = one.propensity
    for place, told in enumerate(found.metadata or ()):
        items[place]["metadata"] = told
    for place, one in enumerate(found.explained or ()):
        items[place] |= _explained(one)
    return items


def scored(request_id: str, found: ScoredItems, *, explain: bool) -> Response:
    """Return predictions in the order they were asked for, with what each consists of where that is wanted."""
    items = [{"item": one.item, "score": one.score, **(_explained(one) if explain else {})} for one in found.items]
    return FromModel(request_id, {"items": items}, found)


def held(request_id: str, user: str, found: HeldAndTrained) -> Response:
    """Return what is held of a user, the newest events first."""
    history = [
        {
            "event_id": one.event_id,
            "item": one.item,
            "event": one.event,
            "value": one.value,
            "timestamp": one.timestamp_s,
        }
        for one in reversed(found.held.events)
    ]
    told = {"user": user, "profile": found.held.profile, "history": history, "history_total": found.held.total}
    return answer(request_id, {**told, "trained": found.trained, "model_version": found.model_version})


def erased(request_id: str, user: str, found: Erased) -> Response:
    """Return what was removed of a user, and what will be."""
    from recsys.serving.people import PENDING

    return answer(request_id, {"user": user, "erased": found._asdict(), "pending": PENDING})


def moved(request_id: str, pointer: Pointer) -> Response:
    """Return what is in service after a move."""
    return answer(request_id, {"version": pointer.version, "sequence": pointer.sequence, "previous": pointer.previous})


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
    told = {"Content-Type": "application/problem+json", **(headers or {})}
    if status == 503:
        told["Retry-After"] = "1"
    return Response(_json({**body, "request_id": request_id}), told, status)
