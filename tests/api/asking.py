"""Requests for whatever routes the app has: what a path and a body need is found by their names."""

import json

from api_client import JSON, event

BODIES = (
    {},
    {"k": 5},
    {"items": ["i1", "i2"]},
    {"events": [event("asked", "asker", "i3")]},
    {"requests": [{"route": "popular", "k": 2}, {"route": "recommendations", "user": "u1", "k": 2}]},
    {"fields": {"genre": "keyword"}},
    {"genre": "drama"},
)
KNOWN = {"scores": 2, "rerank": 2, "events": 3, "batch": 4, "catalogue": 5}
"""Bodies by the end of a route; the others take the second, and items the last."""


def routes(app):
    """Every route with its scope: (method, path, scope)."""
    return [(method, path, scope) for (method, path), scope in sorted(app.scopes.items(), key=str)]


def request_to(method, path, *, namespace="shop", user="u1", item="i1", more="x", body=None):
    """Return headers, parameters of the path and a body that suits a route."""
    given = {"ns": namespace, "user": user, "item": item}
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = {name: given.get(name, more) for name in names}
    if method not in ("POST", "PUT"):
        return {}, parameters, None
    at = KNOWN.get(path.rsplit("/", 1)[-1], 6 if path.endswith("{item}") else 1)
    return dict(JSON), parameters, json.dumps(BODIES[at]) if body is None else body


def target(path, parameters):
    """Fill a path in, as a URL has it."""
    from urllib.parse import quote

    return path.format(**{name: quote(value, safe="") for name, value in parameters.items()})
