"""Trending, rerank, rows and deleted items over REST, against the service's own lists and against brute force."""

import random

import numpy as np
import pytest
from api_client import body_of, check_problem, event, path_of, user_path

from recsys.serving import because, searches, trending
from recsys.serving.knowledge import Knowledge


def rerank_path(user="u4", namespace="shop"):
    return path_of("v1", namespace, "users", user, "rerank")


def rows_path(user, more=""):
    return path_of("v1", "shop", "users", user, "rows") + more


def places(answer):
    assert answer.status == 200, answer
    return [(one["item"], one["score"], one["reason"]) for one in answer.json["items"]]


def shuffled(items, seed=0):
    return random.Random(seed).sample(items, len(items))


@pytest.fixture
def genres(api, model):
    """Give the items of the model a genre each, and put a new one beside them."""
    api.request(
        "PUT", "/v1/shop/catalogue", headers={"content-type": "application/json"}, body='{"fields":{"genre":"keyword"}}'
    )
    from chalicelib import wiring

    told = {item: {"genre": "ab"[n % 2]} for n, item in enumerate(model.dataset.items.ids())}
    wiring.service().online.put_items("shop", {**told, "brand new": {"genre": "a"}})


def test_rerank_of_the_items_of_a_list_is_the_list(api, genres):
    for body in (
        {},
        {"events": [{"item": "i3"}]},
        {"filter": {"match": {"genre": "a"}}, "boost": [{"when": {"match": {"genre": "a"}}, "multiply": 3}]},
    ):
        for user in ("u4", "nobody"):
            listed = api.ask(user_path(user), {"k": 15, **body})
            items = shuffled([item for item, _ in listed.items])
            again = api.ask(rerank_path(user), {"items": items, **body})
            assert places(again) == places(listed)
            assert again.json["strategy"] == listed.json["strategy"]
            assert places(api.ask(rerank_path(user), {"items": items, "k": 4, **body}))[:2] == places(listed)[:2]


def check_all(api, model):
    items, factors = model.dataset.items.ids(), model.export()
    row = model.dataset.users.row("u4")
    scores = factors.item_vectors.astype(np.float64) @ factors.user_vectors[row] + factors.item_bias
    found = api.ask(rerank_path(), {"items": shuffled(items)})
    assert [item for item, _ in found.items] == [items[n] for n in np.argsort(-scores, kind="stable").tolist()]
    assert [score for _, score in found.items] == pytest.approx(np.sort(scores)[::-1].tolist(), rel=1e-5, abs=1e-6)


def test_rerank_of_all_items_is_their_order_by_brute_force_those_seen_included(api, model):
    check_all(api, model)


def test_the_check_above_catches_a_list_without_what_the_user_has(api, model, monkeypatch):
    monkeypatch.setattr(searches, "_bits", lambda size, rows: np.arange(size) % 2 == 0)
    with pytest.raises(AssertionError):
        check_all(api, model)


def test_new_items_come_last_and_unknown_or_deleted_ones_are_named(api, genres):
    found = places(api.ask(rerank_path(), {"items": ["brand new", "i1", "i2"]}))
    assert found[2] == ("brand new", 0.0, "new")
    filtered = places(api.ask(rerank_path(), {"items": ["brand new", "i1", "i2"], "filter": {"exists": "genre"}}))
    assert filtered == found
    assert [one[0] for one in places(api.ask(rerank_path(), {"items": ["brand new"]}))] == ["brand new"]
    api.request("DELETE", "/v1/shop/items/i2")
    api.request("DELETE", "/v1/shop/items/brand%20new")
    scores = path_of("v1", "shop", "users", "u4", "scores")
    for gone in ("i2", "brand new", "nothing"):
        for path in (rerank_path(), scores):
            check_problem(api.ask(path, {"items": ["i1", "i3", gone]}), 404, "items[2]")
    assert api.ask(scores, {"items": ["i1", "i3"]}).status == 200


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"items": ["i1", "i2", "i1"]}, 422, "items[2]"),
        ({"items": ["i1", ""]}, 422, "items[1]"),
        ({"items": []}, 422, "items"),
        ({"items": ["i1"] * 501}, 422, "items"),
        ({"items": ["i1"], "k": 0}, 422, "k"),
        ({"items": ["i1"], "rows": 1}, 422, "rows"),
        ({"items": ["i1"], "context": {"moon": 1}}, 422, "context.moon"),
        ({"items": ["i1"], "filter": {"match": {"genre": 1}}}, 422, "filter.genre"),
        ({}, 422, "items"),
    ],
)
def test_what_cannot_be_reranked_is_refused_by_the_field_at_fault(api, body, status, field):
    check_problem(api.ask(rerank_path(), body), status, field)


