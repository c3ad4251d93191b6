"""The numbers of a process: counted right by many threads, and in a form that Prometheus reads."""

import math
import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from api_client import body_of, event, user_path

LIST = "/v1/{ns}/users/{user}/recommendations"
NUMBER = r"[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf|NaN)"
LABELS = r'\{[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\[\\"n])*")*\}'
SAMPLE = re.compile(rf"([a-z_:][a-z0-9_:]*)({LABELS})? ({NUMBER})")
HEAD = re.compile(r"# (?:HELP ([a-z0-9_]+) [^\n]+|TYPE ([a-z0-9_]+) (counter|gauge|histogram))")


@pytest.fixture
def counts(api):
    """The numbers of an app that starts now."""
    api.app.counts.__init__()
    return api.app.counts


def parsed(text):
    """Return values by name and labels, of what is in the text format 0.0.4, line by line."""
    assert text.endswith("\n")
    kinds, values, helped = {}, {}, set()
    for line in text.splitlines():
        if line.startswith("#"):
            told, typed, kind = HEAD.fullmatch(line).groups()
            assert (told or typed) not in (helped if told else kinds)
            helped |= {told} - {None}
            kinds |= {typed: kind} if typed else {}
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        base = re.sub("_(bucket|sum|count)$", "", name)
        assert kinds.get(name) in ("counter", "gauge") or kinds.get(base) == "histogram", line
        assert name.endswith("_total") or kinds.get(name) != "counter"
        assert (name, labels) not in values, line
        values[name, labels or ""] = float(value)
    assert helped == set(kinds)
    check_histograms(values)
    return values


def check_histograms(values):
    """Buckets rise, and the last of them is the count."""
    series = {}
    for (name, labels), value in values.items():
        if name.endswith("_bucket"):
            others, end = re.fullmatch(r'\{(.*),le="([^"]+)"\}', labels).groups()
            series.setdefault((name.removesuffix("_bucket"), others), []).append((float(end), value))
    assert series or not any("_bucket" in name for name, _ in values)
    for (name, others), buckets in series.items():
        ends, counts = zip(*buckets, strict=True)
        assert list(ends) == sorted(set(ends))
        assert ends[-1] == math.inf
        assert list(counts) == sorted(counts)
        assert counts[-1] == values[f"{name}_count", "{" + others + "}"]


def test_every_answer_is_counted_by_its_route_and_strategy(api, counts):
    for user in ("u1", "u1", "u2", "a stranger"):
        api.get(user_path(user))
    api.post(body_of(event()))
    api.get("/v1/nowhere/popular")
    told = api.get("/metrics", headers={"accept": "application/json"}).json
    assert set(told) == {"since_s", "routes", "strategies", "degraded", "request_id"}
    found = {(one["route"], one["method"]): one for one in told["routes"]}
    assert {where: one["count"] for where, one in found.items()} == {
        (LIST, "GET"): 4, ("/v1/{ns}/events", "POST"): 1, ("/v1/{ns}/popular", "GET"): 1
    }  # fmt: skip
    assert all(0 < one["p50_ms"] <= one["p99_ms"] for one in found.values())
    assert (told["strategies"], told["degraded"]) == ({"als": 3, "popular": 1}, 0)


def test_prometheus_reads_the_same(api, counts):
    for user in ("u1", "u2", "a stranger"):
        api.get(user_path(user))
    answer = api.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    values = parsed(answer.body.decode())
    labels = f'{{route="{LIST}",method="GET"}}'
    assert values["recsys_request_duration_seconds_count", labels] == 3
    assert values["recsys_errors_total", labels] == 0
    assert values["recsys_answers_from_models_total", '{strategy="als"}'] == 2
    assert "u1" not in answer.body.decode()
    assert (
        parsed(api.get("/metrics").body.decode())[
            "recsys_request_duration_seconds_count", '{route="/metrics",method="GET"}'
        ]
        == 1
    )


@pytest.mark.parametrize("bad", ["a{b=1} 1", "a 1 2 3", "A 1", 'a{b="\n"} 1', "# TYPE a counter", "a_total", ""])
def test_what_prometheus_would_not_read_is_refused(bad):
    with pytest.raises((AssertionError, AttributeError)):
        parsed(f"# HELP a_total A.\n# TYPE a_total counter\n{bad}\n")


def test_failures_and_answers_without_a_store_are_counted(api, shop, counts):
    api.get(user_path("u1"))
    shop.folder.joinpath("online.db").rename(shop.folder / "away")
    from chalicelib import wiring

    wiring.stores().online.close()
    shop.folder.joinpath("online.db").mkdir()
    assert api.get(user_path("u1")).status == 200
    assert api.post(body_of(event())).status == 503
    answered, _, degraded = counts.taken()
    assert degraded == 1
    assert {route: one.errors for (route, _), one in answered.items()} == {LIST: 0, "/v1/{ns}/events": 1}


def test_many_threads_lose_no_count(counts):
    request = SimpleNamespace(path="/metrics", method="GET")
    found = SimpleNamespace(strategy="als", degraded=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: counts.add(request, 200 + 300 * (n % 2), 1.0, found), range(8_000)))
    answered, strategies, degraded = counts.taken()
    assert [(one.count, one.errors, one.total_ms) for one in answered.values()] == [(8_000, 4_000, 8_000.0)]
    assert (strategies, degraded) == ({"als": 8_000}, 8_000)


@pytest.mark.parametrize("spread", [1.0, 0.01, 3.0])
def test_quantiles_are_as_near_as_they_say(counts, spread):
    latencies = [0.2 * math.exp(spread * (n / 50) ** 0.5) for n in range(1, 500)]
    for one in latencies:
        counts.add(None, 404, one, None)
    ((where, answered),) = counts.taken()[0].items()
    assert where == ("other", "other")
    for share in (0.5, 0.99):
        exact = sorted(latencies)[math.ceil(share * len(latencies)) - 1]
        assert exact * 0.9999 <= answered.quantile_ms(share) <= exact * 1.1011


def test_what_takes_no_time_and_what_takes_for_ever_is_counted_too(counts):
    for one in (0.0, 1e-9, 99_999.0, 1e9):
        counts.add(None, 200, one, None)
    (answered,) = counts.taken()[0].values()
    assert (answered.buckets[0], answered.buckets[-2], answered.buckets[-1]) == (2, 1, 1)
