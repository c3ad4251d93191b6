"""The real server process: the same answers, and HTTP as attackers and careless clients speak it."""

import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from api_client import JSON, Wire, body_of, check_problem, event, parse_answers, path_of, user_path
from conftest import CHALICE_APP, ODD_IDS

from recsys.serving.online.keys import ApiKey

THREADS, ROUNDS = 8, 25
HEAD = b"POST /v1/shop/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def asked(target, method=b"GET", headers=b""):
    return method + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + headers + b"\r\n"


def test_fifty_users_get_the_services_own_lists(server, long_lived_shop):
    for user in [*(f"u{n}" for n in range(50)), *ODD_IDS]:
        answer = server.get(user_path(user) + "?k=9")
        expected = long_lived_shop.service.recommend("shop", user, 9)
        assert answer.items == [(one.item, one.score) for one in expected.items]
        assert answer.json["model_version"] == expected.model_version
        assert answer.json["strategy"] == expected.strategy == "als"
    for item in ODD_IDS:
        expected = long_lived_shop.service.similar("shop", item, 20)
        answer = server.get(path_of("v1", "shop", "items", item, "similar"))
        assert answer.items == [(one.item, one.score) for one in expected.items]


def test_events_are_seen_at_once(server):
    offered = server.get(user_path("u59") + "?k=1").items[0][0]
    assert server.post(body_of(event("w1", "u59", offered), event("w1", "u59"))).json["accepted"] == 1
    answer = server.get(user_path("u59") + "?k=500")
    assert answer.json["strategy"] == "fold_in"
    assert offered not in dict(answer.items)


def test_errors_are_problems_with_their_own_request_ids(server):
    answers = [server.get("/v1/shop/items/nothing/similar") for _ in range(3)]
    assert len({check_problem(one, 404, "item")["request_id"] for one in answers}) == 3
    check_problem(server.get("/v1/other/popular"), 404, "ns")
    check_problem(server.get("/v1/shop/users/%ED%A0%80/recommendations"), 400, "user")
    check_problem(server.post(b"\xff"), 400)
    check_problem(server.post(b""), 400)
    check_problem(server.post(b"{}", headers={"content-type": "text/plain"}), 415)
    check_problem(server.post(b" " * (256 * 1024 + 1)), 413)
    check_problem(server.post(b"[" * 100_000), 400)
    assert server.post(body_of(event("pad")) + " " * 200_000).status == 202


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/shop",
        "/v1/shop/",
        "/v1/shop/users",
        "/v1/shop/users/a/b/recommendations",
        "/v2/shop/popular",
        "/favicon.ico",
        "/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "//evil.example/v1",
        "/v1/shop/popular/x",
        "/health",
        "*",
        "/" + "x" * 60000,
        "http://[/v1",
        "/V1/shop/popular",
        "/v1/shop/popular%00",
    ],
)
@pytest.mark.parametrize("authorization", [None, "Basic abc", 'x"}', "é", "\\", '%s", "a": "'])
def test_unknown_routes_are_not_found(server, path, authorization):
    headers = b"" if authorization is None else b"Authorization: " + authorization.encode() + b"\r\n"
    (answer,) = server.raw(asked(path.encode(), headers=headers))
    check_problem(answer, 404)
    assert len(answer.body) < 600


def test_trailing_slashes_and_absolute_targets_lead_to_the_same_route(server):
    for target in (b"/v1/shop/popular/", b"http://anywhere/v1/shop/popular", b"//v1/shop/popular"):
        assert server.raw(asked(target))[0].status == 200


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "BREW", "TRACE", "CONNECT", "get", "X" * 5000]
)
def test_wrong_methods_are_named_with_the_right_ones(server, method):
    (answer,) = server.raw(asked(b"/v1/shop/models", method.encode())) if method != "HEAD" else [head(server)]
    assert answer.status == 405
    assert answer.headers["allow"] == "GET"
    if method != "HEAD":
        check_problem(answer, 405)
        assert len(answer.body) < 600
    check_problem(server.get("/v1/shop/events"), 405)
    assert server.get("/v1/shop/events").headers["allow"] == "POST"


def head(server):
    return server.request("HEAD", "/v1/shop/models")


def test_the_answer_to_head_has_no_body_so_that_the_connection_stays_usable(server):
    for path in (b"/v1/shop/popular", b"/nowhere"):
        with socket.create_connection(server.address, timeout=10) as connection:
            connection.sendall(
                b"HEAD " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" + asked(b"/v1/shop/popular?k=3")
            )
            received = b"".join(iter(lambda: connection.recv(65536), b""))
        _, separator, rest = received.partition(b"\r\n\r\n")
        assert separator
        (answer,) = parse_answers(rest)
        assert len(answer.items) == 3


