"""Lists and scores in context, with a session's events: the service's own answers, and what a client gets wrong."""

import pytest
from api_client import check_problem, path_of, user_path

from recsys.serving import SessionEvent

SESSION = path_of("v1", "films", "recommendations")
CONTEXT = {"device": "phone", "hour": "7", "country": "it", "age": 40}
EVENTS = [{"item": "i3"}, {"item": "i4", "value": 2.5}, {"item": "nothing"}]
SENT = [SessionEvent("i3"), SessionEvent("i4", 2.5), SessionEvent("nothing")]


def scores_path(user, namespace="films"):
    return path_of("v1", namespace, "users", user, "scores")


def same(answer, expected, strategy):
    assert answer.status == 200, answer
    assert answer.items == [(one.item, one.score) for one in expected.items]
    assert (answer.json["strategy"], expected.strategy) == (strategy, strategy)
    assert answer.json["model_version"] == expected.model_version


@pytest.mark.parametrize(("user", "strategy"), [("u5", "fm"), ("stranger", "context")])
def test_a_list_in_context_is_the_services_own(api, shop, user, strategy):
    mine = shop.service.recommend("films", user, 7, context=CONTEXT)
    same(api.ask(user_path(user, "films"), {"k": 7, "context": CONTEXT}), mine, strategy)


@pytest.mark.parametrize("user", ["u5", "stranger", None])
def test_events_of_a_session_are_folded_in(api, shop, user):
    path = user_path(user, "films") if user else SESSION
    mine = shop.service.recommend("films", user, 20, context=CONTEXT, events=SENT)
    same(api.ask(path, {"context": CONTEXT, "events": EVENTS}), mine, "fold_in")
    assert not {"i3", "i4"} & {one.item for one in mine.items}


def test_an_empty_body_asks_what_get_asks(api, shop):
    for namespace in ("films", "shop"):
        got, posted = api.get(user_path("u5", namespace)), api.ask(user_path("u5", namespace), {})
        assert {**got.json, "request_id": ""} == {**posted.json, "request_id": ""}
        same(api.ask(path_of("v1", namespace, "recommendations"), {}), shop.service.popular(namespace, 20), "popular")


def test_scores_are_the_services_own(api, shop):
    items = ["i9", "i1", "i9"]
    for user in ("u5", "stranger"):
        mine = shop.service.scores("films", user, items, context=CONTEXT, explain=True)
        answer = api.ask(scores_path(user), {"items": items, "context": CONTEXT})
        same(answer, mine, "fm" if user == "u5" else "context")
        assert [list(one) for one in answer.json["items"]] == [["item", "score"]] * 3
        told = api.ask(scores_path(user), {"items": items, "context": CONTEXT, "explain": True})
        same(told, mine, mine.strategy)
        for one, expected in zip(told.json["items"], mine.items, strict=True):
            assert one["raw_score"] == expected.raw_score
            assert [tuple(part.values()) for part in one["explanation"]] == [
                (part.source, part.name, part.value) for part in expected.contributions
            ]
            assert sum(part["value"] for part in one["explanation"]) == pytest.approx(one["raw_score"], abs=1e-9)
            assert 0 < one["score"] < 1


def test_a_model_without_features_says_so(api):
    check_problem(api.ask(user_path("u5"), {"context": {"device": "phone"}}), 422, "context.device")
    assert api.ask(scores_path("u5", "shop"), {"items": ["i1"]}).status == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"k": 0}, "k"),
        ({"k": 501}, "k"),
        ({"k": "5"}, "k"),
        ({"k": 5.5}, "k"),
        ({"k": True}, "k"),
        ({"limit": 5}, "limit"),
        ({"context": None}, "context"),
        ({"context": [1]}, "context"),
        ({"context": {"weather": "rain"}}, "context.weather"),
        ({"context": {"device": "x" * 5000}}, "context"),
        ({"context": {"device": "\ud800" * 5000}}, "context"),
        ({"context": {str(n): n for n in range(1000)}}, "context"),
        ({"context": {"": "x"}}, "context"),
        ({"context": {"__proto__": "x"}}, "context.__proto__"),
        ({"context": {"device": [["phone"]]}}, "context.device"),
        ({"context": {"device": []}}, "context.device"),
        ({"context": {"device": {"a": {}}}}, "context.device"),
        ({"context": {"device": "x" * 257}}, "context.device"),
        ({"context": {"device": "\ud800"}}, "context.device"),
        ({"context": {"age": "old"}}, "context.age"),
        ({"context": {"age": 1e308}}, "context.age"),
        ({"events": {}}, "events"),
        ({"events": [{}]}, "events[0].item"),
        ({"events": [{"item": "i1"}, {"item": ""}]}, "events[1].item"),
        ({"events": [{"item": "\ud800"}]}, "events[0].item"),
        ({"events": [{"item": "i1", "value": -1}]}, "events[0].value"),
        ({"events": [{"item": "i1", "value": "5"}]}, "events[0].value"),
        ({"events": [{"item": "i1", "user": "u1"}]}, "events[0].user"),
        ({"events": [{"item": "i1"}] * 501}, "events"),
    ],
)
@pytest.mark.parametrize("path", [SESSION, user_path("u5", "films"), user_path("stranger", "films")])
def test_what_cannot_be_asked_is_refused_by_the_field_at_fault(api, path, body, field):
    check_problem(api.ask(path, body), 422, field)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "items"),
        ({"items": []}, 422, "items"),
        ({"items": ["i1"] * 501}, 422, "items"),
        ({"items": "i1"}, 422, "items"),
        ({"items": ["i1", 2]}, 422, "items[1]"),
        ({"items": ["i1", ""]}, 422, "items[1]"),
        ({"items": ["i1", "\ud800"]}, 422, "items[1]"),
        ({"items": ["i1", "nothing"]}, 404, "items[1]"),
        ({"items": ["i1"], "context": {"weather": 1}}, 422, "context.weather"),
        ({"items": ["i1"], "context": {"device": "x" * 5000}}, 422, "context"),
        ({"items": ["i1"], "explain": 1}, 422, "explain"),
        ({"items": ["i1"], "events": []}, 422, "events"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_the_field_at_fault(api, body, status, field):
    check_problem(api.ask(scores_path("u5"), body), status, field)


@pytest.mark.parametrize("route", ["/v1/{ns}/users/{user}/recommendations", "/v1/{ns}/users/{user}/scores"])
def test_namespace_and_user_come_from_the_path(api, route):
    body = '{"items": ["i1"]}' if "scores" in route else "{}"
    headers = {"content-type": "application/json"}
    for namespace, user, status, field in (
        ("other", "u1", 404, "ns"),
        ("a b", "u1", 404, "ns"),
        ("films", "%", 400, "user"),
    ):
        check_problem(
            api.invoke("POST", route, {"ns": namespace, "user": user}, headers=headers, body=body), status, field
        )


def test_a_server_process_answers_the_same(server, long_lived_shop):
    service = long_lived_shop.service
    same(
        server.ask(user_path("u5", "films"), {"context": CONTEXT}),
        service.recommend("films", "u5", 20, context=CONTEXT),
        "fm",
    )
    same(
        server.ask(SESSION, {"k": 3, "events": EVENTS, "context": CONTEXT}),
        service.recommend("films", None, 3, context=CONTEXT, events=SENT),
        "fold_in",
    )
    same(
        server.ask(scores_path("u5"), {"items": ["i1"], "context": CONTEXT}),
        service.scores("films", "u5", ["i1"], context=CONTEXT),
        "fm",
    )
    check_problem(server.ask(SESSION, {"context": {"weather": 1}}), 422, "context.weather")
