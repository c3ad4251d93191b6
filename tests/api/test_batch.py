"""A batch is what its requests are one by one: byte for byte, but for the id of the request."""

import json
import random
from urllib.parse import quote

import pytest
from api_client import JSON, body_of, check_problem, event, path_of

from chalicelib import batch
from recsys.errors import StorageError

PATHS = {
    "recommendations": ("users", "user", "recommendations"),
    "session": ("recommendations",),
    "scores": ("users", "user", "scores"),
    "rerank": ("users", "user", "rerank"),
    "similar": ("items", "item", "similar"),
    "popular": ("popular",),
    "trending": ("trending",),
    "rows": ("users", "user", "rows"),
}
ODD = ("a/b", "%41", "日本語", "\0", "..", "x" * 257, "", "\ud800")
RULES = (
    {},
    {"filter": {"match": {"genre": "a"}}},
    {"exclude": ["i1"]},
    {"filter": {"match": {"color": "a"}}},
    {"k": 0},
)


def drawn(chance):
    """Make one request, good or bad."""
    route = chance.choice(list(PATHS))
    body = {"k": chance.choice([1, 5, 20]), **chance.choice(RULES)}
    if route == "scores":
        body = {"items": ["i1", chance.choice(["i2", "nothing"])], "explain": chance.random() < 0.5}
    if route == "rerank":
        body |= {"items": chance.sample([f"i{n}" for n in range(31)], 9)}
    if route in ("session", "recommendations"):
        body |= {"events": [{"item": f"i{chance.randrange(30)}"}], "context": chance.choice([{}, {}, {"moon": 1}])}
    if route == "trending":
        body |= {"half_life_h": chance.choice([1, 24.5, 0.1])}
    if route == "rows":
        body |= {"rows": chance.choice([1, 3, "x"])}
    if "user" in PATHS[route]:
        body["user"] = chance.choice(["u1", "u4", "nobody", *ODD])
    if "item" in PATHS[route]:
        body["item"] = chance.choice(["i1", "i7", "nothing", *ODD])
    return {"route": route, **body}


def alone(api, namespace, asked):
    """Send one request to its own route."""
    body, parameters, path = dict(asked), {"ns": namespace}, ["v1", "{ns}"]
    for part in PATHS[body.pop("route")]:
        if part in ("user", "item"):
            parameters[part] = quote(body.pop(part), safe="", errors="surrogatepass")
        path.append(f"{{{part}}}" if part in parameters else part)
    return api.invoke("POST", "/" + "/".join(path), parameters, headers=JSON, body=json.dumps(body))


def send(api, requests, namespace="shop"):
    return api.ask(path_of("v1", namespace, "batch"), {"requests": requests})


def check(api, requests):
    together = send(api, requests)
    assert together.status == 200, together
    own_id = json.dumps(together.json["request_id"])
    told = []
    for one in requests:
        answer = alone(api, "shop", one)
        body = answer.body.decode().replace(json.dumps(answer.json["request_id"]), own_id)
        told.append(f'{{"status":{answer.status},"body":{body}}}')
    assert together.body.decode() == f'{{"answers":[{",".join(told)}],"request_id":{own_id}}}'
    return [one["status"] for one in together.json["answers"]]


@pytest.fixture
def shelved(api):
    api.request("PUT", "/v1/shop/catalogue", headers=JSON, body='{"fields":{"genre":"keyword"}}')
    for n in range(6):
        api.request("PUT", f"/v1/shop/items/i{n}", headers=JSON, body=json.dumps({"genre": "ab"[n % 2]}))
    api.post(body_of(event("e1", "u1", "i3"), event("e2", "u4", "i9")))
    return api


def test_a_batch_of_a_hundred_is_a_hundred_requests(shelved):
    chance = random.Random(1)
    statuses = check(shelved, [drawn(chance) for _ in range(100)])
    assert {200, 400, 404, 422} == set(statuses)
    send(shelved, [{"route": "popular"}])
    assert (shelved.line["route"], shelved.line["status"], "strategy" in shelved.line) == ("/v1/{ns}/batch", 200, False)


