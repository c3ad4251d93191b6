"""Fifty pages of twenty are one list of a thousand, whatever comes between; cursors nobody else can make."""

import json
import time
from random import Random
from urllib.parse import quote, urlencode

import pytest
from api_client import JSON, body_of, check_problem, event, path_of, user_path
from conftest import Shop, app_over, server_over

from chalicelib import cursors
from recsys.data import Dataset, interactions_from_tuples
from recsys.errors import DataError
from recsys.models import ImplicitALS
from recsys.serving import SessionEvent
from recsys.serving.filters import OneOf, Within
from recsys.serving.listing import RankedItem
from recsys.serving.paging import LONGEST_WALK, MOST_NAMES, Page
from recsys.serving.rules import Boost, Rules

N_ITEMS, NEW = 2600, 30
KEY = bytes(range(32))
EVENTS = [{"item": "i7"}, {"item": "i11", "value": 3}]
SESSION = [SessionEvent("i7"), SessionEvent("i11", 3.0)]
BOOST = [{"when": {"match": {"genre": "b"}}, "multiply": 1.5}]
RECOMMENDED, SESSIONS, POPULAR = user_path("u1"), path_of("v1", "shop", "recommendations"), "/v1/shop/popular"
SIMILAR = path_of("v1", "shop", "items", "i5", "similar")
ODD = Rules(OneOf("genre", ("b",)))
WALKS = {  # path, query or body, the whole by the service
    "plain": (RECOMMENDED, {}, None, lambda service: service.recommend("shop", "u1", 1000)),
    "filtered": (RECOMMENDED, {"genre": "b"}, None, lambda service: service.recommend("shop", "u1", 1000, rules=ODD)),
    "boosted": (
        RECOMMENDED,
        None,
        {"boost": BOOST},
        lambda service: service.recommend("shop", "u1", 1000, rules=Rules(boost=(Boost(OneOf("genre", ("b",)), 1.5),))),
    ),
    "to the new ones": (
        RECOMMENDED,
        None,
        {"filter": {"range": {"year": {"lt": 1010}}}},
        lambda service: service.recommend("shop", "u1", 1000, rules=Rules(Within("year", lt=1010))),
    ),
    "session": (
        SESSIONS,
        None,
        {"events": EVENTS},
        lambda service: service.recommend("shop", None, 1000, events=SESSION),
    ),
    "popular": (POPULAR, {}, None, lambda service: service.popular("shop", 1000)),
    "similar": (SIMILAR, {"genre": "b"}, None, lambda service: service.similar("shop", "i5", 1000, rules=ODD)),
}


def fitted(seed):
    pairs = {(f"u{n * 7 % 40}", f"i{n}", 1.0) for n in range(N_ITEMS)}
    pairs |= {(f"u{n % 40}", f"i{n * n * (seed + 3) % N_ITEMS}", 1.0) for n in range(600)}
    data = Dataset.from_interactions(interactions_from_tuples(sorted(pairs)))
    return ImplicitALS(factors=4, iterations=2, seed=seed).fit(data)


@pytest.fixture(scope="module")
def models():
    return fitted(0), fitted(1)


@pytest.fixture
def wide(tmp_path, models):
    """A shop with more items than a walk has."""
    shop = Shop(tmp_path)
    shop.publish(models[0])
    shop.online.put_fields("shop", {"genre": "keyword", "year": "number"})
    known = {f"i{n}": {"genre": "ab"[n % 2], "year": n, "title": f"Item {n}"} for n in range(N_ITEMS)}
    shop.online.put_items("shop", known | {f"new {n}": {"genre": "b", "year": -n} for n in range(NEW)})
    yield shop
    shop.online.close()


def ask(api, path, query, body, **more):
    if body is None:
        return api.get(f"{path}?{urlencode({**query, **more})}")
    return api.ask(path, {**body, **more})


def walk(api, path, query, body, between=None):
    """All items page by page, and the versions that answered; `between` is called before the eleventh page."""
    items, versions, cursor, pages = [], set(), None, 0
    while cursor is not None or not pages:
        if pages == 10 and between:
            between()
        found = ask(api, path, query, body, k=20, **({"cursor": cursor} if cursor else {}))
        assert found.status == 200, found
        assert len(found.json["cursor"] or "") < cursors.LONGEST
        items += found.json["items"]
        versions.add(found.json["model_version"])
        cursor, pages = found.json["cursor"], pages + 1
    return items, versions, pages


