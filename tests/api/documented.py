"""What the OpenAPI document says of routes, held against answers."""

import json
from functools import cache

import msgspec

from chalicelib.openapi.answers import ProblemOut
from chalicelib.openapi.document import document
from chalicelib.openapi.operations import OPERATIONS

BY_ROUTE = {(one.method, one.path): one for one in OPERATIONS}


@cache
def the_document():
    return json.loads(document())


def responses(method, route):
    return the_document()["paths"][route][method.lower()]["responses"]


def check_answer(method, route, answer):
    """Decode an answer as the struct the document shows for it, no member more or less."""
    one, kind = BY_ROUTE.get((method, route)), answer.headers["content-type"].partition(";")[0]
    if one is None:
        assert answer.status in (204, 404, 405), (method, route, answer)
    elif answer.status != 500:  # those are planted by tests
        told = responses(method, route)[str(answer.status)]
        assert kind in told["content"] if "content" in told else not answer.body, (method, route, answer)
    if answer.status >= 400:
        assert msgspec.json.decode(answer.body, type=ProblemOut).status == answer.status
    elif one is not None and answer.status == one.status and kind == "application/json":
        msgspec.json.decode(answer.body, type=one.answer)
