"""What trending, rerank and rows are asked for, by a query or a body, and how rows are answered."""

import re
from typing import Annotated, Any

from chalice import Response
from chalice.app import Request
from msgspec import Meta

from chalicelib.bodies import AskIn, ListIn, asked_by, checked_items
from chalicelib.requests import MAX_K, query_list, query_text, query_whole
from chalicelib.responses import FromModel, Problem, items_of
from chalicelib.rules import Id
from recsys.serving.because import Rows
from recsys.serving.service import HALF_LIFE_H

MOST_ROWS, DEFAULT_ROWS = 10, 3
LONGEST_HALF_LIFE_H = 87_600.0  # ten years
_NUMBER = re.compile("[0-9]{1,5}(?:[.][0-9]{1,17})?")


class TrendingIn(ListIn, forbid_unknown_fields=True):
    """The body of POST trending."""

    half_life_h: Annotated[float, Meta(ge=1, le=LONGEST_HALF_LIFE_H)] = HALF_LIFE_H


class RowsIn(ListIn, forbid_unknown_fields=True):
    """The body of POST rows."""

    rows: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = DEFAULT_ROWS


class RerankIn(AskIn, forbid_unknown_fields=True, kw_only=True):
    """The body of POST rerank."""

    items: Annotated[list[Id], Meta(min_length=1, max_length=MAX_K, extra_json_schema={"uniqueItems": True})]
    k: Annotated[int, Meta(ge=1, le=MAX_K)] = MAX_K


def asked_trending(request: Request) -> dict[str, Any]:
    """Return what a query or a body asks for, by the names the service gives it."""
    if request.method == "POST":
        return asked_by(request, TrendingIn)
    text = query_text(request, "half_life_h", f"{HALF_LIFE_H}")
    hours = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not 1 <= hours <= LONGEST_HALF_LIFE_H:
        raise Problem(400, f"is one number of hours from 1 to {LONGEST_HALF_LIFE_H:,.0f}", field="half_life_h")
    k, asked = query_list(request, "half_life_h")
    return {"k": k, "half_life_h": hours, **asked}


def asked_rows(request: Request) -> dict[str, Any]:
    """Return what a query or a body asks for, by the names the service gives it."""
    if request.method == "POST":
        asked = asked_by(request, RowsIn)
        return {"n_rows": asked.pop("rows"), **asked}
    n_rows = query_whole(request, "rows", DEFAULT_ROWS, MOST_ROWS)
    k, asked = query_list(request, "rows")
    return {"n_rows": n_rows, "k": k, **asked}


def asked_rerank(request: Request) -> dict[str, Any]:
    """Return what the body asks for; a problem names an item that stands twice as ``items[3]``."""
    asked = asked_by(request, RerankIn)
    checked_items(asked["items"])
    places: dict[str, int] = {}
    for place, item in enumerate(asked["items"]):
        if places.setdefault(item, place) != place:
            raise Problem(422, f"stands at items[{places[item]}] already", field=f"items[{place}]")
    return asked


def in_rows(request_id: str, found: Rows) -> Response:
    """Return rows: of each what it is because of, and its items."""
    rows = [{"because": row.because, "items": items_of(row.found)} for row in found.rows]
    return FromModel(request_id, {"rows": rows}, found)