def told(found):
    return [{"item": one.item, "score": one.score, "reason": one.reason} for one in found.items]


@pytest.mark.parametrize("name", WALKS)
def test_fifty_pages_of_twenty_are_one_list_of_a_thousand(wide, models, name):
    path, query, body, whole = WALKS[name]
    with app_over(wide) as api:
        found = told(whole(wide.service))
        assert len(found) == 1000
        assert ("new" in {one["reason"] for one in found}) == (name == "to the new ones")
        assert walk(api, path, query, body) == (found, {wide.service.popular("shop", 1).model_version}, 50)


def test_over_a_socket_the_walk_stays_on_its_version_and_on_what_was_known_of_the_user(wide, models, tmp_path):
    whole, shop = told(wide.service.recommend("shop", "u1", 1000)), wide
    with server_over(shop, tmp_path / "server.log") as wire:

        def between():
            shop.publish(models[1])
            sent = [event(f"e{n}", item=one["item"]) for n, one in enumerate(whole[190:230:8])]
            assert wire.post(body_of(*sent)).status == 202
            for _ in range(100):
                if wire.get(POPULAR).json["model_version"] != wide.service.popular("shop", 1).model_version:
                    time.sleep(0.05)

        items, versions, pages = walk(wire, RECOMMENDED, {}, None, between)
        assert (items, pages, len(versions)) == (whole, 50, 1)
        after = wire.get(RECOMMENDED).json
        assert after["model_version"] not in versions
        assert after["strategy"] == "fold_in"


def test_a_walk_whose_version_or_states_are_gone_says_so(wide, models):
    with app_over(wide) as api:
        first, popular = api.get(RECOMMENDED).json, api.get(POPULAR).json
        wide.publish(models[1])
        wide.online.drop_version("shop", first["model_version"])
        problem = check_problem(api.get(f"{RECOMMENDED}?cursor={first['cursor']}"), 410, "cursor")
        assert "start again" in problem["detail"]
        wide.artifacts.remove("shop", first["model_version"])
        assert api.get(f"{POPULAR}?cursor={popular['cursor']}").status == 200  # it is in memory
    with app_over(wide) as api:
        check_problem(api.get(f"{POPULAR}?cursor={popular['cursor']}"), 410, "cursor")


def test_a_cursor_is_good_for_its_request_alone(api, shop):
    cursor = quote(api.get(RECOMMENDED + "?k=5").json["cursor"])
    assert api.get(f"{RECOMMENDED}?k=7&include=title&cursor={cursor}").status == 200
    assert (
        api.ask(RECOMMENDED, {"cursor": cursor, "k": 3, "explain": True}).status == 200
    )  # an empty body asks the same
    shop.online.put_fields("shop", {"genre": "keyword"})
    for path in (user_path("u2"), user_path("u1", "films"), "/v1/shop/popular", RECOMMENDED + "?genre=a"):
        sign = "&" if "?" in path else "?"
        check_problem(api.get(f"{path}{sign}cursor={cursor}"), 422, "cursor")
    for more in ({"exclude": ["i1"]}, {"context": {}}, {"events": EVENTS}, {"min_score": 0}):
        check_problem(api.ask(RECOMMENDED, {"cursor": cursor, **more}), 422, "cursor")
    for broken in ("", "x", cursor[:-1], cursor + "A", cursor[1:], "é", "=" * 9, "A" * 9000, "%00"):
        check_problem(api.get(f"{RECOMMENDED}?cursor={quote(broken)}"), 422, "cursor")
    check_problem(api.get(f"{RECOMMENDED}?cursor={cursor}&cursor={cursor}"), 400, "cursor")
    check_problem(api.ask(RECOMMENDED, {"cursor": 7}), 422, "cursor")
    check_problem(api.ask(RECOMMENDED, {"cursor": cursor + "\ud800"}), 422, "cursor")
    check_problem(api.ask(RECOMMENDED, {"exclude": ["\ud800"]}), 422, "exclude[0]")


