"""The OpenAPI 3.1 document: the table of operations, the structs that validate, the docstrings of the views."""

import json
import re
from collections import defaultdict
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
from chalice import Response

from chalicelib.operations import OPERATIONS, Operation
from chalicelib.requests import DEFAULT_K, MAX_BODY_BYTES, MAX_DEPTH, MAX_K, MAX_PARAMETERS
from chalicelib.responses import HEADERS
from chalicelib.rules import Id
from chalicelib.schemas import ProblemOut
from recsys import __version__

REF = "#/components/schemas/{name}"
REQUEST_ID = {"request_id": "6b3e9c0a-5f0e-4c53-9a59-0b1f4e1d2c3b"}
ID = msgspec.json.schema(Id)
NAMESPACE = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"}
ABOUT = f"""Lists of items for users, from the model in service of a namespace: one catalogue and its models.

Ids are any text of 1 to 256 characters without lone surrogates; in a path they are percent-encoded, `/` as `%2F`.
Bodies are JSON objects in UTF-8 of at most {MAX_BODY_BYTES:,} bytes and depth {MAX_DEPTH}, with finite numbers and no
name twice in one object. Errors are problems (RFC 9457) that name the field at fault. After 429 and 503 the header
Retry-After says how many seconds to wait; every request may be repeated then, events too: they count once by their
`event_id`."""
CLAUSES = ("match", "any", "range", "exists")
# What the types of msgspec cannot say, and `chalicelib.rules` checks.
REFINED: dict[str, dict[str, Any]] = {
    "ClauseIn": {
        "oneOf": [
            {"propertyNames": {"enum": ["must", "should", "must_not"]}},
            *({"required": [name], "maxProperties": 1} for name in CLAUSES),
        ]
    },
    "BoundsIn": {"minProperties": 1},
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "ns": NAMESPACE | {"description": "Namespace"},
    "user": ID | {"description": "User id"},
    "item": ID | {"description": "Item id"},
}
K = {
    "name": "k",
    "in": "query",
    "description": "How many items",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_K, "default": DEFAULT_K},
}
FIELDS = {
    "name": "fields",
    "in": "query",
    "description": "Any declared field by its name: items that have the value, or one of them where it is repeated",
    "style": "form",
    "explode": True,
    "schema": {
        "type": "object",
        "maxProperties": MAX_PARAMETERS - 1,
        "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
}
WHEN = {
    400: "What was sent cannot be read",
    401: "No credential, or one that is not known",
    403: "The credential is not for this namespace, or lacks the scope",
    404: "No such namespace, user, item or version",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "A value cannot be used; `field` names it",
    429: "Too many requests with this credential",
    503: "Something the answer needs is out of reach",
}


def description() -> Response:
    """Answer the document."""
    return Response(document(), dict(HEADERS))


@cache
def document() -> str:
    """Return the document as JSON."""
    from app import app

    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    schema_of, components = _schemas()
    for one in OPERATIONS:
        view = app.routes[one.path][one.method]
        paths[one.path][one.method.lower()] = _operation(one, view.view_name, view.view_function.__doc__, schema_of)
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "recsys", "version": __version__, "description": ABOUT, "license": {"name": "MIT"}},
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {
                "schemas": components,
                "headers": {"RetryAfter": {"description": "Seconds", "required": True, "schema": {"type": "string"}}},
                "securitySchemes": {
                    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                },
            },
        },
        ensure_ascii=False,
    )


def _schemas() -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """Return how each body is referred to, and what is referred to."""
    types = list(dict.fromkeys(one for told in OPERATIONS for one in (told.answer, told.body) if one))
    found, components = msgspec.json.schema_components([*types, ProblemOut], ref_template=REF)
    for name, more in REFINED.items():
        components[name] |= more
    return dict(zip([*types, ProblemOut], found, strict=True)), components


def _operation(one: Operation, name: str, doc: str, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    answers = {str(one.status): _answer(one, schema_of[one.answer])}
    answers |= {str(status): _problem(status, schema_of) for status in problems(one)}
    told = {
        "operationId": name,
        "summary": summary(doc),
        "description": doc,
        "parameters": [*_path_parameters(one), *([K, FIELDS] if one.lists else [])],
        "responses": answers,
        "security": [{"key": [one.scope]}, {"token": [one.scope]}] if one.scope else [],
    }
    if one.body is not None:
        bodies = {f"example {n}": {"value": example.body} for n, example in enumerate(one.examples, 1)}
        content = {"schema": schema_of[one.body], "examples": bodies}
        told["requestBody"] = {"required": True, "content": {"application/json": content}}
    return told


def summary(doc: str) -> str:
    """Return what the docstring of a view says before it goes into details."""
    return re.split("[:;] ", doc, maxsplit=1)[0].strip().rstrip(".")


def problems(one: Operation) -> list[int]:
    """Return the statuses of the errors that an operation may answer."""
    has_ids = "{user}" in one.path or "{item}" in one.path
    return [
        *([400] if has_ids or one.lists or one.body else []),
        *([401, 403] if one.scope else []),
        *([404] if "{ns}" in one.path else []),
        *([413, 415] if one.body else []),
        *([422] if one.lists or one.body else []),
        *([429] if one.scope else []),
        *([503] if one.path != "/health/live" else []),
    ]


def _path_parameters(one: Operation) -> list[dict[str, Any]]:
    told = {"ns": "shop", **(one.examples[0].path if one.examples else {})}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema, "example": told[name]}
        for name, schema in PARAMETERS.items()
        if f"{{{name}}}" in one.path
    ]


def _answer(one: Operation, schema: dict[str, Any]) -> dict[str, Any]:
    examples = {f"example {n}": {"value": example.answer | REQUEST_ID} for n, example in enumerate(one.examples, 1)}
    content = {"schema": schema, **({"examples": examples} if examples else {})}
    return {"description": HTTPStatus(one.status).phrase, "content": {one.media: content}}


def _problem(status: int, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "description": WHEN[status],
        "content": {"application/problem+json": {"schema": schema_of[ProblemOut]}},
    }
    if status in (429, 503):
        told["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    return told
