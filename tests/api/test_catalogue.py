"""Items, declared fields and rules over REST: the service's own lists, at once everywhere, and what is refused."""

import json

import pytest
from api_client import JSON, check_problem, path_of, user_path

from recsys.serving.filters import Exists, Group, OneOf, Within
from recsys.serving.rules import Boost, Cap, Diversity, Freshness, Promotion, Rules

FIELDS = {"genre": "keyword", "tags": "keywords", "year": "number", "live": "boolean", "at": "timestamp"}
SESSION = path_of("v1", "shop", "recommendations")
USER = user_path("u1")


def item_path(item, namespace="shop"):
    return path_of("v1", namespace, "items", item)


def put(api, path, body):
    return api.request("PUT", path, headers=JSON, body=json.dumps(body))


def described(n):
    told = {"genre": "ab"[n % 2], "tags": ["x", "y", "z"][: n % 4], "year": 1990 + n, "live": n % 3 == 0, "at": n * 1e8}
    return told | {"title": f"Item {n}"}


@pytest.fixture
def filled(api):
    assert put(api, "/v1/shop/catalogue", {"fields": FIELDS}).status == 200
    for n in range(30):
        assert put(api, item_path(f"i{n}"), described(n)).status == 200
    return api


def ids(answer):
    assert answer.status == 200, answer
    return [one["item"] for one in answer.json["items"]]


def test_an_item_is_put_read_and_deleted(api):
    told = {"title": "é 😀", "genre": ["any", {"thing": None}]}
    answer = put(api, item_path("a/b é"), told)
    assert (answer.status, answer.json["item"], answer.json["metadata"]) == (200, "a/b é", told)
    assert api.get(item_path("a/b é")).json["metadata"] == told
    assert put(api, item_path("a/b é"), {}).status == 200
    assert api.get(item_path("a/b é")).json["metadata"] == {}
    assert api.get(item_path("i1")).json["metadata"] == {}  # the model knows it
    like_it = api.get(path_of("v1", "shop", "items", "a/b é", "similar")).json
    assert (like_it["strategy"], "a/b é" in {one["item"] for one in like_it["items"]}) == ("popular", False)
    for item in ("a/b é", "i1"):
        assert api.request("DELETE", item_path(item)).json["deleted"] is True
        for method in ("GET", "DELETE"):
            check_problem(api.request(method, item_path(item)), 404, "item")
    check_problem(api.get(path_of("v1", "shop", "items", "i1", "similar")), 404, "item")
    for method in ("GET", "DELETE"):
        check_problem(api.request(method, item_path("nothing")), 404, "item")
        check_problem(api.request(method, item_path("i1", "nowhere")), 404, "ns")
    check_problem(put(api, item_path("i1", "nowhere"), {}), 404, "ns")
    check_problem(put(api, "/v1/nowhere/catalogue", {"fields": {}}), 404, "ns")


def test_declared_fields_are_checked_and_told(filled):
    assert filled.get("/v1/shop/catalogue").json["fields"] == FIELDS
    assert filled.get("/v1/films/catalogue").json["fields"] == {}
    for field, wrong in {
        "genre": ["a", "b"], "tags": [1.5], "year": "old", "live": 1, "at": "yesterday",
    }.items():  # fmt: skip
        check_problem(put(filled, item_path("i1"), {field: wrong}), 422, field)
    assert filled.get(item_path("i1")).json["metadata"] == described(1)
    check_problem(put(filled, item_path("i1"), {"note": "x" * 40_000}), 422)
    check_problem(put(filled, item_path("i1"), {"note": "\ud800"}), 422)
    check_problem(put(filled, item_path("i1"), [1]), 400)
    for fields, place in (
        ({"x": "text"}, "fields.x"), ({"": "keyword"}, "fields"), ({"\ud800": "keyword"}, None),
        ({"x": 1}, "fields[...]"),
        ({str(n): "number" for n in range(65)}, "fields"), ([], "fields"),
    ):  # fmt: skip
        answer = check_problem(put(filled, "/v1/shop/catalogue", {"fields": fields}), field=place)
        assert answer["status"] in (400, 422)


ASKED = [
    ({"filter": {"match": {"genre": "a"}}}, Rules(OneOf("genre", ("a",)))),
    ({"filter": {"any": {"tags": ["x", "z"]}}}, Rules(OneOf("tags", ("x", "z")))),
    ({"filter": {"range": {"year": {"gte": 2000, "lt": 2010.5}}}}, Rules(Within("year", gte=2000, lt=2010.5))),
    ({"filter": {"range": {"at": {"gt": "1990-01-01"}}}}, Rules(Within("at", gt="1990-01-01"))),
    (
        {"filter": {"must": [{"exists": "tags"}], "should": [{"match": {"live": True}}, {"must_not": []}]}},
        Rules(Group((Exists("tags"),), (OneOf("live", (True,)), Group()))),
    ),
    (
        {"boost": [{"when": {"match": {"genre": "b"}}, "multiply": 3}, {"when": {"exists": "tags"}, "add": 0.5}]},
        Rules(boost=(Boost(OneOf("genre", ("b",)), 3.0), Boost(Exists("tags"), add=0.5))),
    ),
    ({"exclude": ["i0", "i26", "unknown"]}, Rules(exclude=("i0", "i26", "unknown"))),
    (
        {"promotions": [{"when": {"match": {"live": True}}, "share": 0.5}]},
        Rules(promotions=(Promotion(OneOf("live", (True,)), 0.5),)),
    ),
    (
        {"diversity": {"weight": 0.4, "pool": 30, "caps": [{"field": "genre", "most": 3}]}},
        Rules(diversity=Diversity(0.4, 30, (Cap("genre", 3),))),
    ),
    ({"min_score": 0.1}, Rules(min_score=0.1)),
    ({"freshness": {"field": "at", "half_life_s": 1e9}}, Rules(freshness=Freshness("at", 1e9))),
]


