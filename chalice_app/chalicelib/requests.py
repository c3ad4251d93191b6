"""Strict parsing: whatever a client sends becomes a typed value or an error that names the field."""

import json
import math
import re
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from chalice.app import Request

from chalicelib.responses import Problem
from recsys.artifacts.manifest import check_name
from recsys.errors import ConfigError, DataError
from recsys.ids import encode_id

MAX_BODY_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_K = 500
DEFAULT_K = 20
_WHOLE = re.compile("[1-9][0-9]{0,2}")
_BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_NAMED = re.compile("(?:missing required|unknown) field `([^`]{1,100})`")

Body = TypeVar("Body", bound=msgspec.Struct)


def path_namespace(text: str) -> str:
    """Return a namespace from the path, else 404: no such name was ever published."""
    try:
        return check_name("namespace", text)
    except ConfigError as error:
        raise Problem(404, str(error), field="ns") from None


def path_id(field: str, text: str) -> str:
    """Return an external id from the path, percent-decoded once (gateways pass it on as it was sent)."""
    if _BROKEN_ESCAPE.search(text):
        raise Problem(400, "two hex digits follow a '%' in a path; '%' itself is sent as %25", field=field)
    try:
        decoded = unquote(text, errors="strict")
        encode_id(decoded)
    except UnicodeDecodeError:
        raise Problem(400, "the id in the path is not UTF-8", field=field) from None
    except DataError as error:
        raise Problem(400, error.reason, field=field) from None
    return decoded


def query_k(request: Request) -> int:
    """Return the list length of ``?k=``, the only query parameter there is."""
    query = {name: request.query_params.getlist(name) for name in request.query_params or ()}
    for name in query:
        if name != "k":
            raise Problem(400, f"unknown query parameter {name[:100]!r}; there is only k", field=name[:100])
    values = query.get("k", [str(DEFAULT_K)])
    text = values[0] if len(values) == 1 else ""
    if not _WHOLE.fullmatch(text) or int(text) > MAX_K:
        raise Problem(400, f"k is one whole number from 1 to {MAX_K}", field="k")
    return int(text)


def json_body(request: Request, body_type: type[Body]) -> Body:
    """Return the body as `body_type`: 415, 413, 400 or 422 for what cannot be it."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise Problem(415, f"send application/json, not {content_type[:100] or 'nothing'}", field="content-type")
    parsed = strict_json(_raw_body(request))
    try:
        return msgspec.convert(parsed, body_type)
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None


def _wrong_type(message: str) -> Problem:
    """Take msgspec's message apart: the reason, and the path where it has one."""
    reason, found, place = message.rpartition(" - at `$")
    field = place.rstrip("`").lstrip(".") if found else ""
    reason = reason if found else message
    if named := _NAMED.search(reason):
        field = f"{field}.{named[1]}".lstrip(".")
    return Problem(422, reason[:300], field=field or None)


def strict_json(data: bytes) -> dict[str, Any]:
    """Parse one JSON object: bounded size and depth, finite numbers, no name twice, UTF-8 names."""
    if len(data) > MAX_BODY_BYTES:
        raise Problem(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Problem(400, "the body is not UTF-8") from None
    if _depth(text) > MAX_DEPTH:
        raise Problem(400, f"the body is nested deeper than {MAX_DEPTH} levels")
    try:
        parsed = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite, parse_int=_short
        )
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise Problem(400, "the body must be a JSON object")
    return parsed


def _raw_body(request: Request) -> bytes:
    try:
        raw = request.raw_body
    except (ValueError, UnicodeEncodeError):  # base64 of the gateway, or a lone surrogate
        raise Problem(400, "the body cannot be decoded") from None
    return raw.encode() if isinstance(raw, str) else raw


def _depth(text: str) -> int:
    """Nesting of brackets outside strings, counted before any parser recurses."""
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
    if any("\ud800" <= character <= "\udfff" for name in names for character in name):
        raise ValueError("a name holds a lone surrogate")
    return names


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _short(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a whole number has too many digits")
    return int(text)
