"""What lets requests in: scopes of routes, keys as they come and go, settings, headers, origins."""

import json
import sys
import threading
from hashlib import sha256
from types import SimpleNamespace

import pytest
from api_client import check_problem
from app import app
from conftest import app_over

from chalicelib.auth import Gate, Keyring, Who
from chalicelib.responses import Problem
from recsys.errors import ConfigError, StorageError
from recsys.serving.online.keys import ApiKey, MemoryKeys

SECRET = "5ec4e7" * 10 + "abcd"


def test_every_route_says_which_scope_it_takes():
    routes = {(method, path) for path, methods in app.routes.items() for method in methods}
    assert set(app.scopes) == routes
    assert set(app.scopes.values()) <= {"read", "write", "admin", None}
    public = {path for (_, path), scope in app.scopes.items() if scope is None}
    assert public <= {"/health/live", "/health/ready", "/v1/openapi.json", "/console"}  # none that names a namespace
    with pytest.raises(TypeError, match="scope"):
        app.route("/v1/{ns}/forgotten", methods=["GET"])


def key(store, number=1, *limit, scopes=("read",), namespaces=("*",)):
    key_id = f"{number:012x}"
    store.add(ApiKey(key_id, sha256(SECRET.encode()).hexdigest(), scopes, namespaces, *limit))
    return {"x-api-key": f"rs_{key_id}_{SECRET}"}


def test_a_running_server_notices_the_first_key_and_every_revocation(shop, api):
    assert api.get("/v1/shop/popular").status == 200
    mine = key(shop.online.keys)
    check_problem(api.get("/v1/shop/popular"), 401)
    assert api.get("/v1/shop/popular", headers=mine).status == 200
    shop.online.keys.revoke(f"{1:012x}")
    check_problem(api.get("/v1/shop/popular", headers=mine), 401)
    check_problem(api.get("/v1/shop/popular"), 401)  # and it never opens again
    with shop.online._writes.held("planting") as db:
        db.execute("DELETE FROM api_keys")
    check_problem(api.get("/v1/shop/popular"), 401)
    assert api.get("/health/live").status == 200


