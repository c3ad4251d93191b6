"""Token buckets over several processes that share a store, and counts of requests."""

import json
import threading
from random import Random
from types import SimpleNamespace

import pytest
from api_client import check_problem
from conftest import app_over
from test_auth import key

from chalicelib import wiring
from chalicelib.limits import FLUSH_S, LEASE_S, Limits
from recsys.errors import StorageError
from recsys.serving import SQLiteOnlineStore
from recsys.serving.online.keys import ApiKey, MemoryKeys, Usage

KEY = ApiKey("k", "", (), (), 50.0, 100)


class Counted(MemoryKeys):
    """A store that counts its writes, and whose plug can be pulled."""

    writes, down = 0, False

    def change_bucket(self, key_id, change):
        self.writes += 1
        super().change_bucket(key_id, change)
        if self.down:
            raise StorageError("applied, then out of reach")

    def put_usage(self, process, rows):
        if self.down:
            raise StorageError("out of reach")
        self.writes += 1
        super().put_usage(process, rows)


class Exact(Limits):
    """One bucket, asked for every token."""

    full_at_s = 0.0

    def take(self, key):
        now_s = self._clock()
        missing = max(0.0, (self.full_at_s - now_s) * key.rate)
        if missing + 1 > key.burst + 1e-9:
            return 1
        self.full_at_s = now_s + (missing + 1) / key.rate
        return 0


class Clock:
    """A clock that a test moves."""

    now = 1.8e9

    def __call__(self):
        return self.now


def admitted(store, clock, key, seconds, per_second, processes, seed=0, make=Limits):
    """Ask at random moments of as many processes; return when who was let in."""
    rng, began = Random(seed), clock.now
    limits = [make(store, clock) for _ in range(processes)]
    moments = sorted(rng.uniform(0, seconds) for _ in range(int(seconds * per_second)))
    found = []
    for moment in moments:
        clock.now = began + moment
        if not rng.choice(limits).take(key):
            found.append(moment)
    return found


@pytest.mark.parametrize("processes", [1, 3, 10])
@pytest.mark.parametrize(("rate", "burst"), [(50.0, 100), (5.0, 1), (0.7, 3)])
def test_all_processes_together_keep_to_the_rate_and_reach_it(processes, rate, burst):
    store, seconds = Counted(), 60.0
    found = admitted(store, Clock(), KEY._replace(rate=rate, burst=burst), seconds, max(5, 4 * rate), processes)
    for n, moment in enumerate(found, 1):
        assert n <= rate * moment + burst + 1e-6
    exact = admitted(Counted(), Clock(), KEY._replace(rate=rate, burst=burst), seconds, max(5, 4 * rate), 1, make=Exact)
    assert len(found) >= 0.9 * len(exact) - processes * max(1, burst // 10)


def test_a_process_writes_once_for_many_requests_and_not_for_those_it_refuses():
    store = Counted()
    found = admitted(store, Clock(), KEY._replace(rate=1000.0, burst=1000), 10.0, 500, 1)
    assert len(found) == 5000
    assert store.writes < 5000 / 50
    store = Counted()
    found = admitted(store, Clock(), KEY, 10.0, 2000, 1)
    assert len(found) <= 600
    assert store.writes <= 10 * 10 + 20  # a starved bucket is looked at ten times a second


def test_few_requests_over_many_processes_are_not_refused():
    """What is on lease and not used comes back."""
    assert len(admitted(Counted(), Clock(), KEY._replace(rate=5.0, burst=20), 120.0, 3, 4)) > 0.97 * 360


def test_a_bucket_that_forgets_leases_is_caught():
    class Forgetful(Limits):
        def _lease(self, key, bucket, now_s):
            bucket.tokens, bucket.leased, bucket.until_s = 10, 10, now_s + LEASE_S

    found = admitted(Counted(), Clock(), KEY, 5.0, 400, 3, make=Forgetful)
    assert any(n > 50.0 * moment + 100 for n, moment in enumerate(found, 1))


def test_out_of_reach_of_the_store_each_process_keeps_to_the_rate_by_itself():
    store = Counted()
    store.down = True
    found = admitted(store, Clock(), KEY, 10.0, 400, 1)
    assert 0.8 * 600 < len(found) <= 600


def test_threads_and_stores_of_one_file_share_a_bucket(tmp_path):
    stores, clock, found = [SQLiteOnlineStore(tmp_path / "o.db") for _ in range(2)], Clock(), []
    limits = [Limits(store.keys, clock) for store in stores]

    def ask(number):
        found.extend(limits[number % 2].take(KEY) == 0 for _ in range(60))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for one in stores:
        one.close()
    assert 100 - 2 * 10 <= sum(found) <= 100


def test_counts_are_stored_once_in_a_while_and_kept_where_they_cannot_be():
    store, clock = Counted(), Clock()
    limits = Limits(store, clock)
    limits.flush()
    for status in (200, 202, 404):
        limits.count(KEY, status)
    assert store.writes == 0
    store.down = True
    clock.now += FLUSH_S
    limits.count(KEY, 200)
    store.down = False
    assert store.usage("") == []
    clock.now += 86_400
    limits.count(KEY, 503)
    days = ["2027-01-15", "2027-01-16"]
    assert store.usage("") == [Usage(days[0], "k", {"2xx": 3, "4xx": 1}), Usage(days[1], "k", {"5xx": 1})]
    limits.count(KEY, 200)
    limits.flush()
    assert store.usage(days[1]) == [Usage(days[1], "k", {"2xx": 1, "5xx": 1})]
    assert store.writes == 2


def test_who_asks_too_often_is_told_when_to_come_back(shop, api):
    mine = key(shop.online.keys, 1, 0.25, 2)
    assert [api.get("/v1/shop/popular", headers=mine).status for _ in range(3)] == [200, 200, 429]
    refusal = api.get("/v1/shop/popular", headers=mine)
    check_problem(refusal, 429)
    assert refusal.headers["retry-after"] in ("3", "4")
    assert api.get("/health/live", headers=mine).status == 200
    wiring.gate().close()
    (counted,) = shop.online.keys.usage("2026")
    assert counted.counts == {"2xx": 2, "4xx": 2}


def test_a_lambda_counts_what_it_answers(shop, monkeypatch):
    mine = key(shop.online.keys)
    monkeypatch.setattr("chalicelib.limits.FLUSH_S", 0.0)
    with app_over(shop) as api:
        sent = {"requestContext": {"httpMethod": "GET", "resourcePath": "/v1/{ns}/popular"}, "stageVariables": None}
        sent |= {"headers": mine, "pathParameters": {"ns": "shop"}, "body": None}
        sent |= {"multiValueQueryStringParameters": None}
        for n in range(1, 4):
            assert json.loads(api.app(sent, SimpleNamespace(aws_request_id="1"))["body"])["items"]
            assert [one.counts for one in shop.online.keys.usage("2026")] == [{"2xx": n}]
        api.lines.take()
