"""Parameters of paths, queries and headers."""

from typing import Annotated, Any

import msgspec

from chalicelib.cursors import LONGEST
from chalicelib.requests import DEFAULT_K, MAX_INCLUDED, MAX_K, MAX_PARAMETERS
from chalicelib.rows import DEFAULT_ROWS, LONGEST_HALF_LIFE_H, MOST_ROWS
from chalicelib.rules import Id
from recsys.serving.service import HALF_LIFE_H

ID = msgspec.json.schema(Id)
NAMESPACE = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"}
PATH: dict[str, dict[str, Any]] = {
    "ns": NAMESPACE | {"description": "Namespace"},
    "user": ID | {"description": "User id"},
    "item": ID | {"description": "Item id"},
    "version": ID | {"description": "Version of a model"},
}


def _in_query(schema: Any, description: str, **more: Any) -> dict[str, Any]:
    told = schema if isinstance(schema, dict) else msgspec.json.schema(schema)
    return {"in": "query", "description": description, "schema": told, **more}


def _whole(default: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


OTHERS: dict[str, dict[str, Any]] = {
    "k": _in_query(_whole(DEFAULT_K, MAX_K), "How many items"),
    "rows": _in_query(_whole(DEFAULT_ROWS, MOST_ROWS), "How many rows"),
    "half_life_h": _in_query(
        {"type": "number", "minimum": 1, "maximum": LONGEST_HALF_LIFE_H, "default": HALF_LIFE_H},
        "Hours after which an event counts half",
    ),
    "cursor": _in_query(
        Annotated[str, msgspec.Meta(max_length=LONGEST)],
        "Of the page before. The rest of the request has to be the same, but for k, include and explain",
    ),
    "include": _in_query(
        {"type": "string", "pattern": f"^[^,]+(,[^,]+){{0,{MAX_INCLUDED - 1}}}$"},
        "Fields that come with each item, with commas between them",
    ),
    "fields": _in_query(
        {
            "type": "object",
            "maxProperties": MAX_PARAMETERS - 5,
            "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
        "Any declared field by its name: items that have the value, or one of them where it is repeated",
        style="form",
        explode=True,
    ),
    "If-None-Match": {"in": "header", "description": "Tags of lists that the client has", "schema": {"type": "string"}},
}


def of_path(path: str, told: dict[str, str]) -> list[dict[str, Any]]:
    """Return the parameters of a path, with their values in an example."""
    return [
        {"name": name, "in": "path", "required": True, "schema": schema, "example": told[name]}
        for name, schema in PATH.items()
        if f"{{{name}}}" in path
    ]