@pytest.mark.parametrize(("body", "rules"), ASKED)
def test_a_list_under_rules_is_the_services_own(filled, shop, body, rules):
    from chalicelib import wiring

    shop.service.clock = wiring.service().clock = lambda: 2e9
    mine = shop.service.recommend("shop", "u1", 9, rules=rules)
    answer = filled.ask(USER, {"k": 9, **body})
    assert ids(answer) == [one.item for one in mine.items]
    assert [one["reason"] for one in answer.json["items"]] == [one.reason for one in mine.items]
    assert ids(answer) != ids(filled.get(f"{USER}?k=9")) or "min_score" in body
    assert len(ids(filled.ask(SESSION, body))) > 0


def test_a_get_filters_by_any_declared_field(filled, shop):
    for query, clause in (
        ("genre=a", OneOf("genre", ("a",))),
        ("tags=x&tags=z&live=true", Group((OneOf("tags", ("x", "z")), OneOf("live", ("true",))))),
        ("year=1999&k=3", OneOf("year", (1999,))),
        ("at=1973-03-03T09:46:40Z", OneOf("at", (1e8,))),
    ):
        for path, ask in (
            (USER, lambda k, rules: shop.service.recommend("shop", "u1", k, rules=rules)),
            ("/v1/shop/popular", lambda k, rules: shop.service.popular("shop", k, rules=rules)),
            ("/v1/shop/items/i4/similar", lambda k, rules: shop.service.similar("shop", "i4", k, rules=rules)),
        ):
            mine = ask(3 if "k=" in query else 20, Rules(clause))
            assert ids(filled.get(f"{path}?{query}")) == [one.item for one in mine.items]
            assert all(one.item[1:].isdigit() for one in mine.items)  # none that nothing is told of
    for query, field in (("brand=x", "brand"), ("year=old", "year"), ("live=1", "live")):
        problem = check_problem(filled.get(f"/v1/shop/popular?{query}"), 422, field)
        assert field != "brand" or "genre (keyword)" in problem["detail"]


DEEP = {"must": [{"must_not": [{"should": [{"must": [{"must": []}]}]}]}]}
BAD = [
    ({"filter": {"match": {"brand": "x"}}}, "filter.brand"),
    ({"filter": {"must": [{"match": {"year": "x"}}]}}, "filter.year"),
    ({"filter": {"range": {"genre": {"gt": "a"}}}}, "filter.genre"),
    ({"filter": {"range": {"year": {}}}}, "filter.range.year"),
    ({"filter": {"range": {"year": {"above": 3}}}}, None),
    ({"filter": {"match": {}}}, "filter.match"),
    ({"filter": {"match": {"genre": "a", "year": 3}}}, "filter.match"),
    ({"filter": {"match": {"genre": None}}}, None),
    ({"filter": {"match": {"genre": "a"}, "exists": "year"}}, "filter"),
    ({"filter": {"match": {"genre": "a"}, "must": []}}, "filter"),
    ({"filter": {"like": {"genre": "a"}}}, "filter.like"),
    ({"filter": {"must": [{"must": [{}]}, {"any": {"genre": []}}]}}, None),
    ({"filter": {"any": {"genre": ["a"] * 101}}}, None),
    ({"filter": DEEP}, "filter.must[0].must_not[0].should[0].must[0]"),
    ({"filter": {"must": [{"exists": "genre"}] * 64}}, "filter"),
    ({"filter": None}, "filter"),
    ({"filter": []}, "filter"),
    ({"filter": {"exists": ""}}, "filter.exists"),
    ({"filter": {"exists": "\ud800"}}, "filter.\\ud800"),
    ({"boost": [{"when": {}, "multiply": 0}]}, "boost[0].multiply"),
    ({"boost": [{"when": {}, "multiply": 1001}]}, "boost[0].multiply"),
    ({"boost": [{"when": {}, "add": 1e300}]}, "boost[0].add"),
    ({"boost": [{"when": {"exists": "brand"}}]}, "boost[0].when.brand"),
    ({"boost": [{"multiply": 2}]}, "boost[0].when"),
    ({"boost": [{"when": {}}] * 7}, "boost"),
    ({"exclude": ["i1", ""]}, "exclude[1]"),
    ({"exclude": ["i1", 3]}, "exclude[1]"),
    ({"exclude": ["i"] * 501}, "exclude"),
    ({"promotions": [{"when": {}, "share": 1.5}]}, "promotions[0].share"),
    ({"promotions": [{"when": {"exists": "brand"}, "share": 0.5}]}, "promotions[0].when.brand"),
    ({"diversity": {"weight": 2}}, "diversity.weight"),
    ({"diversity": {"pool": 0}}, "diversity.pool"),
    ({"diversity": {"caps": [{"field": "brand", "most": 1}]}}, "diversity.caps[0].brand"),
    ({"diversity": {"caps": [{"field": "genre", "most": 0}]}}, "diversity.caps[0].most"),
    ({"min_score": "high"}, "min_score"),
    ({"freshness": {"field": "year", "half_life_s": 60}}, "freshness.year"),
    ({"freshness": {"field": "at", "half_life_s": 0}}, "freshness.half_life_s"),
    ({"freshness": {"field": "at"}}, "freshness.half_life_s"),
]


