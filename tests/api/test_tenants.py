"""Two tenants: whoever asks gets the same bytes whether or not there is another one, who is busy all the time.

RECSYS_TENANT_REQUESTS is how many requests are compared.
"""

import json
import os
import random
import re
from contextlib import ExitStack

import pytest
from api_client import JSON, body_of, event, user_path
from asking import BODIES, request_to, routes, target
from conftest import fitted, opened_shop, server_over
from credentials import add_keys

REQUESTS = int(os.environ.get("RECSYS_TENANT_REQUESTS", "300"))
RIVAL = "rival"
STILL = """
import os, time
time.time, os.urandom = lambda: 1.8e9, bytes  # both tell one time, and sign by one key
import recsys.serving.trending as t
t.REFRESH_S = 0.0  # else each looks for newer events when its own two seconds are over
"""
FILTERED = {"k": 9, "filter": {"match": {"genre": "drama"}}, "boost": [{"when": {"exists": "year"}, "multiply": 2}]}
LEAKS = {
    "one catalogue of all": """
import recsys.serving.service as s
class One(dict):
    def get(self, namespace):
        return next(iter(self.values()), None)
make = s.RecommendationService.__init__
def planted(self, *given, **more):
    make(self, *given, **more)
    self._catalogues = One()
s.RecommendationService.__init__ = planted
""",
    "events of all": """
import recsys.serving.online.sqlite as s
read = s.SQLiteOnlineStore.recent_events
def planted(self, namespace, user, **more):
    return read(self, namespace, user, **more) + read(self, "rival", user, **more)
s.SQLiteOnlineStore.recent_events = planted
""",
    "positions of all": """
import recsys.serving.online.sqlite_events as s
def planted(db, namespace, table="events"):
    return db.execute("SELECT coalesce(max(last), 0) FROM sequences WHERE name = ?", (table,)).fetchone()[0]
s.last = planted
""",
}


@pytest.fixture(scope="module")
def model_of_the_rival():
    return fitted(seed=7)


def walk(rng, namespace):
    """Yield an event of a user nobody erases, and two pages of the list that follows, the first again by its tag."""
    user = f"u{rng.randrange(20, 26)}"
    path = user_path(user, namespace) + "?k=5"
    sent = event(f"w{rng.randrange(10**9)}", user, f"i{rng.randrange(30)}", timestamp=1_790_000_000)
    yield "POST", f"/v1/{namespace}/events", dict(JSON), body_of(sent)
    first = yield "GET", path, {}, None
    if first.status == 200:
        yield "GET", f"{path}&cursor={first.json['cursor']}", {}, None
        yield "GET", path, {"if-none-match": first.headers.get("etag", "*")}, None


def requests(app, seed, namespaces):
    """Yield requests without end: (method, path, headers, body); the same for the same seed, and answers sent in."""
    rng = random.Random(seed)
    taken = [one for one in routes(app) if one[2]]
    while True:
        method, path, _ = rng.choice(taken)
        namespace = rng.choice(namespaces)
        if rng.random() < 0.1:
            yield from walk(rng, namespace)
        user, item = f"u{rng.randrange(12)}", f"{rng.choice('iin')}{rng.randrange(12)}"
        headers, parameters, body = request_to(method, path, namespace=namespace, user=user, item=item)
        if body and path.endswith("/events"):
            body = body_of(event(f"e{rng.randrange(10**6)}", user, item, timestamp=1_790_000_000 + rng.randrange(100)))
        elif body and path.endswith("{item}"):
            body = json.dumps({"genre": rng.choice(["drama", "war"]), "year": rng.randrange(1990, 2020)})
        elif body and path.endswith("/catalogue"):
            body = json.dumps({"fields": {"genre": "keyword", "year": rng.choice(["number", "keyword"])}})
        elif body and rng.random() < 0.5:
            body = json.dumps(rng.choice([*BODIES, FILTERED, FILTERED, FILTERED]))
        query = rng.choice(["", "?k=7", "?genre=drama&k=9", "?genre=war", "?k=x"]) if method == "GET" else ""
        yield method, target(path, parameters) + query, headers, body


def told(answer):
    """All of an answer but its id."""
    body = re.sub(rb'"request_id":"[0-9a-f-]{36}"', b"", answer.body)
    headers = {name: value for name, value in answer.headers.items() if "requestid" not in name}
    return answer.status, headers, body


def different(template, folder, rival, count, seed=0, planted=""):
    """Requests whose answers differ between a server of two tenants and one of the first alone."""
    from app import app

    with ExitStack() as stack:
        both, alone = (stack.enter_context(opened_shop(template, folder / name)) for name in ("both", "alone"))
        both.publish(rival, RIVAL)
        both.online.put_items(RIVAL, {f"{kind}{n}": {"genre": "war", "year": n} for kind in "in" for n in range(12)})
        for shop in (both, alone):
            keys = add_keys(shop.online.keys)
            shop.online.put_fields("shop", {"genre": "keyword", "year": "number"})
            shop.online.put_items("shop", {f"i{n}": {"genre": ("drama", "war")[n % 2], "year": n} for n in range(12)})
        servers = [
            stack.enter_context(server_over(shop, folder / f"{name}.log", f"{STILL}\n{planted}"))
            for name, shop in (("both", both), ("alone", alone))
        ]
        links = [stack.enter_context(server.connected()) for server in servers]
        mine, theirs = requests(app, seed, ["shop"] * 9 + [RIVAL]), requests(app, seed + 1, [RIVAL])
        links[0]("GET", f"/v1/{RIVAL}/popular", None, keys["key"])
        found, ok, one, other = [], 0, None, None
        for _ in range(count):
            method, path, headers, body = theirs.send(other)
            other = links[0](method, path, body, headers | keys["key"])
            method, path, headers, body = mine.send(one)
            one, two = (link(method, path, body, headers | keys["key for the shop"]) for link in links)
            ok += one.status < 300
            assert one.status != 401
            if told(one) != told(two):
                found.append((method, path, body, one, two))
        assert ok > count / 4
        return found


def test_a_tenant_sees_nothing_of_another(template, tmp_path, model_of_the_rival):
    assert different(template, tmp_path, model_of_the_rival, REQUESTS) == []


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_seen(template, tmp_path, model_of_the_rival, leak):
    assert different(template, tmp_path, model_of_the_rival, 150, planted=LEAKS[leak])