def test_a_cursor_of_another_key_is_refused(api, monkeypatch):
    cursor = api.get(RECOMMENDED + "?k=5").json["cursor"]
    monkeypatch.setenv("RECSYS_SECRET", "x" * 32)
    from chalicelib import wiring

    wiring.cursor_key.__wrapped__.cache_clear()
    check_problem(api.get(f"{RECOMMENDED}?k=5&cursor={cursor}"), 422, "cursor")


PAGES = [
    Page("v" * 64, 1.5e9, 2**63 - 1, b"12345678", bytes(range(16)), tuple(range(0, 10**6, 10**3)), ()),
    Page("20260101T000000Z-aaaaaaaa", 0.0, 0, bytes(8), bytes(range(16)), (0, 2**31 - 1), ("é\0", "'")),
]


def accepted(mutants):
    """How many texts are taken for a cursor."""
    found = 0
    for text in mutants:
        try:
            cursors.page_of(text, bytes(range(16)), KEY)
        except DataError:
            continue
        found += 1
    return found


def mutants(cursor):
    """Every flip of one bit, every cut, every character more; and the same bytes written otherwise."""
    yield from (
        cursor[:n] + chr(ord(cursor[n]) ^ 1 << bit) + cursor[n + 1 :] for n in range(len(cursor)) for bit in range(7)
    )
    yield from (cursor[:n] for n in range(len(cursor)))
    yield from (cursor + more for more in ("=", "==", "A", "\n", " "))
    yield from (cursor[:9] + more + cursor[9:] for more in ("=", "\n", ".", "é"))


@pytest.mark.parametrize("page", PAGES)
def test_a_cursor_comes_back_as_it_went_and_nothing_else_does(page):
    cursor = cursors.cursor_of(page, KEY)
    assert cursors.page_of(cursor, bytes(range(16)), KEY) == page
    assert accepted(mutants(cursor)) == 0
    assert accepted([cursors.cursor_of(page, bytes(32)), cursors.cursor_of(page._replace(request=bytes(16)), KEY)]) == 0


def test_the_check_above_catches_a_mac_that_is_none_and_bytes_that_may_be_written_otherwise(monkeypatch):
    def lax(cursor):
        try:
            return cursors.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except ValueError:
            return b""

    with monkeypatch.context() as patch:
        patch.setattr(cursors, "_decoded", lax)
        assert accepted(mutants(cursors.cursor_of(PAGES[1], KEY))) > 0
    monkeypatch.setattr(cursors, "_mac", lambda packed, key: bytes(16))
    assert accepted([cursors.cursor_of(PAGES[1], bytes(32))]) == 1


