"""Threads of one process: each builds its answer from its own request, and the test sees it when they do not."""

import sys
import threading
from types import SimpleNamespace

import pytest
from api_client import body_of, event

THREADS, ROUNDS = 8, 150


@pytest.fixture
def restless():
    """Switch threads as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def mixed_up(api, label):
    """Let threads ask for their own k and post their own events at once; return what came back wrong."""
    wrong, start = [], threading.Barrier(THREADS)
    app, json_headers = api.app, {"content-type": "application/json"}

    def call(context, method, route, parameters, query=None, body=None):
        sent = {
            "requestContext": {"httpMethod": method, "resourcePath": route},
            "headers": json_headers,
            "pathParameters": parameters,
            "multiValueQueryStringParameters": query,
            "stageVariables": None,
            "body": body,
        }
        return app(sent, SimpleNamespace(aws_request_id=context))["body"]

    def client(number):
        import json

        start.wait()
        for n in range(ROUNDS):
            name = f"{label}-{number}-{n}"
            query = {"k": [str(number + 1)]}
            got = json.loads(call(name, "GET", "/v1/{ns}/popular", {"ns": "shop"}, query))
            if got["request_id"] != name or len(got.get("items", ())) != number + 1:
                wrong.append((name, got))
            if n % 10 == 0:
                sent = body_of(*(event(f"{name}-{i}", name) for i in range(number + 1)))
                got = json.loads(call(name, "POST", "/v1/{ns}/events", {"ns": "shop"}, body=sent))
                if got["request_id"] != name or got.get("accepted") != number + 1:
                    wrong.append((name, got))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def test_no_thread_gets_an_answer_to_anothers_request(api, restless):
    assert mixed_up(api, "whole") == []


def test_with_one_request_for_all_threads_they_are_mixed_up(api, restless, monkeypatch):
    """Chalice's own way to keep the request, planted: if this passes unnoticed, the test above proves nothing."""
    from chalicelib.face import Face

    class Shared(Face):
        current_request = None

    monkeypatch.setattr(api.app, "__class__", Shared)
    assert mixed_up(api, "planted")
