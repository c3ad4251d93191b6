"""The bodies of requests: what a client may say, and as what it is passed on."""

import json
import re
import threading
from typing import Annotated, Any, TypeVar

import msgspec
from chalice.app import Request

from chalicelib.requests import DEFAULT_K, MAX_INCLUDED, MAX_K, reading_of, strict_json
from chalicelib.responses import Problem
from chalicelib.rules import Id, Name, RulesIn, rules_of
from recsys.errors import DataError
from recsys.events import LARGEST_CONTEXT_BYTES, LARGEST_VALUE, YEAR_2100_S, InteractionEvent
from recsys.ids import encode_id
from recsys.impressions import MAX_SHOWN, ImpressionEvent, Shown
from recsys.serving.fields import KINDS, MAX_FIELDS, MAX_NAME, RESERVED
from recsys.serving.session import SessionEvent

MAX_EVENTS = 500
HOW_IT_IS_READ = ("k", "cursor", "include", "explain")
"""Members of a body that may differ from page to page."""
_NAMED = re.compile("(?:missing required|unknown) field `([^`]{1,100})`")

# What types cannot say is said to readers of the schema; it is checked where the values are read.
_TEXTS = {"type": "array", "items": {"type": "string"}}
Context = Annotated[
    dict[str, Any],
    msgspec.Meta(
        description=f"By the names of the model's fields; {LARGEST_CONTEXT_BYTES:,} bytes at most.",
        extra_json_schema={
            "additionalProperties": {"anyOf": [{"type": ["string", "number", "boolean", "null"]}, _TEXTS]}
        },
    ),
]
EventContext = Annotated[
    dict[str, Any],
    msgspec.Meta(
        description=f"Under which circumstances; {LARGEST_CONTEXT_BYTES:,} bytes at most.",
        extra_json_schema={
            "propertyNames": {"minLength": 1},
            "additionalProperties": {
                "anyOf": [
                    {"type": ["string", "boolean"]},
                    {"type": "number", "minimum": -LARGEST_VALUE, "maximum": LARGEST_VALUE},
                    _TEXTS,
                ]
            },
        },
    ),
]
Value = Annotated[float, msgspec.Meta(ge=0, le=LARGEST_VALUE)]
Included = Annotated[list[Name], msgspec.Meta(max_length=MAX_INCLUDED, description="Fields that come with each item")]
_NAME = {"minLength": 1, "maxLength": MAX_NAME, "not": {"enum": list(RESERVED)}}
FieldName = Annotated[str, msgspec.Meta(extra_json_schema={**_NAME, "description": "Printable characters"})]
Kind = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(KINDS)})]

Body = TypeVar("Body", bound=msgspec.Struct)
_met: set[type] = set()
_first = threading.Lock()


def json_body(request: Request, body_type: type[Body]) -> Body:
    """Return the body as `body_type`: 415, 413, 400 or 422 for what cannot be it."""
    return converted(parsed_body(request), body_type)


def converted(parsed: dict[str, Any], body_type: type[Body]) -> Body:
    """Return a parsed body as `body_type`, or 422 naming the field that cannot be it."""
    if body_type not in _met:
        with _first:  # msgspec (0.22) crashes where a thread meets a type that another one has met half
            msgspec.json.Decoder(body_type)
            _met.add(body_type)
    try:
        return msgspec.convert(parsed, body_type)
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None
    except UnicodeEncodeError:  # msgspec, of text in the place of a number
        raise Problem(422, "a value holds a lone surrogate, which is not text") from None


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


class EventIn(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="interaction"):
    """One interaction as it is sent; `timestamp` in UTC seconds."""

    event_id: Id
    user: Id
    item: Id
    timestamp: Annotated[float, msgspec.Meta(ge=0, lt=YEAR_2100_S)]
    event: Id = "interaction"
    value: Value = 1.0
    context: EventContext = {}


class ShownIn(msgspec.Struct, forbid_unknown_fields=True):
    """One item of a list that was shown; `propensity` as the answer said it."""

    item: Id
    propensity: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None


class ImpressionIn(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="impression"):
    """A list that was shown, the first item first; what is no item or time is as the answer said it."""

    event_id: Id
    user: Id
    timestamp: Annotated[float, msgspec.Meta(ge=0, lt=YEAR_2100_S)]
    request_id: Id
    model_version: Id
    items: Annotated[list[ShownIn], msgspec.Meta(min_length=1, max_length=MAX_SHOWN)]
    variant: Id | None = None
    strategy: Id | None = None


class EventsIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST events; one that has no `type` is an interaction."""

    events: Annotated[list[EventIn | ImpressionIn], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


def sent_events(request: Request) -> tuple[list[InteractionEvent], list[ImpressionEvent]]:
    """Return the events of the body, validated; a problem names the field at fault as ``events[3].user``."""
    parsed = parsed_body(request)
    for one in parsed["events"] if isinstance(parsed.get("events"), list) else ():
        if isinstance(one, dict):
            one.setdefault("type", "interaction")
    events: list[InteractionEvent] = []
    shown: list[ImpressionEvent] = []
    for place, sent in enumerate(converted(parsed, EventsIn).events):
        event = _event_of(place, sent)
        shown.append(event) if isinstance(event, ImpressionEvent) else events.append(event)
    return events, shown


def _event_of(place: int, sent: EventIn | ImpressionIn) -> InteractionEvent | ImpressionEvent:
    try:
        if isinstance(sent, EventIn):
            return InteractionEvent(
                sent.event_id, sent.user, sent.item, sent.timestamp, sent.event, sent.value, sent.context
            )
        items = tuple(Shown(one.item, one.propensity) for one in sent.items)
        answer = sent.request_id, sent.model_version, items, sent.variant, sent.strategy
        return ImpressionEvent(sent.event_id, sent.user, sent.timestamp, *answer)
    except DataError as error:
        raise Problem(422, error.reason, field=f"events[{place}].{error.field}"[:200]) from None


class SessionEventIn(msgspec.Struct, forbid_unknown_fields=True):
    """Something done in this session; it is not stored."""

    item: Id
    value: Value = 1.0


class ListIn(RulesIn, forbid_unknown_fields=True):
    """The body of a POST of any list."""

    k: Annotated[int, msgspec.Meta(ge=1, le=MAX_K)] = DEFAULT_K
    cursor: str | None = None
    include: Included = msgspec.field(default_factory=list)


class AskIn(ListIn, forbid_unknown_fields=True):
    """The body of POST recommendations."""

    explain: bool = False
    context: Context = msgspec.field(default_factory=dict)
    events: Annotated[list[SessionEventIn], msgspec.Meta(max_length=MAX_EVENTS)] = msgspec.field(default_factory=list)


class ScoresIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST scores."""

    items: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=MAX_K)]
    context: Context = {}
    explain: bool = False


class FieldsIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT catalogue."""

    fields: Annotated[dict[FieldName, Kind], msgspec.Meta(extra_json_schema={"maxProperties": MAX_FIELDS})]


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


class MoveIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST activate and rollback."""

    expected: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None


def sent_move(request: Request) -> int | None:
    """Return the sequence number that a move expects; None where there is no body, or none in it."""
    return json_body(request, MoveIn).expected if _raw_body(request) else None


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
        encode_id(item, f"items[{place}]")
