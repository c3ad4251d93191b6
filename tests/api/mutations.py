"""Requests that nearly are what they should be, drawn at random."""

import base64
import json
import re

from api_client import JSON, body_of, event
from conftest import ODD_IDS

from chalicelib.batch import ROUTES

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW", "get", "", "X" * 5000)
PATH_JUNK = (
    *ODD_IDS,
    *(
        "",
        "%",
        "%00",
        "%FF",
        "%ED%A0%80",
        "\ud800",
        "..%2f..%2fetc%2fpasswd",
        "%252e",
        "A" * 70_000,
        "%F0%9F%98%80" * 300,
    ),
    *("shop", "u1", "i1", "other", "../shop", "${jndi:ldap://x}", "%0d%0aSet-Cookie:x", "{}", "-1", "nul", "\x1b[31m"),
)
QUERY_JUNK = (
    *(
        None,
        {},
        {"k": ["5"]},
        {"k": []},
        {"k": [""]},
        {"k": ["5", "6"]},
        {"k": ["9" * 6000]},
        {"\ud800": ["1"]},
        {"k": ["\udfff"]},
    ),
    *({"": [""]}, {"k\r\nX: y": ["1"]}, {str(n): ["1"] for n in range(2000)}, {"genre": ["a"]}, {"tags": ["x", "y"]}),
    *({"year": ["1990"]}, {"live": ["maybe"]}, {"at": ["2026-01-31"], "k": ["3"]}, {"genre": ["\ud800"]}),
)
HEADER_JUNK = (
    *(None, {}, JSON, {"Content-Type": "APPLICATION/JSON"}, {"content-type": ""}, {"content-type": "a/b\r\nX: y"}),
    *(
        {"content-type": "application/json", "accept": "image/png"},
        {"authorization": "Basic é"},
        {"x" * 9999: "y" * 9999},
    ),
)
TOKENS = (
    *(
        b"[" * 40,
        b"{" * 2000,
        b"[" * 100_000,
        b'{"a":' * 5000,
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"9" * 5000,
        b"\xff",
        b"\xef\xbb\xbf",
    ),
    *(
        b"\\ud800",
        b"\\u0000",
        b"\\udfff\\ud800",
        b'"',
        b"\\",
        b"]",
        b"}",
        b",",
        b":",
        b"\0",
        b"null",
        b"true",
        b"-0.0",
        b"1e308",
    ),
    *(
        b'"user":',
        b'"\\ud800":1,',
        b'{"events":[]}',
        b'"events"',
        b"\xed\xa0\x80",
        b"-",
        b"1e30",
        b'""',
        b"0x1",
        b"'",
        b"\n" * 300_000,
    ),
)


def base_body(random):
    strings = ("u1", "i1", "i2", "new", "x" * 256, "日本")
    return body_of(
        *(
            event(
                str(random.random()),
                random.choice(strings),
                random.choice(strings),
                value=random.choice([1, 0, 2.5, 1e30]),
                context=random.choice([{}, {"device": "phone"}, {"hour": 3, "tags": ["a"]}, {"x": None}]),
            )
            for _ in range(random.choice([1, 1, 2, 5]))
        )
    ).encode()


def base_ask(random, route):
    """A body of one of the routes that take a context."""
    context = {
        name: random.choice(values)
        for name, values in {
            "device": ("phone", "fridge", "", None, "x" * 256, 3, True, [], {}),
            "hour": ("3", 3, 3.5, None),
            "country": ("it", "xx", ["it"]),
            "age": (33, -1e30, 1e30, "40", "", None, True),
            "weather": ("rain",),
        }.items()
        if random.random() < (0.05 if name == "weather" else 0.5)
    }
    if route.endswith("scores"):
        items = random.choices(("i1", "i2", "i3", "i1" * 20), (9, 9, 9, 1), k=random.choice([1, 3, 100]))
        return json.dumps({"items": items, "context": context, "explain": random.random() < 0.5}).encode()
    if route.endswith("catalogue"):
        return json.dumps({"fields": random.choice([FIELDS, {"genre": "keywords"}, {"x": "text"}])}).encode()
    if route.endswith("batch"):
        named = random.choices([*ROUTES.items()], k=random.choice([1, 3, 100]))
        parts = [{"route": name, **json.loads(base_ask(random, path))} for name, path in named]
        who = {"user": random.choice(["u1", "\ud800", ""]), "item": "i1"}
        return json.dumps(
            {"requests": [one | {n: v for n, v in who.items() if random.random() < 0.7} for one in parts]}
        ).encode()
    own = {
        "similar": {},
        "popular": {},
        "trending": {"half_life_h": random.choice([1, 24.5, 87600, 0])},
        "rows": {"rows": random.choice([1, 10, 11])},
        "rerank": {
            "items": random.choices(("i1", "i2", "i3", "new"), k=random.choice([1, 2, 500])),
            "context": context,
        },
    }.get(route.rpartition("/")[2])
    if own is not None:
        return json.dumps({"k": random.choice([1, 7, 500]), **own, **base_rules(random)}).encode()
    if "{item}" in route:
        return json.dumps(base_metadata(random)).encode()
    events = [{"item": random.choice(["i1", "i5", "new"]), "value": random.choice([1, 0, 2.5, 1e30])} for _ in range(3)]
    asked = {"k": random.choice([1, 7, 500]), "context": context, "events": events}
    return json.dumps(asked | base_rules(random)).encode()


