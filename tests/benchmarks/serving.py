"""The whole Chalice handler over loopback: real server processes on embedded stores, d = 64, lists of 20.

One client a process asks in turn for an empty route (/health/live), the list of somebody published, that of somebody
with newer events (folded in), and sends an event: their p50 and p99. Then four clients a process ask for lists alone:
lists a second. "search" is the scan alone, in this process. `--memory` measures resident memory, a hot swap and reloads
instead.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import gc
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from recsys.index import Exclusions
from recsys.serving import ModelLoader
from tests.benchmarks.harness import options, report
from tests.benchmarks.load import load
from tests.benchmarks.published import NAMESPACE, USERS, publish_catalogue, stores_in
from tests.benchmarks.resident import of_reloads, of_server
from tests.benchmarks.servers import K, in_turn, lists, server

CLIENTS, COUNT, LIMIT_S = 4, 6000, 20.0


def search_ms(folder: Path) -> tuple[float, float]:
    """p50 and p99 of the scan alone, for people published."""
    stores = stores_in(folder)
    model, waits = ModelLoader(stores.artifacts, stores.registry).current(NAMESPACE), []
    for user in range(1, min(USERS, 600), 2):
        state = stores.online.user_state(NAMESPACE, model.manifest.version, f"u{user}")
        assert state is not None
        began = time.perf_counter()
        model.index.search(state.vector[None], K, exclude=Exclusions.of_one(state.items))
        waits.append(1e3 * (time.perf_counter() - began))
    stores.online.close()
    return float(np.percentile(waits, 50)), float(np.percentile(waits, 99))


def rows_of(folder: Path, n_items: int, processes: int) -> list[dict[str, object]]:
    """One row per kind of request."""
    search = search_ms(folder)
    with ExitStack() as running:
        addresses = [running.enter_context(server(folder))[1] for _ in range(processes)]
        load([(one, in_turn(99 - n)) for n, one in enumerate(addresses)], count=400, limit_s=LIMIT_S)
        one_each, _ = load([(one, in_turn(n)) for n, one in enumerate(addresses)], count=COUNT, limit_s=LIMIT_S)
        many = [(one, lists(n)) for n, one in enumerate(addresses * CLIENTS)]
        crowd, seconds = load(many, count=COUNT, limit_s=LIMIT_S / 2)
    empty = np.percentile(one_each["empty"], 99)
    return [
        {
            "items": n_items,
            "processes": processes,
            "request": kind,
            "count": len(waits),
            "p50 ms": 1e3 * np.percentile(waits, 50),
            "p99 ms": 1e3 * np.percentile(waits, 99),
            "p99/p50": np.percentile(waits, 99) / np.percentile(waits, 50),
            "p99 above empty ms": 1e3 * (np.percentile(waits, 99) - empty),
            "search p50 ms": search[0],
            "search p99 ms": search[1],
            "lists/s, 4 clients": sum(map(len, crowd.values())) / seconds,
        }
        for kind, waits in one_each.items()
    ]


def memory(n_items: int, reloads: int) -> list[dict[str, object]]:
    """One row: a server, a swap, reloads."""
    with tempfile.TemporaryDirectory() as folder:
        return [{**of_server(Path(folder), n_items), **of_reloads(reloads)}]


def latency(n_items: int) -> list[dict[str, object]]:
    """Rows of one size."""
    with tempfile.TemporaryDirectory() as folder:
        publish_catalogue(Path(folder), n_items)
        return [row for processes in (1, 2) for row in rows_of(Path(folder), n_items, processes)]


def main() -> None:
    """Run all sizes, or the memory benchmark."""
    chosen = options(__doc__.partition("\n")[0], memory="resident memory, a hot swap and reloads")
    gc.disable()  # pauses of the generator are none of the server's
    if chosen.memory:
        rows = memory(100_000, 100) if chosen.quick else memory(1_000_000, 500)
    else:
        rows = [row for n in (10_000, 100_000, *([] if chosen.quick else [1_000_000])) for row in latency(n)]
    report("The Chalice handler over loopback", rows, chosen.json or Path("var/bench/serving.jsonl"))


if __name__ == "__main__":
    main()
