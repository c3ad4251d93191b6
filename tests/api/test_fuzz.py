"""Every route under storms of junk: no answer of 5xx, every error a problem; and proof that the storms can fail."""

import json
import os
import random
import time
from importlib import import_module

import msgspec
import pytest
from api_client import check_problem
from mutations import HEADER_JUNK, METHODS, PATH_JUNK, QUERY_JUNK, TOKENS, mutated_request

MUTATED_REQUESTS = 6_000  # and as many as one likes over the wire: test_wire_fuzz.py
JUNK_PER_ROUTE = 60


def storm(api, n, seed):
    """Send n mutated requests; return how many came back by status."""
    chance, routes, statuses = random.Random(seed), sorted(api.app.routes), {}
    for _ in range(n):
        answer = api.invoke(**mutated_request(chance, routes))
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        if answer.status >= 400:
            check_problem(answer)
    return statuses


def failures(statuses):
    return sum(n for status, n in statuses.items() if status >= 500)


def new_seed():
    seed = int(os.environ.get("RECSYS_FUZZ_SEED") or time.time_ns())
    print(f"replay with RECSYS_FUZZ_SEED={seed}")
    return seed


def test_no_mutated_request_is_answered_with_5xx(api):
    statuses = storm(api, MUTATED_REQUESTS, new_seed())
    assert failures(statuses) == 0, statuses
    assert {200, 202, 400, 404, 405, 413, 415, 422} <= set(statuses), statuses  # it reached everything there is
    assert api.get("/v1/shop/popular").json["degraded"] is False


@pytest.mark.parametrize(
    ("module", "name", "bug"),
    [
        ("requests", "_depth", lambda text: 0),
        ("requests", "_unique", dict),
        ("requests", "encode_id", str),
        ("face", "DataError", ()),  # what the service refuses in a context is taken for a failure of ours
    ],
)
def test_the_storm_finds_a_planted_bug(api, monkeypatch, module, name, bug):
    monkeypatch.setattr(import_module(f"chalicelib.{module}"), name, bug)
    try:
        found = failures(storm(api, 4000, 1))
    except (AssertionError, msgspec.MsgspecError):  # the line and the body of every answer are looked at as well
        found = 1
    assert found > 0


@pytest.mark.parametrize("method", METHODS)
def test_every_route_answers_problems_to_junk(api, method):
    assert len(api.app.routes) >= 6
    for route, views in api.app.routes.items():
        assert all(entry.content_types == ["*/*"] for entry in views.values())
        for n in range(JUNK_PER_ROUTE if method in views else 3):
            junk = PATH_JUNK[n % len(PATH_JUNK)]
            answer = api.invoke(
                method,
                route,
                {"ns": junk if n % 2 else "shop", "user": junk, "item": junk, "version": junk},
                query=QUERY_JUNK[n % len(QUERY_JUNK)],
                headers=HEADER_JUNK[n % len(HEADER_JUNK)],
                body=TOKENS[n % len(TOKENS)].decode("latin-1"),
            )
            assert answer.status < 500, answer
            if answer.status >= 400:
                check_problem(answer)
            if method not in views:
                check_problem(answer, 405)
                assert answer.headers["allow"] == ", ".join(views)
                assert len(answer.body) < 1000


def test_a_view_that_breaks_is_a_problem_without_its_reason(api, monkeypatch, caplog):
    from chalicelib import wiring

    monkeypatch.setattr(wiring.service(), "popular", lambda *_, **__: 1 / 0)
    check_problem(api.get("/v1/shop/popular"), 500)
    assert "ZeroDivisionError" in caplog.text


def test_an_event_without_a_route_is_a_problem(api):
    answer = api.app({"requestContext": {}}, None)
    assert json.loads(answer["body"])["status"] == 500
