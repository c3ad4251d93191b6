"""An event that was accepted is first in its user's history and in no list of theirs, from the next answer on.

RECSYS_NEXT_ANSWER_USERS=1000 is the judged run.
"""

import os
import random

import pytest
from api_client import body_of, event, path_of, user_path

from recsys.serving import SQLiteOnlineStore

USERS, SEED = int(os.environ.get("RECSYS_NEXT_ANSWER_USERS", "200")), 8


def wrong_answers(server, users=USERS):
    """Each user, known or not, does something with an item of their list; return what the next answers get wrong."""
    choose, wrong = random.Random(SEED), []
    for n in range(users):
        user = f"u{n % 60}" if n < 60 else f"new {n}"
        offered = [one["item"] for one in server.get(user_path(user) + "?k=20").json["items"]]
        item = choose.choice(offered)
        sent = server.post(body_of(event(f"next {n}", user, item, timestamp=1_800_000_000)))
        assert (sent.status, sent.json["accepted"]) == (202, 1)
        history = server.get(path_of("v1", "shop", "users", user)).json["history"]
        listed = {one["item"] for one in server.get(user_path(user) + "?k=500").json["items"]}
        if [one["item"] for one in history[:1]] != [item] or item in listed or not listed:
            wrong.append((user, item))
    return wrong


def test_over_rest(server):
    print(f"seed {SEED}")
    assert wrong_answers(server) == []


def behind_in_lists(monkeypatch):
    monkeypatch.setattr(SQLiteOnlineStore, "recent_items", lambda *_, **__: [])
    recent = SQLiteOnlineStore.recent_events
    monkeypatch.setattr(SQLiteOnlineStore, "recent_events", lambda *a, **more: recent(*a, **more)[:-1])


def behind_in_history(monkeypatch):
    held = SQLiteOnlineStore.held
    monkeypatch.setattr(
        SQLiteOnlineStore, "held", lambda *a, **more: (found := held(*a, **more))._replace(events=found.events[:-1])
    )


@pytest.mark.parametrize("planted", [behind_in_lists, behind_in_history])
def test_a_reader_that_is_an_event_behind_is_found(api, monkeypatch, planted):
    planted(monkeypatch)
    assert wrong_answers(api, users=3)
