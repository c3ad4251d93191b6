"""What the line of a request says; that there is one, whole and valid, every call of the other suites checks too."""

import io
import json
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from api_client import JSON, path_of, user_path
from conftest import ODD_IDS, fitted
from test_fuzz import METHODS, storm
from test_outages import database, garbage

from recsys import telemetry

MARKER = "5ecre7"
XRAY, W3C = f"1-5759e988-{'bd86' * 6}", f"00-{'4bf9' * 8}-{'00f0' * 4}-01"
HEADERS = {
    **JSON,
    "x-api-key": MARKER,
    "Authorization": f"Bearer {MARKER}",
    "X-Amzn-Trace-Id": f"Root={MARKER};Parent={MARKER}",
    "traceparent": f"00-{MARKER}",
    f"x-{MARKER}": MARKER,
}


def marked_requests(routes):
    """Requests that hold a marker wherever a client may write something."""
    event = {"event_id": MARKER, "user": MARKER, "item": MARKER, "timestamp": 1, "context": {MARKER: MARKER}}
    bodies = {
        "events": ({"events": [event]}, {"events": [{**event, "item": ""}]}, {MARKER: 1}),
        "scores": ({"items": ["i1"], "context": {MARKER: 1}}, {"items": [MARKER]}, {MARKER: 1}),
        "recommendations": ({"events": [{"item": MARKER}]}, {"context": {"device": MARKER}}, {MARKER: 1}),
    }
    for route, views in routes.items():
        for namespace in ("shop", "films", MARKER):
            for method in (*views, "DELETE", MARKER):
                for body in bodies.get(route.rpartition("/")[2], (None,)):
                    for query in (None, {MARKER: [MARKER]}, {"k": [MARKER]}):
                        yield {
                            "method": method,
                            "route": route,
                            "parameters": {"ns": namespace, "user": MARKER, "item": MARKER},
                            "query": query,
                            "headers": HEADERS,
                            "body": json.dumps(body) if method == "POST" else None,
                        }


def lines_with_the_marker(api):
    found = 0
    for request in marked_requests(api.app.routes):
        api.invoke(**request)
        found += MARKER in json.dumps(api.line)
    return found


def test_nothing_a_client_makes_up_is_in_a_line(shop, api, monkeypatch):
    from chalicelib import wiring

    assert lines_with_the_marker(api) == 0
    monkeypatch.setattr(wiring.service().models, "current", lambda namespace: {}[MARKER])
    assert lines_with_the_marker(api) == 0  # an error that nobody foresaw, and that quotes what was sent
    assert api.get(user_path("u1")).status == 500
    monkeypatch.undo()
    shop.online.close()
    garbage(database(shop))
    assert lines_with_the_marker(api) == 0


@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("traces", lambda headers: {"traceparent": headers.get("traceparent")}),
        ("METHODS", type("All", (), {"__contains__": lambda self, method: True})()),
        ("_age", lambda created_at: {"user": MARKER}),
        ("cause", repr),
    ],
)
def test_a_line_with_what_a_client_made_up_is_found(api, monkeypatch, name, bug):
    from chalicelib import access_log, wiring

    monkeypatch.setattr(access_log, name, bug)
    if name == "cause":
        monkeypatch.setattr(wiring.service().models, "current", lambda namespace: {}[MARKER])
    with pytest.raises((AssertionError, KeyError)):  # of the check that every call makes, or of this one
        assert lines_with_the_marker(api) == 0


def test_the_storm_finds_a_user_in_a_line(api, monkeypatch):
    from chalicelib import access_log

    def emit(metrics, properties):
        user = (api.app.current_request.uri_params or {}).get("user")
        telemetry.emit(metrics, {**properties, "namespace": user})

    monkeypatch.setattr(access_log, "emit", emit)
    with pytest.raises(AssertionError, match="namespace"):
        storm(api, 100, 1)


def test_a_list_is_logged_with_its_model_and_an_error_with_its_cause(shop, api, monkeypatch):
    from chalicelib import wiring

    answer = api.get(user_path("u1"))
    line = api.line
    assert (line["strategy"], line["model_version"]) == ("als", answer.json["model_version"])
    assert (line["namespace"], line["route"]) == ("shop", "/v1/{ns}/users/{user}/recommendations")
    assert line["_aws"]["CloudWatchMetrics"][1]["Dimensions"] == [["function", "strategy"]]
    monkeypatch.setattr(wiring.service(), "popular", lambda *_, **__: 1 / 0)
    assert api.get("/v1/shop/popular").status == 500
    assert api.line["error"].startswith("ZeroDivisionError at ")
    assert "test_log.py" in api.line["error"]
    monkeypatch.undo()
    (shop.folder / "registry" / "films" / "current.json").write_bytes(b"garbage")
    assert api.get("/v1/films/popular").status == 503
    assert str(shop.folder) in api.line["error"]


