"""Strict parsing: whatever a client sends becomes a typed value or an error that names the field."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from chalice.app import Request

from chalicelib.cursors import digest, page_of
from chalicelib.responses import Problem
from chalicelib.wiring import cursor_key
from recsys.artifacts.manifest import check_name
from recsys.errors import ConfigError, DataError
from recsys.ids import encode_id
from recsys.serving.paging import Reading

if TYPE_CHECKING:
    from recsys.serving.rules import Rules

MAX_BODY_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_K = 500
DEFAULT_K = 20
MAX_PARAMETERS = 32
MAX_INCLUDED = 16
"""Fields of items that come with a list."""
_BROKEN_ESCAPE = "%(?![0-9A-Fa-f]{2})"  # compiled when the first escape comes


def path_namespace(text: str) -> str:
    """Return a namespace from the path, else 404: no such name was ever published."""
    try:
        return check_name("namespace", text)
    except ConfigError as error:
        raise Problem(404, str(error), field="ns") from None


def path_id(field: str, text: str) -> str:
    """Return an external id from the path, percent-decoded once (gateways pass it on as it was sent)."""
    if "%" in text and re.search(_BROKEN_ESCAPE, text):
        raise Problem(400, "two hex digits follow a '%' in a path; '%' itself is sent as %25", field=field)
    try:
        decoded = unquote(text, errors="strict")
        encode_id(decoded)
    except UnicodeDecodeError:
        raise Problem(400, "the id in the path is not UTF-8", field=field) from None
    except DataError as error:
        raise Problem(400, error.reason, field=field) from None
    return decoded


def query_list(request: Request, *own: str) -> tuple[int, dict[str, Any]]:
    """Return the list length of ``?k=``, and rules and reading by the names the service gives them.

    Of every other parameter but ``cursor``, ``include`` and those in `own` an item's field of its name has its value;
    one that comes several times has one of its values.
    """
    query = {name: request.query_params.getlist(name) for name in request.query_params or ()}
    k = query_whole(request, "k", DEFAULT_K, MAX_K)
    text, cursor, include = (_single(query, name) for name in ("k", "cursor", "include"))
    included = () if include is None else tuple(include.split(","))
    if len(included) > MAX_INCLUDED or not all(included):
        raise Problem(400, f"include is 1 to {MAX_INCLUDED} names of fields with commas between them", field="include")
    of_tag = {"asked": repr((text, cursor, included)).encode(), "unless": _tags(request.headers.get("if-none-match"))}
    reading = reading_of(request, {"query": query} if query else {}, cursor, include=included, **of_tag)
    fields = {name: values for name, values in query.items() if name not in own}
    return k, {"rules": _filter(fields) if fields else None, "reading": reading}


def query_whole(request: Request, name: str, default: int, most: int) -> int:
    """Return a whole number from 1 on of the query."""
    text = query_text(request, name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= most) or text[0] == "0":
        raise Problem(400, f"{name} is one whole number from 1 to {most}", field=name)
    return int(text)


def query_text(request: Request, name: str, default: str) -> str:
    """Return a parameter of the query, '' if it comes several times."""
    query = request.query_params
    values = query.getlist(name) if query and name in query else [default]
    return values[0] if len(values) == 1 else ""


def reading_of(request: Request, wanted: Any, cursor: str | None, **more: Any) -> Reading:
    """Return how a list is read, from the page on that a cursor names; it has to be one of the same request."""
    own = digest(request, wanted)
    page = None if cursor is None else page_of(cursor, own, cursor_key())
    return Reading(own, page, **more)


def _tags(sent: str | None) -> frozenset[str]:
    return frozenset(tag.strip().removeprefix("W/").strip('"') for tag in sent.split(",")) if sent else frozenset()


def _single(query: dict[str, list[str]], name: str) -> str | None:
    """Take a parameter out of a query."""
    values = query.pop(name, [])
    if len(values) > 1:
        raise Problem(400, "comes more than once", field=name)
    return values[0] if values else None


def _filter(query: dict[str, list[str]]) -> Rules:
    from recsys.serving.filters import Group, OneOf
    from recsys.serving.rules import Rules

    if len(query) > MAX_PARAMETERS or sum(map(len, query.values())) > MAX_PARAMETERS:
        raise Problem(400, f"there are more than {MAX_PARAMETERS} query parameters")
    conditions = [OneOf(name, tuple(values)) for name, values in query.items()]
    return Rules(Group(must=tuple(conditions)), filter_name="")


def strict_json(data: bytes) -> dict[str, Any]:
    """Parse one JSON object: bounded size and depth, finite numbers, no name twice, UTF-8 names."""
    if len(data) > MAX_BODY_BYTES:
        raise Problem(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Problem(400, "the body is not UTF-8") from None
    if text.count("{") + text.count("[") > MAX_DEPTH < _depth(text):
        raise Problem(400, f"the body is nested deeper than {MAX_DEPTH} levels")
    try:
        parsed = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite, parse_int=_integer
        )
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise Problem(400, "the body must be a JSON object")
    return parsed


def _depth(text: str) -> int:
    """Nesting of brackets outside strings, counted before any parser recurses, where there are enough of them."""
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name stands twice in one object")
    if any("\ud800" <= character <= "\udfff" for name in names if not name.isascii() for character in name):
        raise ValueError("a name holds a lone surrogate")
    return names


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    """JSON has one kind of numbers: ``5.0`` is whole too."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _integer(text: str) -> float:
    return int(text) if len(text) <= 20 else _finite(text)  # Python itself bounds the digits, at 4,300
