"""Requests under rules in one process, d = 64, lists of 20, interleaved with the same request without them.

Every item has a genre (1 of 10), tags (3 of 1,000), a price and a time within the last two years. "first" is the
request that reads and compiles the catalogue; "after a change" is the first one after an item was put. Requests are
those of the service, and, for filters, of the whole handler, called as Lambda does it: POST with a filter beside POST
with an empty body, and GET beside GET.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import gc
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from recsys.serving import ModelLoader, RecommendationService
from recsys.serving.answers import RankedList
from recsys.serving.filters import Exists, Group, OneOf, Within
from recsys.serving.rules import Boost, Cap, Diversity, Freshness, Promotion, Rules
from tests.benchmarks.harness import options, report
from tests.benchmarks.published import NAMESPACE, USERS, environment, publish_catalogue, stores_in
from tests.benchmarks.servers import SERVER

K, NOW_S, DAY_S = 20, 1.8e9, 86_400.0
ROUTE = "/v1/{ns}/users/{user}/recommendations"
FIELDS = {"genre": "keyword", "tags": "keywords", "price": "number", "at": "timestamp"}
HALF = Within("price", lt=50)
RULES = {
    "half": Rules(HALF),
    "a tenth": Rules(OneOf("genre", ("g3",))),
    "1 %": Rules(Within("price", lt=1)),
    "0.3 %": Rules(OneOf("tags", ("t5",))),
    "0.03 %": Rules(Group(must=(OneOf("tags", ("t5",)), OneOf("genre", ("g3",))))),
    "nested": Rules(
        Group((HALF, Exists("at")), (OneOf("genre", ("g1", "g2")), OneOf("tags", ("t1",))), (OneOf("genre", ("g9",)),))
    ),
    "exclude": Rules(exclude=tuple(f"i{n}" for n in range(100))),
    "add": Rules(boost=(Boost(OneOf("genre", ("g3",)), add=0.1),)),
    "multiply": Rules(boost=(Boost(OneOf("genre", ("g3",)), 1.5), Boost(HALF, 1.2))),
    "freshness": Rules(freshness=Freshness("at", 365 * DAY_S)),
    "promotion": Rules(promotions=(Promotion(OneOf("tags", ("t5",)), 0.2),)),
    "diversity": Rules(diversity=Diversity(0.3, 100, (Cap("genre", 3),))),
}


def metadata(n_items: int) -> dict[str, dict[str, object]]:
    """What is told of every item."""
    rng = np.random.default_rng(5)
    genres, tags = rng.integers(0, 10, n_items).tolist(), rng.integers(0, 1000, (n_items, 3)).tolist()
    prices, times = (
        (100 * rng.random(n_items)).round(2).tolist(),
        (NOW_S - 730 * DAY_S * rng.random(n_items)).round().tolist(),
    )
    return {
        f"i{n}": {
            "title": f"Item {n}",
            "genre": f"g{genres[n]}",
            "tags": [f"t{one}" for one in tags[n]],
            "price": prices[n],
            "at": times[n],
        }
        for n in range(n_items)
    }


def milliseconds(ask: Callable[[], RankedList]) -> float:
    """Time one request."""
    began = time.perf_counter()
    assert len(ask().items) == K
    return 1e3 * (time.perf_counter() - began)


def rows_of(folder: Path, n_items: int, count: int) -> list[dict[str, object]]:
    """One row per rule."""
    publish_catalogue(folder, n_items)
    stores = stores_in(folder)
    service = RecommendationService(ModelLoader(stores.artifacts, stores.registry), stores.online, clock=lambda: NOW_S)
    users = [f"u{n}" for n in range(1, USERS, 2)]

    def ask(n: int, rules: Rules | None = None) -> Callable[[], RankedList]:
        return lambda: service.recommend(NAMESPACE, users[n % len(users)], K, rules=rules)

    bare = [milliseconds(ask(n)) for n in range(count)]
    stores.online.put_fields(NAMESPACE, FIELDS)
    stores.online.put_items(NAMESPACE, metadata(n_items))
    first_plain, first = milliseconds(ask(0)), milliseconds(ask(0, RULES["a tenth"]))
    changes = []
    for n in range(20):
        stores.online.put_items(NAMESPACE, {f"i{n}": {"genre": "g3"}})
        changes.append(milliseconds(ask(n, RULES["a tenth"])))
    rows: list[dict[str, object]] = []
    for name, rules in RULES.items():
        firsts = milliseconds(ask(0, rules))
        pairs = [(milliseconds(ask(n)), milliseconds(ask(n, rules))) for n in range(count)]
        rows.append(
            {
                "items": n_items,
                "rule": name,
                **compared(pairs),
                "new rule ms": firsts,
                "no catalogue p50 ms": float(np.median(bare)),
                "first ms": first,
                "first plain ms": first_plain,
                "after a change ms": float(np.median(changes)),
            }
        )
    rows += [{**rows[0], **row} for row in of_handler(folder, count)]
    stores.online.close()
    return rows


FILTERS = {
    "half": {"range": {"price": {"lt": 50}}},
    "a tenth": {"match": {"genre": "g3"}},
    "1 %": {"range": {"price": {"lt": 1}}},
    "0.3 %": {"match": {"tags": "t5"}},
    "0.03 %": {"must": [{"match": {"tags": "t5"}}, {"match": {"genre": "g3"}}]},
    "nested": {
        "must": [{"range": {"price": {"lt": 50}}}, {"exists": "at"}],
        "should": [{"any": {"genre": ["g1", "g2"]}}, {"match": {"tags": "t1"}}],
        "must_not": [{"match": {"genre": "g9"}}],
    },
}


def of_handler(folder: Path, count: int) -> Iterator[dict[str, object]]:
    """Rows of the handler: POST by each filter, GET by a tenth."""
    os.environ.update(environment(folder))
    sys.path.insert(0, str(SERVER.parent))
    from app import app

    def milliseconds_of(n: int, query: dict[str, list[str]] | None, body: dict[str, object] | None) -> float:
        event = {
            "resource": ROUTE,
            "requestContext": {"httpMethod": "GET" if body is None else "POST", "resourcePath": ROUTE},
            "headers": {"content-type": "application/json"},
            "pathParameters": {"ns": NAMESPACE, "user": f"u{2 * (n % (USERS // 2)) + 1}"},
            "multiValueQueryStringParameters": query,
            "stageVariables": None,
            "body": None if body is None else json.dumps(body),
            "isBase64Encoded": False,
        }
        began = time.perf_counter()
        answer = app(event, SimpleNamespace(aws_request_id="1"))
        spent = 1e3 * (time.perf_counter() - began)
        assert len(json.loads(answer["body"])["items"]) == K
        return spent

    asked: list[tuple[str, tuple[Any, Any], tuple[Any, Any]]] = [
        (f"POST {name}", (None, {}), (None, {"filter": one})) for name, one in FILTERS.items()
    ]
    asked.append(("GET a tenth", (None, None), ({"genre": ["g3"]}, None)))
    with redirect_stderr(io.StringIO()):
        for name, without, with_rule in asked:
            first = milliseconds_of(0, *with_rule)
            pairs = [(milliseconds_of(n, *without), milliseconds_of(n, *with_rule)) for n in range(count)]
            yield {"rule": name, **compared(pairs), "new rule ms": first}


def compared(pairs: list[tuple[float, float]]) -> dict[str, object]:
    """Plain and ruled requests, made in turn."""
    plain, ruled = (np.array(side) for side in zip(*pairs, strict=True))
    return {
        "count": len(pairs),
        "plain p50 ms": float(np.median(plain)),
        "ruled p50 ms": float(np.median(ruled)),
        "ratio": float(np.median(ruled) / np.median(plain)),
        "ratio p99": float(np.percentile(ruled, 99) / np.percentile(plain, 99)),
    }


def main() -> None:
    """Run 100,000 items, without --quick also a million."""
    chosen = options(__doc__.partition("\n")[0])
    gc.disable()
    rows = []
    for n_items in (100_000,) if chosen.quick else (100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            rows += rows_of(Path(folder), n_items, 300 if chosen.quick else 1000)
    report("Requests under rules", rows, chosen.json or Path("var/bench/rules.jsonl"))


if __name__ == "__main__":
    main()