def test_options_allows_no_other_origin(server):
    answer = server.request("OPTIONS", "/v1/shop/events", headers={"Origin": "http://evil.example"})
    assert answer.status < 500
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HEAD + b"Content-Length: abc\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: +2\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: 2_0\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: \xb2\r\n\r\n{}", 400),
        (HEAD + b"Content-Length:\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: 2, 2\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", 413),
        (HEAD + b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\n{}", 413),
        (HEAD + b"Content-Length: 99999999\r\n\r\n{}", 413),
        (HEAD + b"Content-Length: 50\r\n\r\n{}", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 411),
        (HEAD + b"X: " + b"y" * 70_000 + b"\r\nContent-Length: 2\r\n\r\n{}", 431),
        (HEAD + b"X: y\r\n" * 200 + b"Content-Length: 2\r\n\r\n{}", 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /v1/shop/popular HTTP/9.9\r\n\r\n", 400),
        (b"GET /v1/shop/popular FTP/1.1\r\n\r\n", 400),
        (b"GET /v1/shop/ popular HTTP/1.1\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (asked("/v1/shop/users/é/recommendations".encode()), 400),
        (asked(b"/v1/shop/users/a\x01b/recommendations"), 400),
    ],
    ids=range(24),
)
def test_broken_http_is_a_problem_and_the_connection_closes(server, data, status):
    (answer,) = server.raw(data)
    check_problem(answer, status)
    assert server.get("/health/live").status == 200


def test_a_body_far_too_large_is_refused_while_it_is_still_sent(server):
    connection = http.client.HTTPConnection(*server.address, timeout=20)
    answer = Wire.on(connection, "POST", "/v1/shop/events", b" " * (8 << 20), JSON)
    check_problem(answer, 413)
    connection.close()


def test_a_refused_body_is_not_read_as_the_next_request(server):
    hidden = b"GET /v1/shop/popular HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = server.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + hidden)
    assert [one.status for one in answers] == [411]
    answers = server.raw(asked(b"/v1/shop/popular", headers=b"Content-Length: %d\r\n" % len(hidden)) + hidden)
    assert [one.status for one in answers] == [200]


def test_pipelined_requests_are_answered_in_order(server):
    one = b"GET /v1/shop/popular?k=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = server.raw(b"".join(one % k for k in range(1, 20)))
    assert [len(answer.items) for answer in answers] == list(range(1, 20))


def test_slow_and_silent_clients_hold_nobody_up(server):
    slow = [socket.create_connection(server.address, timeout=10) for _ in range(50)]
    for n, connection in enumerate(slow):
        connection.sendall([b"", b"GET /v1", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{"][n % 4])
    started = time.monotonic()
    assert server.get("/v1/shop/popular").status == 200
    assert time.monotonic() - started < 5
    for connection in slow:
        connection.close()


def test_more_connections_than_threads_are_told_so_and_room_is_made_again(server):
    import server as module

    open_ones = [socket.create_connection(server.address, timeout=10) for _ in range(module.MAX_CONNECTIONS)]
    time.sleep(0.3)
    check_problem(server.get("/health/live"), 503)
    for connection in open_ones:
        connection.close()
    deadline = time.monotonic() + 10
    while server.get("/health/live").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_of_a_request_gets_into_a_header_or_says_what_runs_here(server):
    answer = server.get("/v1/shop/users/a%0d%0aSet-Cookie:x/recommendations?k=5")
    assert answer.status == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "python" not in answer.headers["server"].lower()


def test_eight_threads_with_their_own_users_get_their_own_answers(server, long_lived_shop):
    """Every thread asks for its own users with its own k and sends its own events."""
    wrong = []

    def client(number):
        connection = http.client.HTTPConnection(*server.address, timeout=20)
        mine = [f"u{n}" for n in range(number, 40, THREADS)]
        k = number + 2
        expected = {one: long_lived_shop.service.recommend("shop", one, k) for one in mine}
        try:
            for n in range(ROUNDS):
                user = mine[n % len(mine)]
                got = Wire.on(connection, "GET", user_path(user) + f"?k={k}")
                if got.items != [(one.item, one.score) for one in expected[user].items]:
                    wrong.append((user, got))
                sent = [event(f"t{number}.{n}.{i}", f"thread {number}", f"i{n}") for i in range(number + 1)]
                stored = Wire.on(connection, "POST", "/v1/shop/events", body_of(*sent), JSON)
                if stored.status != 202 or stored.json["accepted"] != number + 1:
                    wrong.append((number, stored))
        except Exception as error:
            wrong.append((number, error))
        finally:
            connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    for number in range(THREADS):
        held = long_lived_shop.online.recent_events("shop", f"thread {number}", after=0, limit=1000)
        assert len(held) == ROUNDS * (number + 1)


@pytest.mark.parametrize(
    ("arguments", "settings", "status", "said"),
    [
        (["--port", "{taken}"], {}, 5, "already in use"),
        (["--port", "70000"], {}, 5, "cannot be had"),
        (["--port", "0", "--host", "256.1.1.1"], {}, 5, "cannot be had"),
        (["--port", "0"], {"RECSYS_ONLINE": "redis://x"}, 2, "RECSYS_ONLINE"),
        (["--port", "x"], {}, 2, "invalid int"),
    ],
)
def test_why_it_cannot_start_is_one_line(server, long_lived_shop, arguments, settings, status, said):
    arguments = [one.format(taken=server.address[1]) for one in arguments]
    environment = {**os.environ, **long_lived_shop.environment, **settings}
    command = [sys.executable, str(CHALICE_APP / "server.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("host", "arguments", "settings", "keyed", "said"),
    [
        ("127.0.0.1", (), {}, False, "open to all who reach it"),
        ("localhost", (), {}, True, "with keys"),
        ("0.0.0.0", (), {}, False, None),
        ("0.0.0.0", (), {}, True, "with keys"),
        ("127.0.0.1", ("--open",), {}, True, "open to all who reach it"),
        ("127.0.0.1", (), {"RECSYS_AUTH": "required"}, False, "with keys"),
        ("0.0.0.0", (), {"RECSYS_ONLINE": "sqlite:/dev/null/online.db"}, True, None),
    ],
)
def test_beyond_loopback_it_starts_only_with_keys_or_when_told_to(shop, host, arguments, settings, keyed, said):
    if keyed:
        shop.online.keys.add(ApiKey("0" * 12, "", (), ()))
    command = [sys.executable, str(CHALICE_APP / "server.py"), "--port", "0", "--host", host, *arguments]
    environment = {**os.environ, **shop.environment, **settings}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert (said in line and line.startswith("Serving ")) if said else line == ""
    finally:
        process.terminate()
        _, stderr = process.communicate(timeout=10)
    assert process.returncode == (0 if said else 2)
    assert stderr.count("\n") == stderr.count("recsys keys add") == (not said), stderr


def test_a_server_without_keys_hears_nothing_from_pages_of_elsewhere(shop, model, start_server, monkeypatch):
    first, second = shop.registry.current("shop").version, shop.publish(model).version
    monkeypatch.setenv("RECSYS_CORS", "https://shop.example")
    roll_back, evil = "/v1/shop/models/rollback", "evil.example"
    with start_server(shop) as server:
        for host in (evil, f"{evil}:8000", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "", "["):
            check_problem(server.get("/v1/shop/popular", headers={"Host": host}), 403)
        for origin in (f"http://{evil}", "null", "http://localhost.evil.example", "https://shop.example.evil.example"):
            check_problem(server.request("POST", roll_back, headers={"Origin": origin}), 403)
        assert shop.registry.current("shop").version == second
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8000", "127.1.2.3", "[::1]:80"):
            assert server.get("/v1/shop/popular", headers={"Host": host, "Origin": f"http://{host}"}).status == 200
        assert server.raw(b"GET /health/live HTTP/1.0\r\n\r\n")[0].status == 200
        assert server.request("POST", roll_back, headers={"Origin": "https://shop.example"}).status == 200
        assert shop.registry.current("shop").version == first
        shop.online.keys.add(ApiKey("0" * 12, "", (), ()))
        time.sleep(1.1)
        check_problem(server.get("/v1/shop/popular", headers={"Host": evil, "Origin": f"http://{evil}"}), 401)


def test_a_list_does_not_wait_for_an_event_that_waits_for_the_database(shop, start_server):
    with start_server(shop) as server, closing(sqlite3.connect(shop.folder / "online.db", isolation_level=None)) as db:
        assert server.get(user_path("u1")).status == 200
        db.execute("BEGIN IMMEDIATE")
        order = []
        post = threading.Thread(target=lambda: order.append(server.post(body_of(event("slow"))).status))
        post.start()
        time.sleep(0.3)  # the write is at SQLite's door by now
        order += [server.get(user_path(f"u{n}")).json["degraded"] for n in range(5)]
        assert order == [False] * 5
        db.execute("ROLLBACK")
        post.join()
        assert order[-1] == 202


def test_no_id_is_in_the_log(server, long_lived_shop):
    marker = "very-secret-user"
    server.get(user_path(marker))
    server.post(json.dumps({"events": [event(user=marker, item="\ud800")]}))
    server.get(f"/v1/shop/{marker}")
    with socket.create_connection(server.address) as connection:
        connection.sendall(f"GET /{marker} HTTP/1.1\r\nX: ".encode())
    assert marker not in (long_lived_shop.folder / "server.log").read_text()
