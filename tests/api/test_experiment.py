"""Experiments over REST: set, asked for and ended; the variant in answers; impressions beside events."""

import json

import pytest
from api_client import JSON, body_of, check_problem, event, path_of, user_path
from conftest import fitted

PATH = "/v1/shop/experiment"
USERS = [f"u{n}" for n in range(40)]
EXPLORING = {"kind": "epsilon", "epsilon": 0.5, "pool": 30}


def put(api, path=PATH, **document):
    return api.request("PUT", path, headers=JSON, body=json.dumps(document))


def half(**more):
    return [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, **more}]


def shown(event_id="s", user="u1", *items, **more):
    fields = {"type": "impression", "event_id": event_id, "user": user, "timestamp": 1_700_000_000}
    answered = {"request_id": "r", "model_version": "v", "items": [{"item": one} for one in items or ("i1", "i2")]}
    return {**fields, **answered, **more}


def test_a_split_is_set_read_seen_in_answers_and_ended(api, shop):
    old = shop.registry.current("shop").version
    new = shop.publish(fitted(1)).version
    assert api.get(PATH).json["experiment"] is None
    check_problem(api.request("DELETE", PATH), 404)
    assert api.get(user_path("u1")).json["variant"] is None  # a look that is new when the split is set
    told = put(api, name="old or new", variants=half(version=old))
    assert told.status == 200
    assert api.get(PATH).json["experiment"] == told.json["experiment"]
    versions = {
        api.get(user_path(user)).json["variant"]: api.get(user_path(user)).json["model_version"] for user in USERS
    }
    assert versions == {"a": new, "b": old}
    for user in USERS[:3]:
        listed = api.request("POST", user_path(user), headers=JSON, body="{}").json
        scored = api.request(
            "POST", path_of("v1", "shop", "users", user, "scores"), headers=JSON, body='{"items":["i1"]}'
        )
        assert (listed["variant"], listed["model_version"]) == (scored.json["variant"], scored.json["model_version"])
    assert api.request("POST", "/v1/shop/recommendations", headers=JSON, body="{}").json["variant"] == "a"
    assert api.get("/v1/shop/popular").json["variant"] is None
    assert api.request("DELETE", PATH).json["experiment"]["ended_at"]
    assert {api.get(user_path(user)).json["variant"] for user in USERS} == {None}


def test_explored_places_say_how_likely_they_were(api):
    put(api, name="e", variants=half(exploration=EXPLORING))
    for user in USERS:
        answer = api.get(user_path(user) + "?k=9").json
        assert all(("propensity" in one) == (answer["variant"] == "b") for one in answer["items"])
        assert all(0 < one.get("propensity", 1) <= 1 for one in answer["items"])
        assert len({one["item"] for one in answer["items"]}) == 9


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "name"),
        ({"name": "e", "variants": half(version="20200101T000000Z-0000")}, "variants[1].version"),
        ({"name": "e", "variants": half(share=0.6)}, "variants"),
        ({"name": "e", "variants": half(name="")}, "variants[1].name"),
        ({"name": "e", "variants": half(exploration=EXPLORING | {"kind": "softmax"})}, "variants[1].exploration.kind"),
        ({"name": "e", "variants": half(exploration=EXPLORING | {"epsilon": 0.7})}, "variants[1].exploration.epsilon"),
        ({"name": "e", "variants": half(weight=1)}, "variants[1].weight"),
        ({"name": "e", "variants": half(), "salt": ""}, "salt"),
        ({"name": "e", "variants": half(), "started_at": "now"}, "started_at"),
    ],
)
def test_what_is_no_experiment_names_the_field_and_changes_nothing(api, document, field):
    put(api, name="first", variants=half())
    check_problem(put(api, **document), 422, field)
    assert api.get(PATH).json["experiment"]["name"] == "first"


def test_a_namespace_without_a_model_has_no_experiment(api):
    path = "/v1/nowhere/experiment"
    for answer in (api.get(path), put(api, path, name="e", variants=half()), api.request("DELETE", path)):
        check_problem(answer, 404, "ns")


def test_impressions_are_stored_once_beside_events_and_count_as_none(api, shop):
    before, popular = api.get(user_path("u4") + "?k=30"), api.get("/v1/shop/popular?k=30")
    first = {"item": before.items[0][0], "propensity": 0.25}
    sent = [
        shown("s1", "u4", items=[first, {"item": "é\0"}], variant="a", strategy="als"),
        event("e1", "u5", type="interaction"),
        shown("s1", "u4"),
        event("s1", "u6"),
    ]
    answer = api.post(body_of(*sent))
    assert (answer.status, answer.json["accepted"], answer.json["duplicates"]) == (202, 3, 1)
    assert api.post(body_of(*sent)).json["duplicates"] == 4
    [stored] = shop.online.impressions_after("shop", 0, limit=9)
    one = stored.impression
    assert [tuple(item) for item in one.items] == [(first["item"], 0.25), ("é\0", None)]
    assert (one.user, one.request_id, one.model_version, one.variant, one.strategy) == ("u4", "r", "v", "a", "als")
    assert [one.event.event_id for one in shop.online.events_after("shop", 0, limit=9)] == ["e1", "s1"]
    assert api.get(user_path("u4") + "?k=30").items == before.items
    assert api.get("/v1/shop/popular?k=30").items == popular.items


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": "view"}, "events[0].type"),
        ({"type": 1}, "events[0].type"),
        ({"items": []}, "events[0].items"),
        ({"items": [{"item": "i1"}] * 2}, "events[0].items"),
        ({"items": [{"item": f"i{n}"} for n in range(501)]}, "events[0].items"),
        ({"items": [{"item": f"{n:0256d}".replace("0", "😀")} for n in range(70)]}, "events[0].items"),
        ({"items": [{"item": "i1"}, {"item": ""}]}, "events[0].items[1].item"),
        ({"items": [{"item": "i1", "propensity": 0}]}, "events[0].items[0].propensity"),
        ({"items": [{"item": "i1", "propensity": 1.01}]}, "events[0].items[0].propensity"),
        ({"items": ["i1"]}, "events[0].items[0]"),
        ({"timestamp": -1}, "events[0].timestamp"),
        ({"variant": ""}, "events[0].variant"),
        ({"request_id": "\ud800"}, "events[0].request_id"),
        ({"value": 1}, "events[0].value"),
    ],
)
def test_what_is_no_impression_names_the_field_and_nothing_is_stored(api, shop, change, field):
    check_problem(api.post(body_of(shown(**change), event("e"))), 422, field)
    assert shop.online.last_impression("shop") == shop.online.last_position("shop") == 0