@pytest.mark.parametrize(("mode", "status"), [("required", 401), ("open", 200)])
def test_a_setting_closes_what_has_no_keys_and_opens_what_has(shop, monkeypatch, mode, status):
    if mode == "open":
        key(shop.online.keys)
    monkeypatch.setenv("RECSYS_AUTH", mode)
    with app_over(shop) as api:
        assert api.get("/v1/shop/popular").status == status


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"RECSYS_AUTH": "on"}, "required or open"),
        ({"RECSYS_JWKS": "file:jwks.json"}, "RECSYS_JWT_ISSUER and RECSYS_JWT_AUDIENCE"),
        ({"RECSYS_JWKS": "http://issuer.example/", "RECSYS_JWT_ISSUER": "i", "RECSYS_JWT_AUDIENCE": "a"}, "https"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings, said, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        Gate.from_environment(MemoryKeys())


class Plugged(MemoryKeys):
    """A store whose plug can be pulled; it counts how often it is asked."""

    down, asked = False, 0

    def all(self):
        self.asked += 1
        if self.down:
            raise StorageError("out of reach")
        return super().all()


def test_what_is_known_is_looked_at_again_after_a_while_and_whoever_makes_ids_up_asks_nobody():
    store = Plugged()
    mine = key(store)
    gate = Gate(store)
    for _ in range(50):
        assert gate.who(mine).scopes == ("read",)
        with pytest.raises(Problem):
            gate.who({"x-api-key": f"rs_{'e' * 12}_{SECRET}"})
    assert store.asked == 1
    gate.keyring.refresh_s = 0.0
    gate.who(mine)
    assert store.asked > 1


def test_out_of_reach_of_the_store_known_keys_work_for_a_while_and_nobody_learns_which_others_there_are():
    store = Plugged()
    mine = key(store)
    gate = Gate(store, "required")
    gate.keyring = ring = Keyring(store, refresh_s=0.0, stale_s=60.0)
    store.down = True
    with pytest.raises(StorageError):
        gate.who(mine)  # never known
    store.down = False
    assert gate.who(mine).key.key_id in mine["x-api-key"]
    store.down = True
    assert gate.who(mine)
    for number in (1, 2):
        with pytest.raises(StorageError):
            gate.who({"x-api-key": f"rs_{number:012x}_{SECRET[::-1]}"})
    with pytest.raises(Problem):
        gate.who({})
    ring._read_s -= 61.0
    with pytest.raises(StorageError):
        gate.who(mine)
    store.down = False
    assert gate.who(mine)


def test_one_thread_looks_while_the_others_go_on():
    class Slow(MemoryKeys):
        looking, free = threading.Semaphore(0), threading.Event()

        def all(self):
            self.looking.release()
            assert self.free.wait(10)
            return super().all()

    store = Slow()
    mine = key(store)
    ring = Keyring(store, refresh_s=5.0)
    first = [threading.Thread(target=ring.find, args=("x", "x")) for _ in range(2)]  # both wait, one looks
    for one in first:
        one.start()
    assert store.looking.acquire(timeout=10)
    store.free.set()
    for one in first:
        one.join()
    assert not store.looking.acquire(blocking=False)
    store.free.clear()
    ring.refresh_s = 0.0
    late = threading.Thread(target=ring.find, args=("x", "x"))
    late.start()
    assert store.looking.acquire(timeout=10)
    assert ring.find(f"{1:012x}", sha256(SECRET.encode()).hexdigest()).scopes == ("read",)  # nobody waits for who looks
    store.free.set()
    late.join()
    assert mine


def test_the_log_says_how_tokens_could_be_taken_where_nothing_reads_them(shop, monkeypatch):
    for name, value in {"RECSYS_JWKS": "file:x", "RECSYS_JWT_ISSUER": "i", "RECSYS_JWT_AUDIENCE": "a"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "jwt", None)
    with app_over(shop) as api:
        sent = {"requestContext": {"httpMethod": "GET", "resourcePath": "/v1/{ns}/popular"}, "stageVariables": None}
        sent |= {"headers": {"Authorization": "Bearer x"}, "pathParameters": {"ns": "shop"}, "body": None}
        sent |= {"multiValueQueryStringParameters": None}
        assert api.app(sent, SimpleNamespace(aws_request_id="1"))["statusCode"] == 401
        (line,) = api.lines.take()
        assert "pip install 'recsys[jwt]'" in json.loads(line)["error"]


def test_every_answer_has_its_headers_and_only_those_over_https_ask_for_https(api):
    for answer in (api.get("/v1/shop/popular"), api.get("/v1/no/popular"), api.get("/health/live")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] in ("no-store", "private, no-cache")
        assert "strict-transport-security" not in answer.headers
        assert "vary" not in answer.headers
    told = api.get("/v1/shop/popular", headers={"X-Forwarded-Proto": "https"}).headers
    assert told["strict-transport-security"].startswith("max-age=")


def test_pages_of_listed_origins_may_ask_and_no_others(shop, start_server, monkeypatch):
    mine, page = key(shop.online.keys), "https://shop.example"
    monkeypatch.setenv("RECSYS_CORS", f"{page}, https://other.example")
    with start_server(shop) as server:
        asked = {"origin": page, "access-control-request-method": "GET", "access-control-request-headers": "x-api-key"}
        answer = server.request("OPTIONS", "/v1/shop/items/i1", headers=asked)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == page
        assert "PUT" in answer.headers["access-control-allow-methods"]
        assert "x-api-key" in answer.headers["access-control-allow-headers"]
        assert answer.headers["vary"] == "Origin"
        for headers, status in ((mine, 200), ({}, 401)):
            answer = server.get("/v1/shop/popular", headers={"Origin": page, **headers})
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, page)
            assert "access-control-allow-credentials" not in answer.headers
        for origin in ("https://evil.example", "null", "*", f"{page}.evil.example", page.upper()):
            for method in ("OPTIONS", "GET"):
                answer = server.request(method, "/v1/shop/popular", headers={**asked, **mine, "origin": origin})
                assert "access-control-allow-origin" not in answer.headers
                assert answer.status == (405 if method == "OPTIONS" else 200)


def test_the_app_itself_answers_for_origins(api, monkeypatch):
    monkeypatch.setenv("RECSYS_CORS", "https://shop.example")
    assert "vary" in api.get("/v1/shop/popular").headers
    sent = {"requestContext": {"httpMethod": "OPTIONS", "resourcePath": "/v1/{ns}/popular"}, "stageVariables": None}
    sent |= {"headers": {"Origin": "https://shop.example"}, "pathParameters": {"ns": "shop"}, "body": None}
    answer = api.app(sent | {"multiValueQueryStringParameters": None}, SimpleNamespace(aws_request_id="1"))
    assert (answer["statusCode"], answer["body"]) == (204, "")
    assert "GET" in answer["headers"]["Access-Control-Allow-Methods"]
    assert api.get("/v1/shop/popular", headers={"origin": "https://shop.example"}).headers["vary"] == "Origin"
    api.lines.take()


def test_nobody_has_a_key_where_there_is_none():
    gate = Gate(MemoryKeys(), "required")
    for headers in ({"x-api-key": f"rs_{'0' * 12}_{SECRET}"}, {"authorization": "Bearer x"}):
        with pytest.raises(Problem):
            gate.who(headers)
    gate.close()  # nothing was counted


def test_what_tells_of_all_namespaces_takes_a_key_for_all():
    gate = Gate(MemoryKeys())
    gate.check(Who(("admin",), ("*",)), "admin", None)
    with pytest.raises(Problem) as refusal:
        gate.check(Who(("admin",), ("shop", "films")), "admin", None)
    assert refusal.value.status == 403
