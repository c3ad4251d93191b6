"""The bodies of requests: what a client may say, and as what it is passed on."""

import json
import re
from typing import Annotated, Any, TypeVar

import msgspec
from chalice.app import Request

from chalicelib.requests import DEFAULT_K, MAX_INCLUDED, MAX_K, reading_of, strict_json
from chalicelib.responses import Problem
from chalicelib.rules import Name, RulesIn, rules_of
from recsys.errors import DataError
from recsys.events import LARGEST_CONTEXT_BYTES, InteractionEvent
from recsys.ids import encode_id
from recsys.serving import SessionEvent

MAX_EVENTS = 500
HOW_IT_IS_READ = ("k", "cursor", "include", "explain")
"""Members of a body that may differ from page to page."""
_NAMED = re.compile("(?:missing required|unknown) field `([^`]{1,100})`")

Body = TypeVar("Body", bound=msgspec.Struct)


def json_body(request: Request, body_type: type[Body]) -> Body:
    """Return the body as `body_type`: 415, 413, 400 or 422 for what cannot be it."""
    return converted(parsed_body(request), body_type)


def converted(parsed: dict[str, Any], body_type: type[Body]) -> Body:
    """Return a parsed body as `body_type`; 422 for what cannot be it."""
    try:
        return msgspec.convert(parsed, body_type)
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None


def parsed_body(request: Request) -> dict[str, Any]:
    """Return the body, a JSON object: 415, 413 or 400 for what is none."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise Problem(415, f"send application/json, not {content_type[:100] or 'nothing'}", field="content-type")
    return strict_json(_raw_body(request))


def _wrong_type(message: str) -> Problem:
    """Take msgspec's message apart: the reason, and the path where it has one."""
    reason, found, place = message.rpartition(" - at `$")
    field = place.rstrip("`").lstrip(".") if found else ""
    reason = reason if found else message
    if named := _NAMED.search(reason):
        field = f"{field}.{named[1]}".lstrip(".")
    return Problem(422, reason[:300], field=field or None)


def _raw_body(request: Request) -> bytes:
    try:
        raw = request.raw_body
    except (ValueError, UnicodeEncodeError):  # base64 of the gateway, or a lone surrogate
        raise Problem(400, "the body cannot be decoded") from None
    return raw.encode() if isinstance(raw, str) else raw


class EventIn(msgspec.Struct, forbid_unknown_fields=True):
    """One interaction as it is sent; `timestamp` in UTC seconds."""

    event_id: str
    user: str
    item: str
    timestamp: float
    event: str = "interaction"
    value: float = 1.0
    context: dict[str, Any] = {}


class EventsIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST events."""

    events: Annotated[list[EventIn], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


def sent_events(request: Request) -> list[InteractionEvent]:
    """Return the events of the body, validated; a problem names the field at fault as ``events[3].user``."""
    return [_event_of(place, sent) for place, sent in enumerate(json_body(request, EventsIn).events)]


def _event_of(place: int, sent: EventIn) -> InteractionEvent:
    try:
        return InteractionEvent(
            sent.event_id, sent.user, sent.item, sent.timestamp, sent.event, sent.value, sent.context
        )
    except DataError as error:
        raise Problem(422, error.reason, field=f"events[{place}].{error.field}"[:200]) from None


class SessionEventIn(msgspec.Struct, forbid_unknown_fields=True):
    """Something done in this session; it is not stored."""

    item: str
    value: float = 1.0


class ListIn(RulesIn, forbid_unknown_fields=True):
    """The body of a POST of any list."""

    k: Annotated[int, msgspec.Meta(ge=1, le=MAX_K)] = DEFAULT_K
    cursor: str | None = None
    include: Annotated[list[Name], msgspec.Meta(max_length=MAX_INCLUDED)] = msgspec.field(default_factory=list)


class AskIn(ListIn, forbid_unknown_fields=True):
    """The body of POST recommendations."""

    explain: bool = False
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    events: Annotated[list[SessionEventIn], msgspec.Meta(max_length=MAX_EVENTS)] = msgspec.field(default_factory=list)


class ScoresIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST scores."""

    items: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_K)]
    context: dict[str, Any] = {}
    explain: bool = False


class FieldsIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT catalogue."""

    fields: dict[str, str]


def asked_list(request: Request) -> tuple[int, dict[str, Any]]:
    """Return list length, and context, session, rules and reading of the body by the names the service gives them.

    A problem names the field as ``events[3].item``.
    """
    asked = asked_by(request, AskIn)
    return asked.pop("k"), asked


def asked_by(request: Request, body_type: type[ListIn]) -> dict[str, Any]:
    """Return what a body asks for by the names the service gives it, its length and own members included."""
    parsed = parsed_body(request)
    body = converted(parsed, body_type)
    own = {name: getattr(body, name) for name in body.__struct_fields__ if name not in ListIn.__struct_fields__}
    if "events" in own:
        own["events"] = [_session_event_of(place, sent) for place, sent in enumerate(own["events"])]
        bounded(own["context"])
    asked = {name: one for name, one in parsed.items() if name not in HOW_IT_IS_READ}
    explain = own.pop("explain", False)
    reading = reading_of(request, asked, body.cursor, include=tuple(body.include), explain=explain)
    return {"k": body.k, "rules": rules_of(body), "reading": reading, **own}


def sent_fields(request: Request) -> dict[str, str]:
    """Return the fields that the body declares."""
    return json_body(request, FieldsIn).fields


def bounded(context: dict[str, Any]) -> dict[str, Any]:
    """Return a context no larger than that of an event: what it costs grows with the number of its values."""
    size = len(json.dumps(context, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    if size > LARGEST_CONTEXT_BYTES:
        raise Problem(422, f"has {size:,} bytes; {LARGEST_CONTEXT_BYTES:,} are the most", field="context")
    return context


def _session_event_of(place: int, sent: SessionEventIn) -> SessionEvent:
    try:
        return SessionEvent(sent.item, sent.value)
    except DataError as error:
        raise Problem(422, error.reason, field=f"events[{place}].{error.field}") from None


def asked_scores(request: Request) -> ScoresIn:
    """Return the body, its item ids checked; a problem names one as ``items[3]``."""
    body = json_body(request, ScoresIn)
    bounded(body.context)
    checked_items(body.items)
    return body


def checked_items(items: list[str]) -> None:
    """Raise a problem that names what is no item id as ``items[3]``."""
    for place, item in enumerate(items):
        try:
            encode_id(item)
        except DataError as error:
            raise Problem(422, error.reason, field=f"items[{place}]") from None
