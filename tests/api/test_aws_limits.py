"""Events near every limit and beyond, with ids of any signs: DynamoDB and SQS take and refuse what SQLite does.

On moto the same passes, in minutes: it copies every item of a table for each that a transaction writes.
"""

import json

import pytest
from api_client import body_of, event, user_path
from aws_shop import aws_shop
from conftest import ODD_IDS, app_over

LONG = ["x" * 256, "😀" * 256, "\0" * 256, "#" * 256, "\uffff" * 256]  # of up to 1,024 bytes: all a sort key may have
ALIKE = ["shop", "shop#u", "#", "u#0", "u", "event", "current", "E#shop#u", "check"]  # if keys were put together badly
CONTEXTS = [{"x": sign * ((4096 - 8) // size)} for sign, size in (("x", 1), ("é", 2), ("😀", 4), ("\0", 6), ('"', 2))]
NUMBERS = [0, 5e-324, 0.1, 1e30, 12345678901234567890]


def bodies():
    """Yield bodies, as text or as the events in them."""
    yield [event(one, one, one, event=one) for one in (*LONG, *ALIKE, *ODD_IDS)]
    yield [event(f"{n}", one, one, context={"x": one, one[:50]: [one]}) for n, one in enumerate((*LONG, *ODD_IDS))]
    yield [event(f"context {n}", "u1", f"i{n % 30}", context=CONTEXTS[n % len(CONTEXTS)]) for n in range(40)]
    yield [event(f"n{n}", "u2", value=n, context={"n": [str(n)], "m": n}) for n in NUMBERS]
    yield [event(f"at {n}", "u3") | {"timestamp": n} for n in (0, 5e-324, 1e9 + 1 / 3, 4_102_444_799.999)]
    yield [event(f"one user {n}", "u4", f"i{n % 30}") for n in range(500)]
    yield [event(f"users {n}", f"user {n}") for n in range(500)]
    yield [event("the same", f"u{n}") for n in range(500)]
    yield [event(f"one user {n}", "another") for n in range(250, 300)] + [event(f"users {n}") for n in range(495, 505)]
    yield [event(f"large {n}", context=CONTEXTS[0]) for n in range(500)]
    yield [event(f"too many {n}") for n in range(501)]
    for wrong in ("x" * 257, "", "\ud800"):
        for field in ("event_id", "user", "item", "event"):
            yield [event("right"), event("wrong") | {field: wrong}]
    yield [event("right"), event("wrong", context={"x": "x" * 4089})]
    yield [event("wrong", value=1e31)]
    yield '{"events": [' + json.dumps(event("wrong")) + "]" + " " * 262_144 + "}"


def told(shop):
    """Return the answers to all bodies, and what the store then has of each user and offers them."""
    answers, users = [], set()
    with app_over(shop) as api:
        for body in bodies():
            answer = api.post(body if isinstance(body, str) else body_of(*body))
            kept = [answer.json.get(name) for name in ("accepted", "duplicates", "detail", "field")]
            answers.append((answer.status, *kept))
            if answer.status == 202:
                users |= {one["user"] for one in body}
        lists = {user: api.get(user_path(user)).items for user in users if not user.startswith("user ")}
        recent = {
            user: [one.event for one in shop.online.recent_events("shop", user, after=0, limit=10**6)] for user in users
        }
    return answers, recent, lists


@pytest.fixture
def remote(aws, tmp_path, monkeypatch, model):
    with aws_shop(aws("ministack"), tmp_path / "remote", monkeypatch) as shop:
        shop.publish(model)
        yield shop


def test_events_are_taken_refused_and_counted_alike(shop, remote):
    answers, recent, lists = told(shop)
    assert {answer[0] for answer in answers} == {202, 413, 422}
    assert told(remote) == (answers, recent, lists)
    assert sorted(remote.logged()) == sorted(one.event_id for events in recent.values() for one in events)
