"""The three lists: the service's own answers in one shape, and the ids and numbers a client can get wrong."""

import pytest
from api_client import check_problem, path_of, user_path
from conftest import ODD_IDS

ANSWER = {"items", "model_version", "strategy", "degraded", "cursor", "variant", "request_id"}


def same(answer, expected):
    assert answer.status == 200, answer
    assert set(answer.json) == ANSWER
    assert answer.headers["content-type"] == "application/json"
    assert [tuple(one.values()) for one in answer.json["items"]] == [
        (one.item, one.score, one.reason) for one in expected.items
    ]
    assert all(list(one) == ["item", "score", "reason"] for one in answer.json["items"])
    assert answer.json["model_version"] == expected.model_version
    assert answer.json["strategy"] == expected.strategy
    assert answer.json["degraded"] == expected.degraded


def test_every_list_is_the_services_own(api, shop):
    for n in range(50):
        same(api.get(user_path(f"u{n}") + "?k=9"), shop.service.recommend("shop", f"u{n}", 9))
        same(
            api.get(path_of("v1", "shop", "items", f"i{n % 30}", "similar")),
            shop.service.similar("shop", f"i{n % 30}", 20),
        )
    same(api.get("/v1/shop/popular?k=500"), shop.service.popular("shop", 500))


def test_somebody_unknown_gets_what_is_popular(api, shop):
    answer = api.get(user_path("stranger"))
    same(answer, shop.service.popular("shop", 20))
    assert answer.json["strategy"] == "popular"


@pytest.mark.parametrize("odd", ODD_IDS)
def test_any_text_is_an_id_when_it_is_percent_encoded(api, shop, odd):
    mine = shop.service.recommend("shop", odd, 5)
    assert mine.strategy == "als"
    same(api.get(user_path(odd) + "?k=5"), mine)
    same(api.get(path_of("v1", "shop", "items", odd, "similar") + "?k=5"), shop.service.similar("shop", odd, 5))


def test_an_id_is_decoded_once_and_a_plus_is_a_plus(api, shop):
    same(api.get("/v1/shop/users/%2541/recommendations"), shop.service.recommend("shop", "%41", 20))
    same(api.get("/v1/shop/users/a+b/recommendations"), shop.service.recommend("shop", "a+b", 20))
    same(api.get("/v1/shop/users/%75%31/recommendations"), shop.service.recommend("shop", "u1", 20))


@pytest.mark.parametrize(
    "bad",
    [
        *(
            "",
            "x" * 257,
            "%F0%9F%98%80" * 257,
            "%FF",
            "%C3",
            "%C3%28",
            "%C0%AF",
            "%F5%80%80%80",
            "%",
            "100%",
            "%zz",
            "%2",
        ),
        *("%ED%A0%80", "%ED%BF%BF", "a%ED%A0%BD%ED%B8%80b", "\ud800", "a\udfffb", "\ud83d%20"),
    ],
)
@pytest.mark.parametrize("what", ["user", "item"])
def test_what_is_not_an_id_is_refused_by_name(api, bad, what):
    route = {"user": "/v1/{ns}/users/{user}/recommendations", "item": "/v1/{ns}/items/{item}/similar"}[what]
    check_problem(api.invoke("GET", route, {"ns": "shop", what: bad}), 400, what)


def test_unknown_items_and_namespaces_are_not_found(api):
    for unknown in ("nothing", "I1", "i1 ", "y" * 256, "../i1"):
        check_problem(api.get(path_of("v1", "shop", "items", unknown, "similar")), 404, "item")
    names = (
        "other",
        "SHOP",
        "shop ",
        "..",
        ".",
        "a" * 64,
        "a" * 65,
        "%2e%2e",
        "shop%00",
        "shop%2f..",
        "*",
        "-a",
        "日本",
    )
    for name in (*names, "", "current.json", "shop\n", "%73hop", "shop%20", "x" * 5000, "'--"):
        for route in ("/v1/{ns}/users/{user}/recommendations", "/v1/{ns}/items/{item}/similar", "/v1/{ns}/popular"):
            check_problem(api.invoke("GET", route, {"ns": name, "user": "u1", "item": "i1"}), 404, "ns")
        body = '{"events": [{"event_id": "e", "user": "u", "item": "i", "timestamp": 1}]}'
        headers = {"content-type": "application/json"}
        check_problem(api.invoke("POST", "/v1/{ns}/events", {"ns": name}, body=body, headers=headers), 404, "ns")


def test_names_that_lead_nowhere_leave_nothing_on_the_disk_or_in_memory(api, shop):
    from chalicelib.wiring import service

    api.get("/v1/n/popular")  # the first look at the keys opens the store
    before = sorted(shop.folder.rglob("*"))
    for n in range(200):
        api.get(f"/v1/n{n}/popular")
    assert set(service().models._slots) <= {"shop"}
    assert sorted(shop.folder.rglob("*")) == before


@pytest.mark.parametrize(
    "path", [user_path("u1"), user_path("stranger"), "/v1/shop/items/i1/similar", "/v1/shop/popular"]
)
def test_k_and_nothing_that_is_not_declared(api, path):
    for k in (1, 7, 20, 500):
        assert 1 <= len(api.get(f"{path}?k={k}").items) <= int(k)
    assert len(api.get(path).items) == 20
    wrong = (
        "0",
        "007",
        "020",
        "501",
        "-1",
        "1.0",
        "1e1",
        "",
        "%20",
        "+5",
        " 5",
        "5%20",
        "abc",
        "True",
        "0x5",
        "1_0",
        "%D9%A1",
        "9" * 5000,
    )
    for k in (*wrong, "nan", "5&k=5", "5&k=6", "5;k=6", "%00", "5%0a"):
        check_problem(api.get(f"{path}?k={k}"), 400, "k")
    for name in ("K", "limit", "k%20", "", "k[]", "%EF%BF%BF", "__class__"):
        assert "is not a declared field" in check_problem(api.get(f"{path}?{name}=5"), 422)["detail"]
    assert check_problem(api.get(f"{path}?k=5&limit=5"), 422, "limit")
    check_problem(api.get(f"{path}?{'&'.join(f'f{n}=1' for n in range(40))}"), 400)
    long = api.get(f"{path}?{'n' * 5000}=1")
    check_problem(long, 422)
    assert len(long.body) < 1000


def test_exactly_k_items_as_long_as_the_catalogue_allows(api, model):
    n_items = len(model.dataset.items)
    assert len(api.get(f"/v1/shop/popular?k={n_items}").items) == n_items
    assert len(api.get("/v1/shop/popular?k=500").items) == n_items
    assert len(api.get("/v1/shop/items/i1/similar?k=500").items) == n_items - 1


def test_a_get_may_name_any_content_type_and_accept(api):
    for headers in (None, {}, {"content-type": "text/plain"}, {"Content-Type": "§"}, {"accept": "image/png"}):
        assert api.get("/v1/shop/popular", headers=headers).status == 200


def test_health(api):
    assert api.get("/health/live").json["status"] == "live"
    assert api.get("/health/ready").json["status"] == "ready"