@pytest.mark.parametrize(("body", "field"), BAD)
def test_what_no_rule_can_be_is_refused_by_the_field_at_fault(filled, body, field):
    for path in (USER, SESSION):
        check_problem(filled.ask(path, body), 422, field)


def test_nan_deep_and_huge_bodies_are_refused_before_they_are_read(filled):
    for body, status in (
        ('{"min_score": NaN}', 400),
        ('{"filter": ' + '{"must": [' * 40 + "]}" * 40 + "}", 400),
        ('{"exclude": ["' + "x" * 300_000 + '"]}', 413),
    ):
        check_problem(filled.request("POST", USER, headers=JSON, body=body), status)


def test_new_items_fill_lists_behind_those_of_the_model(filled, model):
    n_items = len(model.dataset.items)
    for item in ("new 1", "new 2"):
        put(filled, item_path(item), {"genre": "c"})
    popular = filled.get("/v1/shop/popular?k=500").json["items"]
    assert [(one["item"], one["reason"]) for one in popular[n_items:]] == [("new 2", "new"), ("new 1", "new")]
    assert ids(filled.get("/v1/shop/popular?genre=c")) == ids(filled.get(f"{USER}?genre=c")) == ["new 2", "new 1"]
    promoted = filled.ask(USER, {"k": 4, "promotions": [{"when": {"match": {"genre": "c"}}, "share": 0.25}]})
    assert [one["reason"] for one in promoted.json["items"]] == ["als", "als", "als", "promoted"]
    assert ids(promoted)[-1] == "new 2"
    sent = {"event_id": "e-new", "user": "u1", "item": "new 2", "timestamp": 1_700_000_000}
    assert filled.post(json.dumps({"events": [sent]})).status == 202
    assert ids(filled.get(f"{USER}?genre=c")) == ["new 1"]  # u1 has the other now
    assert ids(filled.ask(SESSION, {"filter": {"match": {"genre": "c"}}, "events": [{"item": "new 1"}]})) == ["new 2"]


def test_every_process_sees_a_change_with_its_acknowledgement(start_server, shop):
    """Two servers and this process over one file; each change is made in one and looked for in the others."""
    shop.online.put_fields("shop", FIELDS)
    with start_server(shop) as one, start_server(shop) as other:
        put(other, item_path("i9"), {"genre": "rare"})
        assert ids(one.get("/v1/shop/popular?genre=rare")) == ["i9"]
        for n in range(12):
            writer, reader = (one, other) if n % 2 else (other, one)
            assert f"i{n}" in ids(reader.get("/v1/shop/popular?k=500"))
            assert writer.request("DELETE", item_path(f"i{n}")).status == 200
            for path in ("/v1/shop/popular?k=500", USER + "?k=500", "/v1/shop/items/i20/similar?k=500"):
                assert f"i{n}" not in ids(reader.get(path))
            check_problem(reader.get(item_path(f"i{n}")), 404, "item")
            assert f"i{n}" not in [found.item for found in shop.service.popular("shop", 500).items]
            assert put(writer, item_path(f"i{n}"), {"genre": "rare"}).status == 200
            assert f"i{n}" in ids(reader.get("/v1/shop/popular?genre=rare"))
            assert put(writer, item_path(f"x{n}"), {"genre": "rare"}).status == 200
            assert ids(reader.get("/v1/shop/popular?genre=rare&k=500"))[-n - 1] == f"x{n}"
            assert put(writer, item_path(f"i{n}"), {"genre": "common"}).status == 200
            assert f"i{n}" not in ids(reader.get("/v1/shop/popular?genre=rare"))


def test_it_is_ready_also_when_the_items_it_would_warm_up_with_are_deleted(shop, api):
    shop.online.delete_items(
        "shop", [f"i{n}" for n in range(30)] + list(shop.service.models.current("shop").items.ids())
    )
    assert api.get("/health/ready").status == 200
    assert ids(api.get("/v1/shop/popular")) == []
