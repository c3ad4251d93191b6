"""What `make package` makes, deployed as `make deploy` does it, gives the lists of the embedded default.

It asks for keys, and has the rights of its role alone.
"""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from shop import Shop, pairs

from recsys.artifacts import describe, unpack
from recsys.stores import ServingStores

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "interactions.csv"
SETTINGS = ["--set", "factors=16", "--set", "iterations=5", "--clean", 'weights="binary"']
STRANGERS = [f"stranger{n}" for n in range(10)]


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """The sample, and 200 readers more: each has two in three of the books of one who is there."""
    head, *rows = SAMPLE.read_text().splitlines()
    known = sorted({row.partition(",")[0] for row in rows})
    twins = set(known[:201])
    more = [f"twin-{row}" for n, row in enumerate(rows) if row.partition(",")[0] in twins and n % 3]
    path = tmp_path_factory.mktemp("events") / "events.csv"
    path.write_text("\n".join([head, *rows, *more]) + "\n")
    return path


@pytest.fixture(scope="module")
def users(events):
    return sorted({row.partition(",")[0] for row in events.read_text().splitlines()[1:]})


@pytest.fixture(scope="module")
def deployed(packaged, in_account, events):
    """The stack, with a model in service that the command line published to its stores."""
    template = packaged.folder / "sam.json"
    cache = str(events.parent / "cache")  # a Lambda has a disk of its own; the stand-in's share that of this machine
    template.write_text(template.read_text().replace('"/tmp/recsys"', json.dumps(cache)))
    stack = in_account(packaged)
    stack.shop = Shop(stack.folder)
    stack.shop.environment |= stack.settings
    stack.shop.recsys("nightly", str(events), "--namespace", "shop", *SETTINGS)
    granted = ("--namespace", "shop", "--scope", "read", "--scope", "write", "--rate", "1000")
    stack.key = stack.shop.recsys("keys", "add", *granted)["key"]
    return stack


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, events):
    shop = Shop(tmp_path_factory.mktemp("embedded"))
    shop.recsys("nightly", str(events), "--namespace", "shop", *SETTINGS)
    with shop:
        yield shop


def ask(stack, path, *, key=True, body=None):
    """Ask the gateway as the stack's ApiUrl would be asked, by the path under which the stand-in answers for it."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/restapis/{stack.names['RestAPI']}/api/_user_request_{path}"
    data = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json"} | ({"x-api-key": stack.key} if key else {})
    with urlopen(Request(url, data and data.encode(), headers), timeout=60) as answer:
        return json.loads(answer.read())


def list_of(user):
    return f"/v1/shop/users/{user}/recommendations?k=20"


def different(deployed, embedded, users):
    """Users whose lists are not the same, items, scores and where they come from."""

    def differs(user):
        one, other = ask(deployed, list_of(user)), embedded.ask(list_of(user))
        return (one["strategy"], pairs(one)) != (other["strategy"], pairs(other))

    with ThreadPoolExecutor(4) as threads:
        return [user for user, does in zip(users, threads.map(differs, users), strict=True) if does]


def test_everything_is_created_and_the_api_is_ready_for_who_has_a_key(deployed):
    assert deployed.states == {"CREATE_COMPLETE"}
    assert ask(deployed, "/health/ready", key=False)["status"] == "ready"
    assert ask(deployed, "/v1/shop/popular")["strategy"] == "popular"
    with pytest.raises(HTTPError, match="401"):
        ask(deployed, "/v1/shop/popular", key=False)


def test_a_thousand_users_and_strangers_get_the_lists_of_the_embedded_default(deployed, embedded, users):
    assert len(users) == 1000  # of 201 twins one is left without a book
    assert different(deployed, embedded, [*users, *STRANGERS]) == []


def test_events_change_the_lists_in_the_same_way(deployed, embedded, users):
    some = users[:20]
    before = {user: pairs(embedded.ask(list_of(user))) for user in some}
    sent = [{"event_id": f"e-{user}", "user": user, "item": before[user][0][0], "timestamp": 1.8e9} for user in some]
    for place in (lambda *what, **more: ask(deployed, *what, **more), embedded.ask):
        assert place("/v1/shop/events", body={"events": sent})["accepted"] == 20
    assert different(deployed, embedded, some) == []
    assert {embedded.ask(list_of(user))["strategy"] for user in some} == {"fold_in"}


def test_one_vector_of_one_store_that_differs_is_seen(deployed, embedded, users, monkeypatch):
    for name, value in deployed.settings.items():
        monkeypatch.setenv(name, value)
    stores = ServingStores.from_environment()
    stored = stores.artifacts.open("shop", stores.registry.current("shop").version)
    (item, _), *_ = pairs(embedded.ask(list_of(users[20])))
    vectors = stored.arrays["item_vectors"].copy()
    vectors[unpack(stored).items.ids().index(item)] *= 1.001
    arrays, was = {**stored.arrays, "item_vectors": vectors}, stored.manifest
    planted = describe("shop", was.kind, arrays, config=was.config, data=was.data, metrics=was.metrics)
    stores.artifacts.put(planted, arrays)
    deployed.shop.recsys("publish", planted.version, "--namespace", "shop")
    time.sleep(1)  # a server looks at the pointer again after a second
    assert users[20] in different(deployed, embedded, users[20:60])
