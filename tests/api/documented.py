"""What the OpenAPI document says of routes, held against answers."""

import json
from functools import cache

import msgspec

from chalicelib.openapi import document, problems
from chalicelib.operations import OPERATIONS
from chalicelib.schemas import ProblemOut

BY_ROUTE = {(one.method, one.path): one for one in OPERATIONS}


@cache
def the_document():
    return json.loads(document())


def check_answer(method, route, answer):
    """Decode an answer as the struct the document shows for it, no member more or less."""
    one = BY_ROUTE.get((method, route))
    if one is not None and answer.status == one.status:
        assert answer.headers["content-type"] == one.media
        msgspec.json.decode(answer.body, type=one.answer)
        return
    found = msgspec.json.decode(answer.body, type=ProblemOut)
    assert found.status == answer.status
    if one is not None and answer.status != 500:  # those are planted by tests
        assert answer.status in problems(one), (method, route, answer)
