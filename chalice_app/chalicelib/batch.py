"""Many requests in one: each goes through the view of its own route, as if it had been sent alone."""

import json
import time
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from chalice import Response
from chalice.app import Request
from msgspec import Meta

from chalicelib.bodies import json_body
from chalicelib.face import Face
from chalicelib.responses import JSON, MAX_ANSWER_BYTES, problem

MAX_REQUESTS = 100
MAX_S = 20.0
"""After which no part is begun: the gateway waits 29 s, and would throw away all that was answered."""
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
    asked, told = json_body(batch, BatchIn).requests, list[str]()
    left, until_s = MAX_ANSWER_BYTES, time.monotonic() + MAX_S
    try:
        for one in asked:
            if in_time := left > 0 and time.monotonic() < until_s:
                found = _answer(app, batch, namespace, one)
                left -= len(found.body)
            if not in_time or left < 0:
                found = _too_much(app)
            told.append(f'{{"status":{found.status_code},"body":{found.body}}}')
    finally:
        app.current_request = batch
    body = f'{{"answers":[{",".join(told)}],"request_id":{json.dumps(app.request_id)}}}'
    return Response(body, dict(JSON))


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


def _too_much(app: Face) -> Response:
    reason = (
        f"the answers up to here have more than {MAX_ANSWER_BYTES:,} bytes or took more than {MAX_S:g} s; "
        "send this one with fewer others"
    )
    return problem(413, reason, app.request_id)