def test_the_cursor_of_the_widest_steps_and_the_longest_names_fits_into_a_url():
    chance = Random(1)
    rows = tuple(sorted(chance.sample(range(2**31), LONGEST_WALK - 80)))
    names = tuple(chance.randbytes(15).hex() for _ in range(MOST_NAMES // 30 - 4))
    emoji = tuple("".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(208)) for _ in range(4))
    for items in (names[:79], emoji):
        page = PAGES[0]._replace(rows=rows, items=())
        assert page.then([(-1, RankedItem(one, 0.0, "new")) for one in items]).items == items
        assert 6000 < len(cursors.cursor_of(page._replace(items=items), KEY)) < cursors.LONGEST


def tag_of(api, path, **headers):
    answer = api.get(path, headers=headers)
    return answer.status, answer.headers["etag"]


def test_a_list_that_did_not_change_is_not_sent_again(api, shop):
    for path in (RECOMMENDED, user_path("stranger"), "/v1/shop/popular", "/v1/shop/items/i1/similar"):
        first = api.get(path)
        tag = first.headers["etag"]
        assert first.headers["cache-control"] == "private, no-cache"
        for sent in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
            again = api.get(path, headers={"If-None-Match": sent})
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
            assert api.line["model_version"] == first.json["model_version"]
        for other in ('"other"', "", tag[:-2] + '"'):
            assert api.get(path, headers={"If-None-Match": other}).status == 200
    assert "etag" not in api.ask(RECOMMENDED, {}).headers
    assert api.ask(RECOMMENDED, {}).headers["cache-control"] == "no-store"


def test_a_tag_is_another_when_anything_of_the_list_may_be(api, shop, model):
    shop.online.put_fields("shop", {"genre": "keyword"})
    _, tag = tag_of(api, RECOMMENDED)
    cursor = api.get(RECOMMENDED).json["cursor"]
    same = [RECOMMENDED + more for more in ("?k=20&include=title", "?k=19", "?genre=a", f"?cursor={cursor}")]
    tags = [tag, *(tag_of(api, path)[1] for path in [*same, user_path("u2"), "/v1/shop/popular"])]
    assert len(set(tags)) == len(tags)
    changes = [
        lambda: api.post(body_of(event())),
        lambda: shop.service.put_item("shop", "i1", {"genre": "a"}),
        lambda: shop.service.delete_item("shop", "i2"),
        lambda: shop.publish(model),
    ]
    for change in changes:
        assert tag_of(api, RECOMMENDED, **{"If-None-Match": tag}) == (304, tag)
        change()
        status, after = tag_of(api, RECOMMENDED, **{"If-None-Match": tag})
        assert status == 200
        assert after != tag
        tag = after


def test_items_come_with_the_fields_that_are_asked_for(api, shop):
    shop.online.put_items("shop", {"i1": {"title": "One", "year": 1, "secret": 2}, "i2": {"title": "Two"}, "new": {}})
    held = {"i1": {"title": "One", "year": 1}, "i2": {"title": "Two"}}
    for answer in (
        api.get(RECOMMENDED + "?k=100&include=title,year,nothing"),
        api.ask(RECOMMENDED, {"k": 100, "include": ["title", "year", "nothing"]}),
        api.ask(SESSIONS, {"k": 100, "include": ["title", "year"]}),
        api.get("/v1/shop/popular?k=100&include=title,year"),
        api.get("/v1/shop/items/i3/similar?k=100&include=title,year"),
    ):
        assert {one["item"]: one["metadata"] for one in answer.json["items"] if one["metadata"]}.items() <= held.items()
        assert all("metadata" in one for one in answer.json["items"])
        assert {"new", "i2"} <= {one["item"] for one in answer.json["items"]}
    assert all("metadata" not in one for one in api.get(RECOMMENDED).json["items"])
    for bad in ("", "a,,b", ",".join("abcdefghijklmnopq")):
        check_problem(api.get(f"{RECOMMENDED}?include={bad}"), 400, "include")
    check_problem(api.ask(RECOMMENDED, {"include": ["x"] * 17}), 422, "include")


@pytest.mark.parametrize("name", ["k", "cursor", "include"])
def test_no_field_is_called_what_a_query_calls_otherwise(api, name):
    body = json.dumps({"fields": {name: "number"}})
    problem = check_problem(api.request("PUT", "/v1/shop/catalogue", headers=JSON, body=body), 422, f"fields.{name}")
    assert "call the field otherwise" in problem["detail"]


def test_every_item_of_a_list_is_explained_as_its_score_is(api, shop):
    shop.online.put_items("shop", {"new": {}})
    told = {"k": 100, "explain": True, "context": {}}
    for path, more in ((RECOMMENDED, {}), (SESSIONS, {"events": EVENTS}), (user_path("stranger"), {})):
        items = api.ask(path, {**told, **more}).json["items"]
        known = [one for one in items if one["reason"] != "new"]
        assert (items[-1]["item"], items[-1]["raw_score"], items[-1]["explanation"]) == ("new", 0.0, [])
        for one in known:
            assert sum(part["value"] for part in one["explanation"]) == pytest.approx(one["raw_score"], abs=1e-5)
        if path == RECOMMENDED:
            asked = {"items": [one["item"] for one in known], "explain": True}
            scores = api.ask("/v1/shop/users/u1/scores", asked).json["items"]
            assert [(one["raw_score"], one["explanation"]) for one in known] == [
                (one["raw_score"], one["explanation"]) for one in scores
            ]
    assert all("explanation" not in one for one in api.ask(RECOMMENDED, {}).json["items"])