FIELDS = {"genre": "keyword", "tags": "keywords", "year": "number", "live": "boolean", "at": "timestamp"}


def base_metadata(random):
    drawn = {
        "genre": ("a", "b", "", None, 7),
        "tags": (["x", "y"], [], "x", None),
        "year": (1990, "2000.5", None, -1e300, "old"),
        "live": (True, "false", None, 1),
        "at": (0, "2026-01-31", "2026-01-31T12:00:00+14:00", 1e300, None),
        "deep": ([[[{}]]], {"a": {"b": 1}}),
    }
    return {name: random.choice(values) for name, values in drawn.items() if random.random() < 0.5}


def base_clause(random, depth=0):
    if random.random() < 0.4 and depth < 5:
        sides = ("must", "should", "must_not")
        return {side: [base_clause(random, depth + 1) for _ in range(random.randrange(3))] for side in sides}
    field = random.choice([*FIELDS, *FIELDS, "undeclared"])
    value = random.choice(["a", "x", 1990, 2000.5, True, "true", "2026-01-31", "", "\ud800", 10**19, -1e308])
    return random.choice(
        [
            {"match": {field: value}},
            {"any": {field: [value, "b"]}},
            {"range": {field: {random.choice(["gt", "gte", "lt", "lte"]): value}}},
            {"exists": field},
        ]
    )


def base_rules(random):
    drawn = {
        "filter": lambda: base_clause(random),
        "boost": lambda: [{"when": base_clause(random), "multiply": random.choice([0.001, 1.5, 1000]), "add": -1e9}],
        "exclude": lambda: random.sample(["i1", "i2", "new", "x" * 256, "\ud800"], 2),
        "promotions": lambda: [{"when": base_clause(random), "share": random.choice([1e-300, 0.3, 1])}] * 2,
        "diversity": lambda: {"weight": random.random(), "pool": 5, "caps": [{"field": "tags", "most": 1}]},
        "min_score": lambda: random.choice([-1e9, 0, 0.1]),
        "freshness": lambda: {"field": "at", "half_life_s": random.choice([1, 1e10])},
    }
    return {name: make() for name, make in drawn.items() if random.random() < 0.2}


def mutated_bytes(random, data):
    """Change a body: half the time where a name or a value begins, so that the parser gets that far."""
    for _ in range(random.randint(0, 3)):
        places = [found.end() for found in re.finditer(rb'": |[{,] ?(?=")', data)] if random.random() < 0.5 else []
        at = random.choice(places) if places else random.randrange(len(data) + 1)
        to = min(len(data), at + random.choice([0, 1, 1, 2, 8, 64]))
        if places:
            to = at + random.choice([0, len(re.match(rb"[^,}\]]*", data[at:])[0])])
        other = random.choice([random.randbytes(3), data[at:to] * 2, b""])
        new = random.choice(TOKENS) if random.random() < 0.7 else other
        data = data[:at] + new + data[to:]
    return data


def mutated_text(random, text):
    for _ in range(random.randint(0, 3)):
        at = random.randrange(len(text) + 1)
        text = (
            text[:at]
            + random.choice(["", "%", "%2F", "%ff", "\ud800", chr(random.randrange(0x11000)), text])
            + text[at + 1 :]
        )
    return text


PUTS = ("/v1/{ns}/items/{item}", "/v1/{ns}/catalogue")
TAKING_BODIES = ("/v1/{ns}/events", "/v1/{ns}/batch", *sorted(set(ROUTES.values())), *PUTS)


def mutated_request(random, routes):
    route = random.choice([*routes, *TAKING_BODIES])
    takes_body = route in TAKING_BODIES or ("recommendations" in route and random.random() < 0.5)
    body = None
    if takes_body or random.random() < 0.1:
        body = mutated_bytes(random, base_body(random) if "events" in route else base_ask(random, route))
    method = "POST" if takes_body else random.choice(["GET", "DELETE"]) if "{item}" in route else "GET"
    method = "PUT" if takes_body and route in PUTS else method
    in_base64 = body is not None and random.random() < 0.3
    if in_base64:
        body = base64.b64encode(body).decode()
        body = mutated_text(random, body) if random.random() < 0.2 else body
    elif body is not None:
        body = body.decode(errors=random.choice(["replace", "surrogateescape", "ignore"]))
    return {
        "method": random.choice(METHODS) if random.random() < 0.05 else method,
        "route": route,
        "parameters": {
            "ns": random.choice(["shop", "films"])
            if random.random() < 0.8
            else mutated_text(random, random.choice(["shop", *PATH_JUNK])),
            "user": mutated_text(random, random.choice(["u1", "u2", "new", random.choice(PATH_JUNK)])),
            "item": mutated_text(random, random.choice(["i1", "i2", "new", random.choice(PATH_JUNK)])),
            "version": mutated_text(random, random.choice(["20260102T030405Z-9f3b2c1d", *PATH_JUNK])),
        },
        "query": random.choice(QUERY_JUNK) if random.random() < 0.3 else None,
        "headers": random.choice(HEADER_JUNK) if random.random() < 0.1 else JSON,
        "body": body,
        "base64": in_base64,
    }
