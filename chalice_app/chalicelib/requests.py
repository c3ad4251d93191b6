"""Strict parsing: whatever a client sends becomes a typed value or an error that names the field."""

import json
import math
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from chalice.app import Request

from chalicelib.responses import Problem
from recsys.artifacts.manifest import check_name
from recsys.errors import ConfigError, DataError
from recsys.events import InteractionEvent
from recsys.ids import encode_id

MAX_BODY_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_EVENTS = 500
MAX_K = 500
DEFAULT_K = 20

Body = TypeVar("Body", bound=msgspec.Struct)


class EventIn(msgspec.Struct, forbid_unknown_fields=True):
    """One interaction as it is sent; `timestamp` in UTC seconds."""

    event_id: str
    user: str
    item: str
    timestamp: float
    event: str = "interaction"
    value: float = 1.0


class EventsIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST events."""

    events: list[EventIn]

    def __post_init__(self) -> None:
        """Bound the batch."""
        if not 1 <= len(self.events) <= MAX_EVENTS:
            raise ValueError(f"1 to {MAX_EVENTS} events fit in one call, not {len(self.events)}")


def event_of(sent: EventIn) -> InteractionEvent:
    """Return the validated event; a problem names the field at fault."""
    try:
        return InteractionEvent(sent.event_id, sent.user, sent.item, sent.timestamp, sent.event, sent.value)
    except DataError as error:
        raise Problem(422, error.reason, field=error.field) from None


def path_namespace(text: str) -> str:
    """Return a namespace from the path, else 404: no such name was ever published."""
    try:
        return check_name("namespace", text)
    except ConfigError as error:
        raise Problem(404, str(error), field="ns") from None


def path_id(field: str, text: str) -> str:
    """Return an external id from the path, percent-decoded once (gateways pass it on as it was sent)."""
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
            raise Problem(400, f"unknown query parameter {name!r}; there is only k", field=name)
    values = query.get("k", [str(DEFAULT_K)])
    text = values[0]
    if len(values) > 1 or not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_K):
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
        reason, _, place = str(error).partition(" - at `")
        raise Problem(422, reason, field=place.rstrip("`") or None) from None


def strict_json(data: bytes) -> dict[str, Any]:
    """Parse one JSON object: bounded size and depth, finite numbers, no name twice, UTF-8 without lone surrogates."""
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