@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("quote", lambda text, **_: text),
        (
            "_part",
            lambda sent, path, arguments, body: batch.Request({**sent._event_dict, "body": "{}"}, sent.lambda_context),
        ),
    ],
)
def test_the_check_above_catches_a_planted_bug(shelved, monkeypatch, name, bug):
    monkeypatch.setattr(batch, name, bug)
    with pytest.raises((AssertionError, UnicodeEncodeError)):
        test_a_batch_of_a_hundred_is_a_hundred_requests(shelved)


@pytest.mark.parametrize(
    ("one", "status", "field"),
    [
        ({}, 422, "route"),
        ({"route": "batch", "requests": []}, 422, "route"),
        ({"route": ["popular"]}, 422, "route"),
        ({"route": "rows"}, 422, "user"),
        ({"route": "rows", "user": 7}, 422, "user"),
        ({"route": "similar", "user": "u1"}, 422, "item"),
        ({"route": "popular", "user": "u1"}, 422, "user"),
        ({"route": "rerank", "user": "u1", "items": ["i1", "nothing"]}, 404, "items[1]"),
        ({"route": "similar", "item": "nothing"}, 404, "item"),
        ({"route": "trending", "method": "GET"}, 422, "method"),
    ],
)
def test_a_bad_request_is_a_problem_in_its_place_and_the_others_are_answered(api, one, status, field):
    answers = send(api, [{"route": "popular"}, one, {"route": "popular"}]).json["answers"]
    assert [answer["status"] for answer in answers] == [200, status, 200]
    assert (answers[1]["body"]["status"], answers[1]["body"]["field"]) == (status, field)
    assert answers[0] == answers[2]


def test_a_batch_that_is_none_is_refused_as_a_whole(api):
    for requests in ([], [{"route": "popular"}] * 101, {}, ["popular"], None):
        check_problem(send(api, requests), 422)
    check_problem(send(api, [{"route": "popular", "exclude": ["x" * 256] * 1100}]), 413)
    for namespace in ("nowhere", "no name"):
        check_problem(send(api, [{"route": "popular"}], namespace), 404, "ns")
    assert len(send(api, [{"route": "popular", "k": 1}] * 100).json["answers"]) == 100


def test_answers_beyond_what_the_gateway_passes_on_are_left_to_another_batch(api, monkeypatch):
    monkeypatch.setattr(batch, "MAX_ANSWER_BYTES", 2000)
    answers = send(api, [{"route": "popular", "k": 20}] * 9).json["answers"]
    statuses = [one["status"] for one in answers]
    assert statuses == [200] * statuses.count(200) + [413] * statuses.count(413)
    assert 1 <= statuses.count(200) < 9
    assert sum(len(json.dumps(one)) for one in answers if one["status"] == 200) <= 2500


def test_a_batch_that_takes_long_is_answered_as_far_as_it_came(api, monkeypatch):
    monkeypatch.setattr(batch, "MAX_S", 0.0)
    assert [one["status"] for one in send(api, [{"route": "popular"}] * 3).json["answers"]] == [413] * 3


def test_an_answer_that_the_gateway_would_not_pass_on_is_refused_in_a_word(api, shop):
    shop.online.put_items("shop", {f"more {n}": {"text": "x" * 32_000} for n in range(140)})
    asked = api.get("/v1/shop/popular?k=500&include=text")
    assert (asked.status, len(asked.body) < 500) == (422, True)
    assert api.get("/v1/shop/popular?k=5&include=text").status == 200
    parts = [{"route": "popular", "k": 500, "include": ["text"]}, {"route": "popular", "k": 1}]
    assert [one["status"] for one in send(api, parts).json["answers"]] == [422, 200]


def test_a_part_that_a_store_fails_is_a_503_in_its_place_and_its_cause_is_in_the_line(api, monkeypatch):
    from chalicelib import wiring

    def refuse(*_, **__):
        raise StorageError("out of reach")

    monkeypatch.setattr(wiring.service(), "trending", refuse)
    answers = send(api, [{"route": "trending"}, {"route": "popular"}]).json["answers"]
    assert [one["status"] for one in answers] == [503, 200]
    assert api.line["error"].startswith("StorageError")