def test_events_trend_at_once_by_any_half_life_and_category(api, genres, monkeypatch):
    monkeypatch.setattr(trending, "REFRESH_S", 0.0)
    assert api.get("/v1/shop/trending").json["strategy"] == "popular"
    now = 1_700_000_000
    hits = [("i8", now, 1), ("i9", now - 86_400, 3), ("i10", now - 40 * 86_400, 60)]
    sent = [event(f"{item}-{n}", "u1", item) | {"timestamp": at} for item, at, many in hits for n in range(many)]
    assert api.post(body_of(*sent)).status == 202
    for hours, expected in ((1, ["i8", "i9"]), (48, ["i9", "i8", "i10"]), (8760, ["i10", "i9", "i8"])):
        k = len(expected)
        answer = api.get(f"/v1/shop/trending?k={k}&half_life_h={hours}")
        assert [item for item, _ in answer.items] == expected
        assert (answer.json["strategy"], answer.json["degraded"]) == ("trending", False)
        assert places(api.ask("/v1/shop/trending", {"k": k, "half_life_h": hours})) == places(answer)
    kept = api.get("/v1/shop/trending?k=500&genre=b")
    assert kept.items[:1] == [one for one in api.get("/v1/shop/trending?k=3").items if one[0] == "i9"]
    assert places(api.ask("/v1/shop/trending", {"k": 500, "filter": {"match": {"genre": "b"}}})) == places(kept)
    assert api.get("/v1/shop/popular?k=3").json["strategy"] == "popular"


@pytest.mark.parametrize(
    "hours", ["", "0", "0.5", "-1", "nan", "inf", "1e400", "87601", "week", "1_0", "٣", "1&half_life_h=2"]
)
def test_a_half_life_is_one_number_of_hours(api, hours):
    from urllib.parse import quote

    check_problem(api.get(f"/v1/shop/trending?half_life_h={quote(hours, safe='&=')}"), 400, "half_life_h")


def check_rows(api, shop, user, n_rows, k):
    """Rows are of the newest liked items; each holds the nearest ones, without what the user has and repeats."""
    model = shop.service.models.current("shop")
    known = Knowledge.of(user, "shop", model, shop.online)
    had = {model.items.id(row) for row in known.seen.tolist()}
    answer = api.get(rows_path(user, f"?rows={n_rows}&k={k}"))
    liked = [model.items.id(row) for row in because.liked(known).tolist()][:n_rows]
    assert [row["because"] for row in answer.json["rows"]] == liked
    shown = set(had)
    for row in answer.json["rows"]:
        nearest = [one.item for one in shop.service.similar("shop", row["because"], 500).items if one.item not in shown]
        assert [one["item"] for one in row["items"]] == nearest[:k]
        shown |= set(nearest[:k])
    return answer


def test_rows_are_like_the_newest_liked_items_without_what_the_user_has_and_without_repeats(api, shop):
    for user in ("u1", "u4"):
        assert check_rows(api, shop, user, 3, 8).json["strategy"] == "similar"
    api.post(body_of(event("a", "u4", "i3"), event("b", "u4", "i9", value=0.1), event("c", "u4", "i5")))
    answer = check_rows(api, shop, "u4", 2, 20)
    assert [row["because"] for row in answer.json["rows"]] == ["i5", "i3"]  # i9 was worth little
    assert len(check_rows(api, shop, "u4", 10, 2).json["rows"]) > 3
    assert api.get(rows_path("u4")).json["rows"] == api.ask(rows_path("u4"), {"rows": 3, "k": 20}).json["rows"]


def test_the_check_above_catches_repeats_across_rows(api, shop, monkeypatch):
    monkeypatch.setattr(
        because, "similar_to", lambda model, row, closed: searches.similar_to(model, row, closed.copy())
    )
    with pytest.raises(AssertionError):
        check_rows(api, shop, "u1", 3, 40)


def test_rows_under_a_filter_and_without_deleted_items(api, model, genres):
    before = api.get(rows_path("u1", "?genre=a&k=5")).json["rows"]
    shown = [one["item"] for row in before for one in row["items"]]
    assert all(one == "brand new" or model.dataset.items.row(one) % 2 == 0 for one in shown)
    api.request("DELETE", path_of("v1", "shop", "items", before[0]["because"]))
    after = api.get(rows_path("u1", "?genre=a&k=5")).json["rows"]
    assert before[0]["because"] not in [row["because"] for row in after]
    every = [one["item"] for row in api.get(rows_path("u1", "?k=500")).json["rows"] for one in row["items"]]
    assert (every.count("brand new"), len(every)) == (1, len(set(every)))


def test_nobody_known_has_no_rows(api):
    answer = api.get(rows_path("nobody"))
    assert (answer.status, answer.json["rows"], answer.json["strategy"]) == (200, [], "no_history")
    for query, field in (("rows=0", "rows"), ("rows=11", "rows"), ("k=501", "k"), ("rows=1&rows=2", "rows")):
        check_problem(api.get(rows_path("u1", f"?{query}")), 400, field)
    check_problem(api.get(rows_path("u1", "?color=red")), 422, "color")
    check_problem(api.ask(rows_path("u1"), {"rows": 11}), 422, "rows")
