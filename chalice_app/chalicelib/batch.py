"""Many requests in one: each goes through the view of its own route, as if it had been sent alone."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from chalice import Response
from chalice.app import Request
from msgspec import Meta

from chalicelib.bodies import json_body
from chalicelib.face import Face
from chalicelib.responses import HEADERS, problem

MAX_REQUESTS = 100
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of all answers; Lambda passes on 6 MB."""
_NO_PART = {"if-none-match", "content-length"}
"""Headers that speak of the batch, and not of its parts."""

ROUTES = {
    "recommendations": "/v1/{ns}/users/{user}/recommendations",
    "session": "/v1/{ns}/recommendations",
    "scores": "/v1/{ns}/users/{user}/scores",
    "rerank": "/v1/{ns}/users/{user}/rerank",
    "similar": "/v1/{ns}/items/{item}/similar",
    "popular": "/v1/{ns}/popular",
    "trending": "/v1/{ns}/trending",
    "rows": "/v1/{ns}/users/{user}/rows",
}
"""By the names a batch has for them; of each it is the POST."""


_SHOWN = f"`route` ({', '.join(ROUTES)}), `user` or `item` where it has one, and the members of the body of its POST"
Part = Annotated[dict[str, Any], Meta(description=_SHOWN)]


class BatchIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST batch: of each request its route, user or item where the route has one, and its body."""

    requests: Annotated[list[Part], Meta(min_length=1, max_length=MAX_REQUESTS)]


def answers(app: Face, namespace: str) -> Response:
    """Answer each request in its place, with the status and body it would have had alone."""
    batch = app.current_request
    asked, told, size = json_body(batch, BatchIn).requests, list[str](), 0
    try:
        for one in asked:
            found = _too_long(app) if size > MAX_ANSWER_BYTES else _answer(app, batch, namespace, one)
            told.append(f'{{"status":{found.status_code},"body":{found.body}}}')
            size += len(told[-1])
    finally:
        app.current_request = batch
    body = f'{{"answers":[{",".join(told)}],"request_id":{json.dumps(app.request_id)}}}'
    return Response(body, dict(HEADERS))


def _answer(app: Face, batch: Request, namespace: str, asked: dict[str, Any]) -> Response:
    route = asked.pop("route", None)
    if not isinstance(route, str) or route not in ROUTES:
        return problem(422, f"is one of {', '.join(ROUTES)}", app.request_id, field="route")
    path, arguments = ROUTES[route], {"ns": namespace}
    for named in ("user", "item"):
        if f"{{{named}}}" in path:
            name = asked.pop(named, None)
            if not isinstance(name, str):
                return problem(422, f"names the {named}, as text", app.request_id, field=named)
            arguments[named] = quote(name, safe="", errors="surrogatepass")
    app.current_request = _part(batch, path, arguments, asked)
    response: Response = app.routes[path]["POST"].view_function(**arguments)
    return response


def _part(batch: Request, path: str, arguments: dict[str, str], body: dict[str, Any]) -> Request:
    """Return the request that a part of the batch would have been."""
    event = {
        "multiValueQueryStringParameters": None,
        "headers": {name: value for name, value in batch.headers.items() if name.lower() not in _NO_PART},
        "pathParameters": arguments,
        "requestContext": {**batch.context, "httpMethod": "POST", "resourcePath": path},
        "stageVariables": batch.stage_vars,
        "body": json.dumps(body),
    }
    return Request(event, batch.lambda_context)


def _too_long(app: Face) -> Response:
    reason = f"the answers before have more than {MAX_ANSWER_BYTES:,} bytes; send this one with fewer others"
    return problem(413, reason, app.request_id)
