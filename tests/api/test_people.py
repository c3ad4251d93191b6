"""What is held of a user, and their erasure, over REST."""

import time

import pytest
from api_client import JSON, body_of, check_problem, event, path_of, user_path
from conftest import ODD_IDS

PARTS = {"user", "profile", "history", "history_total", "trained", "model_version", "request_id"}


def of_user(api, user, method="GET", namespace="shop"):
    return api.request(method, path_of("v1", namespace, "users", user))


def test_what_is_held_of_a_user_is_shown_newest_first(api, shop):
    shop.online.put_user_profiles("shop", {"u1": {"age": 3}})
    sent = [event(f"e{n}", item=f"i{n}", value=n, timestamp=1_700_000_000 + n) for n in range(250)]
    api.post(body_of(*sent))
    answer = of_user(api, "u1")
    assert (answer.status, set(answer.json)) == (200, PARTS)
    assert answer.json["profile"] == {"age": 3}
    assert answer.json["history_total"] == 250
    assert [one["event_id"] for one in answer.json["history"]] == [f"e{n}" for n in range(249, 49, -1)]
    assert answer.json["history"][0] == {
        "event_id": "e249", "item": "i249", "event": "interaction", "value": 249.0, "timestamp": 1_700_000_249.0
    }  # fmt: skip
    assert answer.json["trained"]
    assert answer.json["model_version"] == shop.registry.current("shop").version


def test_of_a_stranger_nothing_is_held(api):
    answer = of_user(api, "a stranger")
    told = answer.json
    assert (answer.status, told["profile"], told["history"], told["history_total"]) == (200, {}, [], 0)
    assert told["trained"] is False
    assert of_user(api, "a stranger", "DELETE").json["erased"] == {"events": 0, "states": 0, "profile": False}


@pytest.mark.parametrize("user", ["u1", *ODD_IDS])
def test_an_erased_user_is_a_stranger_at_once_and_the_others_are_not(api, shop, user):
    shop.online.put_user_profiles("shop", {user: {"age": 3}})
    api.post(body_of(event("e", user), event("f", user, item="i2"), event("other", "u2")))
    stranger, other = api.get(user_path("a stranger")).items, api.get(user_path("u2")).items
    assert api.get(user_path(user)).items != stranger
    answer = of_user(api, user, "DELETE")
    assert (answer.status, answer.json["user"]) == (200, user)
    assert answer.json["erased"] == {"events": 2, "states": 1, "profile": True}
    assert len(answer.json["pending"]) == 3
    assert api.get(user_path(user)).items == stranger
    assert api.get(user_path("u2")).items == other
    held = of_user(api, user).json
    assert (held["profile"], held["history"], held["trained"]) == ({}, [], False)
    assert of_user(api, user, "DELETE").json["erased"] == {"events": 0, "states": 0, "profile": False}


def test_who_comes_back_is_somebody_new(api):
    api.post(body_of(event("old")))
    of_user(api, "u1", "DELETE")
    assert api.post(body_of(event("old"), event("late", timestamp=time.time() - 60))).json["accepted"] == 0
    assert api.post(body_of(event("new", item="i5", timestamp=time.time() + 60))).json["accepted"] == 1
    assert [one["event_id"] for one in of_user(api, "u1").json["history"]] == ["new"]
    found = api.get(user_path("u1"))
    assert found.json["strategy"] == "fold_in"
    assert "i5" not in dict(found.items)


def test_a_namespace_that_nobody_published_has_no_users(api):
    for method in ("GET", "DELETE"):
        check_problem(of_user(api, "u1", method, "nowhere"), 404, "ns")
        check_problem(of_user(api, "x" * 257, method), 400, "user")
    check_problem(api.request("POST", path_of("v1", "shop", "users", "u1"), headers=JSON, body="{}"), 405)
