"""What popular, similar, trending, rerank and rows are asked for, by a query or a body, and how rows are answered."""

import re
from typing import Annotated, Any

import msgspec
from chalice import Response
from chalice.app import Request
from msgspec import Meta

from chalicelib.bodies import (
    MAX_EVENTS,
    Context,
    Included,
    SessionEventIn,
    bounded,
    checked_items,
    converted,
    json_body,
    parsed_body,
    reading_in,
    session_events,
)
from chalicelib.requests import DEFAULT_K, MAX_K, query_list, query_text, query_whole
from chalicelib.responses import FromModel, Problem, items_of
from chalicelib.rules import Id, RulesIn, rules_of
from recsys.serving.because import Rows
from recsys.serving.service import HALF_LIFE_H

MOST_ROWS, DEFAULT_ROWS = 10, 3
LONGEST_HALF_LIFE_H = 87_600.0  # ten years
_NUMBER = re.compile("[0-9]{1,5}(?:[.][0-9]{1,9})?")


class ListIn(RulesIn, forbid_unknown_fields=True):
    """The body of POST popular and similar."""

    k: Annotated[int, Meta(ge=1, le=MAX_K)] = DEFAULT_K
    cursor: str | None = None
    include: Included = msgspec.field(default_factory=list)


class TrendingIn(ListIn, forbid_unknown_fields=True):
    """The body of POST trending."""

    half_life_h: Annotated[float, Meta(ge=1, le=LONGEST_HALF_LIFE_H)] = HALF_LIFE_H


class RowsIn(RulesIn, forbid_unknown_fields=True):
    """The body of POST rows."""

    k: Annotated[int, Meta(ge=1, le=MAX_K)] = DEFAULT_K
    rows: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = DEFAULT_ROWS


class RerankIn(RulesIn, forbid_unknown_fields=True, kw_only=True):
    """The body of POST rerank."""

    items: Annotated[list[Id], Meta(min_length=1, max_length=MAX_K)]
    k: Annotated[int, Meta(ge=1, le=MAX_K)] = MAX_K
    context: Context = msgspec.field(default_factory=dict)
    events: Annotated[list[SessionEventIn], Meta(max_length=MAX_EVENTS)] = msgspec.field(default_factory=list)


def asked_plain(request: Request) -> dict[str, Any]:
    """Return length and rules of a body, by the names the service gives them."""
    parsed = parsed_body(request)
    body = converted(parsed, ListIn)
    return {"k": body.k, "rules": rules_of(body), "reading": reading_in(request, parsed, body)}


def asked_trending(request: Request) -> dict[str, Any]:
    """Return length, half-life and rules of ``?k=&half_life_h=`` or a body."""
    if request.method == "GET":
        k, asked = query_list(request, "half_life_h")
        return {"k": k, "half_life_h": _half_life(query_text(request, "half_life_h", f"{HALF_LIFE_H}")), **asked}
    parsed = parsed_body(request)
    body = converted(parsed, TrendingIn)
    reading = reading_in(request, parsed, body)
    return {"k": body.k, "half_life_h": body.half_life_h, "rules": rules_of(body), "reading": reading}


def asked_rows(request: Request) -> dict[str, Any]:
    """Return number and length of rows, and rules, of ``?rows=&k=`` or a body."""
    if request.method == "GET":
        n_rows = query_whole(request, "rows", DEFAULT_ROWS, MOST_ROWS)
        k, asked = query_list(request, "rows")
        return {"n_rows": n_rows, "k": k, "rules": asked["rules"]}
    body = json_body(request, RowsIn)
    return {"n_rows": body.rows, "k": body.k, "rules": rules_of(body)}


def asked_rerank(request: Request) -> dict[str, Any]:
    """Return what the body names; a problem names an item that stands twice as ``items[3]``."""
    body = json_body(request, RerankIn)
    checked_items(body.items)
    places: dict[str, int] = {}
    for place, item in enumerate(body.items):
        if places.setdefault(item, place) != place:
            raise Problem(422, f"stands at items[{places[item]}] already", field=f"items[{place}]")
    return {
        "items": body.items,
        "k": min(body.k, len(body.items)),
        "context": bounded(body.context),
        "events": session_events(body.events),
        "rules": rules_of(body),
    }


def in_rows(request_id: str, found: Rows) -> Response:
    """Return rows: of each what it is because of, and its items."""
    rows = [{"because": row.because, "items": items_of(row.items)} for row in found.rows]
    return FromModel(request_id, {"rows": rows}, found)


def _half_life(text: str) -> float:
    hours = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not 1 <= hours <= LONGEST_HALF_LIFE_H:
        raise Problem(400, f"is one number of hours from 1 to {LONGEST_HALF_LIFE_H:,.0f}", field="half_life_h")
    return hours
