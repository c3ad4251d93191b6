"""The OpenAPI 3.1 document: the table of operations, the structs that validate, the docstrings of the views."""

import json
import re
from collections import defaultdict
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
from chalice import Response

from chalicelib.bodies import MoveIn
from chalicelib.openapi.answers import ProblemOut
from chalicelib.openapi.operation import Operation
from chalicelib.openapi.operations import OPERATIONS
from chalicelib.openapi.parameters import OTHERS, of_path
from chalicelib.requests import MAX_BODY_BYTES, MAX_DEPTH
from chalicelib.responses import JSON
from recsys import __version__

REQUEST_ID = {"request_id": "6b3e9c0a-5f0e-4c53-9a59-0b1f4e1d2c3b"}
ABOUT = f"""Lists of items for users, from the model in service of a namespace: one catalogue and its models.

Ids are any text of 1 to 256 characters without lone surrogates; in a path they are percent-encoded, `/` as `%2F`.
Bodies are JSON objects in UTF-8 of at most {MAX_BODY_BYTES:,} bytes and depth {MAX_DEPTH}, with finite numbers and no
name twice in one object. Errors are problems (RFC 9457) that name the field at fault. After 429 and 503 the header
Retry-After says how many seconds to wait; every request but a rollback may be repeated then, events too: they count
once by their `event_id`. Where keys are set up, all but public routes need one, or a token, that is granted the scope
and the namespace."""
# What the types of msgspec cannot say, and is checked all the same.
REFINED: dict[str, dict[str, Any]] = {
    "ClauseIn": {
        "oneOf": [
            {"propertyNames": {"enum": ["must", "should", "must_not"]}},
            *({"required": [name], "maxProperties": 1} for name in ("match", "any", "range", "exists")),
        ]
    },
    "BoundsIn": {"minProperties": 1},
    "EventIn": {"required": ["event_id", "user", "item", "timestamp"]},  # one without a type is an interaction
}
WHEN = {
    304: "The list is one of those in If-None-Match",
    400: "What was sent cannot be read",
    401: "No credential, or one that is not known",
    403: "The credential lacks the scope",
    404: "No such namespace, item or version",
    409: "Somebody else moved the pointer, or there is nothing to move it to",
    410: "The page of the cursor is gone; start again",
    413: "The body is too large",
    414: "The URL is too long for the server or the gateway before it",
    415: "The body is not application/json",
    422: "A value cannot be used; `field` names it",
    429: "Too many requests with this key",
    503: "Something the answer needs is out of reach",
}
HEADERS_OF: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    429: {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
    503: {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
}
COMPONENTS = {
    "headers": {"RetryAfter": {"description": "Seconds", "required": True, "schema": {"type": "string"}}},
    "securitySchemes": {
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    },
}


def description() -> Response:
    """Answer the document."""
    return Response(document(), dict(JSON))


@cache
def document() -> str:
    """Return the document as JSON."""
    from app import app

    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    schema_of, components = _schemas()
    for one in OPERATIONS:
        view, scope = app.routes[one.path][one.method], app.scopes[one.method, one.path]
        paths[one.path][one.method.lower()] = {
            "operationId": _name(one, view.view_name, app.routes[one.path]),
            "summary": summary(view.view_function.__doc__),
            "description": view.view_function.__doc__,
            "security": [{"key": [scope]}, {"token": [scope]}] if scope else [],
            **_operation(one, scope, schema_of),
        }
    info = {"title": "recsys", "version": __version__, "description": ABOUT, "license": {"name": "MIT"}}
    parts = {
        "info": info,
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components, **COMPONENTS},
    }
    return json.dumps({"openapi": "3.1.0", **parts}, ensure_ascii=False)


def summary(doc: str) -> str:
    """Return what the docstring of a view says before it goes into details."""
    said = re.split("[:;] ", doc, maxsplit=1)[0].strip().rstrip(".").removeprefix("Return ")
    return said[0].upper() + said[1:]


def _name(one: Operation, view: str, methods: dict[str, Any]) -> str:
    """Return the name of the view, and another one where a view has two methods."""
    return (
        f"{view}_by_rules" if one.method == "POST" and "GET" in methods and methods["GET"].view_name == view else view
    )


def _schemas() -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """Return how each body is referred to, and what is referred to."""
    types = list(dict.fromkeys(one for told in OPERATIONS for one in (told.answer, told.body) if one))
    found, components = msgspec.json.schema_components([*types, ProblemOut], ref_template="#/components/schemas/{name}")
    for name, more in REFINED.items():
        components[name] |= more
    return dict(zip([*types, ProblemOut], found, strict=True)), components


def _operation(one: Operation, scope: str | None, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    values = {"ns": "shop", **(one.examples[0].path if one.examples else {})}
    answers = {str(one.status): _answer(one, schema_of.get(one.answer))}
    answers |= {str(status): _other(status, schema_of[ProblemOut]) for status in _statuses(one, scope)}
    told: dict[str, Any] = {
        "parameters": [*of_path(one.path, values), *({"name": name, **OTHERS[name]} for name in one.parameters)],
        "responses": answers,
    }
    if one.body is not None:
        bodies = {f"example {n}": {"value": example.body} for n, example in enumerate(one.examples, 1)}
        content = {"application/json": {"schema": schema_of[one.body], "examples": bodies}}
        told["requestBody"] = {"required": one.body is not MoveIn, "content": content}
    return told


def _statuses(one: Operation, scope: str | None) -> list[int]:
    """Return what an operation may answer beside its own status."""
    has_ids = "{" in one.path.replace("{ns}", "")
    has_cursor = "cursor" in (*one.parameters, *getattr(one.body, "__struct_fields__", ()))
    return [
        *([304] if "If-None-Match" in one.parameters else []),
        *([400] if has_ids or one.parameters or one.body else []),
        *([401, 403] if scope else []),
        *([404] if "{ns}" in one.path else []),
        *one.errors,
        *([410] if has_cursor else []),
        *([413] if one.body else []),
        *([414] if has_ids or one.parameters else []),
        *([415] if one.body else []),
        *([422] if one.parameters or one.body else []),
        *([429, 503] if scope else [503] if one.path == "/health/ready" else []),
    ]


def _answer(one: Operation, schema: dict[str, Any] | None) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if one.text:
        content[one.text] = {"schema": {"type": "string"}}
    if schema is not None:
        examples = {f"example {n}": {"value": told.answer | REQUEST_ID} for n, told in enumerate(one.examples, 1)}
        content["application/json"] = {"schema": schema, **({"examples": examples} if examples else {})}
    told = {"description": HTTPStatus(one.status).phrase, "content": content}
    return told | ({"headers": {"ETag": {"schema": {"type": "string"}}}} if "If-None-Match" in one.parameters else {})


def _other(status: int, problem: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"description": WHEN[status]}
    if status >= 400:
        told["content"] = {"application/problem+json": {"schema": problem}}
    return told | ({"headers": HEADERS_OF[status]} if status in HEADERS_OF else {})
