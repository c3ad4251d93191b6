"""The Python client against the real server, also through a proxy that drops, resets and refuses."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Lock

import faulty
import pytest

from recsys import client
from recsys.client import AccessError, ApiError, BusyError, Client, InvalidRequestError, MissingError, UnreachableError

SEED = 20261122


def url_of(wire):
    return "http://{}:{}".format(*wire.address)


@pytest.fixture
def shop_client(server):
    with Client(url_of(server), "shop") as shop:
        yield shop


@pytest.fixture
def pauses(monkeypatch):
    """How long it would have waited."""
    found = []
    monkeypatch.setattr(client.time, "sleep", found.append)
    return found


def items(answer):
    return [one["item"] for one in answer["items"]]


def test_it_says_what_the_server_says(server, shop_client):
    listed = shop_client.recommend("a/b", k=5)
    assert listed | {"request_id": ""} == server.get("/v1/shop/users/a%2Fb/recommendations?k=5").json | {
        "request_id": ""
    }
    assert items(next(shop_client.pages("a/b", k=5))) == items(listed)
    assert items(shop_client.similar("日本語", k=3)) == items(
        server.get("/v1/shop/items/%E6%97%A5%E6%9C%AC%E8%AA%9E/similar?k=3").json
    )
    assert shop_client.scores("u1", ["i3"], explain=True)["items"][0]["explanation"]
    assert shop_client.put_catalogue({"genre": "keyword"})["fields"] == shop_client.catalogue()["fields"]
    shop_client.put_item("i3", {"genre": "drama"})
    assert shop_client.item("i3")["metadata"] == {"genre": "drama"}
    assert items(shop_client.popular(filter={"any": {"genre": ["drama", "war"]}}, include=["genre"])) == ["i3"]
    walk = [one for page, _ in zip(shop_client.pages("u1", k=4), range(3), strict=False) for one in items(page)]
    assert walk == items(shop_client.recommend("u1", k=12))
    assert items(shop_client.rerank("u1", ["i4", "i5"]))
    assert shop_client.rows("u1", rows=1)["rows"]
    assert items(shop_client.trending(k=2))
    assert [one["status"] for one in shop_client.batch([{"route": "popular"}, {"route": "no"}])] == [200, 422]
    assert shop_client.user("u1")["trained"] is True
    assert shop_client.erase_user("nobody")["erased"]["events"] == 0
    now = shop_client.current_model()
    assert [one["version"] for one in shop_client.models() if one["in_service"]] == [now["version"]]
    assert shop_client.activate(now["version"], now["sequence"])["sequence"] == now["sequence"]
    with pytest.raises(ApiError, match="409"):
        shop_client.roll_back()
    with pytest.raises(MissingError):
        shop_client.end_experiment()
    assert shop_client.experiment()["experiment"] is None
    assert items(shop_client.recommend(None, k=1, events=[{"item": "i4"}], filter={"match": {"genre": "drama"}})) == [
        "i3"
    ]
    assert shop_client.delete_item("i3")["deleted"] is True
    assert shop_client.send([{"user": "u1", "item": "i4", "timestamp": 1.7e9}])["accepted"] == 1


def test_errors_carry_the_problem(shop_client, server):
    with pytest.raises(MissingError, match=r"404 \(item\)") as missing:
        shop_client.similar("nothing")
    assert (missing.value.field, missing.value.problem["title"]) == ("item", "Not Found")
    assert missing.value.request_id
    with pytest.raises(InvalidRequestError, match=r"422 \(k\)"):
        shop_client.recommend("u1", k=501)
    with pytest.raises(client.ClientError, match="begins with https"):
        Client("127.0.0.1:8000", "shop")


@pytest.mark.parametrize(
    ("status", "error", "tries"),
    [(401, AccessError, 1), (403, AccessError, 1), (409, ApiError, 1), (500, ApiError, 1), (429, BusyError, 3)],
)
def test_only_what_passes_is_tried_again(status, error, tries, pauses):
    seen = []

    def answer(exchange, body):
        seen.append(exchange.headers["x-api-key"])
        exchange.reply(b"<html>", status, retry_after=7)

    with faulty.server(answer) as url, Client(url, "shop", key="secret", tries=3) as shop:
        with pytest.raises(error, match=f"{status}: no reason given") as refused:
            shop.popular()
        assert "secret" not in str(refused.value)
    assert seen == ["secret"] * tries
    assert len(pauses) == tries - 1
    assert all(7 <= one <= 20 for one in pauses)


def test_nobody_there_and_nothing_said(pauses):
    with faulty.server(lambda exchange, body: exchange.reply(b"<html>")) as url:
        with Client(url, "shop") as shop, pytest.raises(ApiError, match="not JSON"):
            shop.popular()
        assert not pauses
    with Client(url, "shop", tries=4) as shop, pytest.raises(UnreachableError, match="no answer from 127"):
        shop.popular()
    assert len(pauses) == 3
    assert max(pauses) < 2


class Storm:
    """Of all requests some are lost on the way, some done without an answer, refused, late, or answered in part."""

    def __init__(self, wire):
        self.upstream, self.random, self.lock = faulty.Upstream(url_of(wire)), Random(SEED), Lock()
        self.seen, self.clients = {}, set()

    def __call__(self, exchange, body):
        with self.lock:
            weather = self.random.choice(["lost", "reset", "busy", "partly", "late", *["fine"] * 8])
            self.seen[weather] = self.seen.get(weather, 0) + 1
            self.clients.add(exchange.client_address)
        if weather == "lost":
            return exchange.hang_up()
        if weather == "busy":
            return exchange.reply(json.dumps({"status": 503, "title": "no"}).encode(), 503, retry_after=1)
        status, answer = self.upstream.post(exchange.headers, body, exchange.command, exchange.path)
        if weather == "reset":
            return exchange.reset()
        if weather == "partly":
            exchange.close_connection = True
            return exchange.reply(answer[:-1], status, content_length=len(answer))
        if weather == "late":  # the client gave up meanwhile
            exchange.connection.settimeout(5)
            exchange.connection.recv(1)
            return exchange.reset()
        return exchange.reply(answer, status)


def test_nothing_is_lost_or_done_twice_in_a_storm(start_server, shop, pauses):
    with start_server(shop) as wire:
        storm = Storm(wire)
        with faulty.server(storm) as url, Client(url, "shop", timeout_s=0.3, tries=12) as through:

            def work(thread):
                for n in range(15):
                    sent = [
                        {
                            "event_id": f"{thread}-{n}-{part}",
                            "user": f"new{thread}",
                            "item": f"i{part}",
                            "timestamp": 1e9,
                        }
                        for part in range(3)
                    ]
                    stored = through.send(sent)
                    assert stored["accepted"] + stored["duplicates"] == 3
                    assert len(items(through.recommend(f"new{thread}", k=4))) == 4

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(work, range(4)))
        storm.upstream.close()
    assert set(storm.seen) == {"lost", "reset", "busy", "partly", "late", "fine"}
    assert len(storm.clients) < sum(storm.seen.values()) / 2  # connections are kept
    for thread in range(4):
        assert len(shop.online.recent_events("shop", f"new{thread}", after=0, limit=200)) == 45


def test_it_loads_nothing_but_the_standard_library():
    code = "import sys; import recsys.client; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {one for one in json.loads(done.stdout.replace("'", '"')) if not one.startswith("_")}
    assert loaded - set(sys.stdlib_module_names) == {"recsys"}
