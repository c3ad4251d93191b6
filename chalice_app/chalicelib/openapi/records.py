"""Events, the catalogue and users."""

from typing import Any

from chalicelib.bodies import EventsIn, FieldsIn
from chalicelib.openapi.answers import DeletedItemOut, EventsOut, FieldsOut, ItemOut
from chalicelib.openapi.operating_answers import ErasedOut, UserOut
from chalicelib.openapi.operation import I999, U132, VERSION, Example, Operation

ITEM, CATALOGUE, USER = "/v1/{ns}/items/{item}", "/v1/{ns}/catalogue", "/v1/{ns}/users/{user}"
FIELDS = {"genres": "keywords", "year": "number", "launched": "timestamp"}
NEWEST = {"title": "The Newest Orbit", "genres": ["Space Opera"], "year": 2026, "launched": "2026-01-01"}
EVENT = {"event_id": "e-1", "user": "u132", "item": "i365", "timestamp": 1767225600, "value": 5}
SHOWN = {
    "type": "impression",
    "event_id": "e-2",
    "user": "u132",
    "timestamp": 1767225600,
    "request_id": "6b3e9c0a-5f0e-4c53-9a59-0b1f4e1d2c3b",
    "model_version": VERSION,
    "items": [{"item": "i365"}, {"item": "i041"}],
}
HELD = {"event_id": "e-1", "item": "i365", "event": "interaction", "value": 5.0, "timestamp": 1767225600.0}

RECORDS = (
    Operation(
        *("POST", "/v1/{ns}/events", EventsOut),
        (
            Example(
                {"accepted": 1, "duplicates": 0},
                'shop.send([{"event_id": "e-1", "user": "u132", "item": "i365", "timestamp": 1767225600, "value": 5}])',
                body={"events": [EVENT]},
            ),
            Example({"accepted": 1, "duplicates": 0}, body={"events": [SHOWN]}),
        ),
        EventsIn,
        status=202,
    ),
    Operation(
        *("PUT", CATALOGUE, FieldsOut),
        (Example({"fields": FIELDS}, f"shop.put_catalogue({FIELDS!r})", body={"fields": FIELDS}),),
        FieldsIn,
    ),
    Operation("GET", CATALOGUE, FieldsOut, (Example({"fields": FIELDS}, "shop.catalogue()"),)),
    Operation(
        *("PUT", ITEM, ItemOut),
        (Example({"item": "i999", "metadata": NEWEST}, f'shop.put_item("i999", {NEWEST!r})', I999, body=NEWEST),),
        dict[str, Any],
    ),
    Operation("GET", ITEM, ItemOut, (Example({"item": "i999", "metadata": NEWEST}, 'shop.item("i999")', I999),)),
    Operation(
        "DELETE", ITEM, DeletedItemOut, (Example({"item": "i999", "deleted": True}, 'shop.delete_item("i999")', I999),)
    ),
    Operation(
        *("GET", USER, UserOut),
        (
            Example(
                {
                    "user": "u132",
                    "profile": {},
                    "history": [HELD],
                    "history_total": 1,
                    "trained": True,
                    "model_version": VERSION,
                },
                *('shop.user("u132")', U132),
            ),
        ),
    ),
    Operation(
        *("DELETE", USER, ErasedOut),
        (
            Example(
                {
                    "user": "u999",
                    "erased": {"events": 0, "states": 0, "profile": False},
                    "pending": ["files of the event log: the next nightly run writes them without the user"],
                },
                *('shop.erase_user("u999")', {"user": "u999"}),
            ),
        ),
    ),
)