def test_fallback_counts_personal_lists_only(shop, api):
    for path, fallback in [
        (user_path("u1"), 0),
        (user_path("stranger"), 1),
        ("/v1/shop/popular", None),
        (path_of("v1", "shop", "items", "i1", "similar"), None),
        ("/health/live", None),
    ]:
        api.get(path)
        assert api.line.get("Fallback") == fallback
        assert ("Degraded" in api.line) == ("strategy" in api.line) == path.startswith("/v1")
    api.ask("/v1/shop/recommendations", {})
    assert api.line["Fallback"] == 1
    shop.online.close()
    garbage(database(shop))
    api.get(user_path("u1"))
    assert (api.line["Fallback"], api.line["Degraded"]) == (1, 1)


@pytest.mark.parametrize("method", METHODS)
def test_what_chalice_refuses_has_its_line_too(api, method):
    status = api.invoke(method, "/health/live").status
    assert (status, api.line["status"]) == ((200, 200) if method == "GET" else (405, 405))


def test_the_age_is_that_of_the_model_that_answers(shop, api):
    def bounds(manifest, before):
        made = datetime.fromisoformat(manifest.created_at).timestamp()
        return before - made, datetime.now(UTC).timestamp() - made

    for seed in (1, 2):
        manifest = shop.publish(fitted(seed=seed))
        before = datetime.now(UTC).timestamp()
        api.get("/v1/shop/popular")
        least, most = bounds(manifest, before)
        assert api.line["model_version"] == manifest.version
        assert least - 0.001 <= api.line["ModelAge"] <= most + 0.001


@pytest.mark.parametrize(
    ("created_at", "age"),
    [("2026-01-01T00:00:00+00:00", 86_400.0), ("2027-01-01T00:00:00+00:00", 0.0), ("", None), ("yesterday", None)],
)
def test_an_age_needs_a_time(monkeypatch, created_at, age):
    from chalicelib import access_log

    now = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    monkeypatch.setattr(access_log, "time", SimpleNamespace(time=lambda: now))
    assert access_log._age(created_at).get("ModelAge") == age


HOSTILE = (
    *("", "00", "x" * 1_000_000, W3C.upper(), f"00-{'0' * 32}-{'1' * 16}-00", *ODD_IDS),
    *(f"{W3C}{junk}" for junk in ("-", "\n", '"}', "\0", "\ud800", "\r\nX: y")),
    *(f"Root={XRAY}{junk}" for junk in ("0", "\n", "\r\nX: y", "é")),
    "Root=" * 200_000,
)


def test_a_trace_is_logged_in_its_own_form_or_not_at_all(api):
    api.get("/health/live", headers={"X-Amzn-Trace-Id": f"Self=1-6789;Root={XRAY};Sampled=1", "TraceParent": W3C})
    assert (api.line["xray_trace_id"], api.line["traceparent"]) == (XRAY, W3C)
    for junk in HOSTILE:
        api.get("/health/live", headers={"x-amzn-trace-id": junk, "traceparent": junk})
        assert not {"xray_trace_id", "traceparent"} & set(api.line), junk[:80]


def test_the_trace_of_the_runtime_goes_before_that_of_a_client(api, monkeypatch):
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={XRAY};Parent=53995c3f42cd8ad8;Sampled=0")
    api.get("/health/live", headers={"x-amzn-trace-id": f"Root=1-00000000-{'0' * 24}"})
    assert api.line["xray_trace_id"] == XRAY


def test_one_first_request_of_a_process_is_its_cold_start(shop, start_server):
    with start_server(shop) as server:
        threads = [threading.Thread(target=server.get, args=("/v1/shop/popular",)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log = shop.folder.parent / "server.log"
        cold = [json.loads(line)["ColdStart"] for line in log.read_text().splitlines()]
    assert sorted(cold) == [0] * 15 + [1]


def test_a_log_that_nobody_takes_costs_no_answer(api, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(telemetry, "sys", SimpleNamespace(stderr=closed))
    event = {"requestContext": {}}
    assert json.loads(api.app(event, None)["body"])["status"] == 500
