"""Lists of all users, d = 64, K = 20: `recsys score` against implicit's batch `recommend`, on the same factors.

Processor time of one thread. Both leave out what a user has; the lists are compared before anything is timed. "search"
makes the lists in memory, as implicit does; "job" opens and verifies the artefact, searches, encodes Parquet and syncs.
"""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares

from batch_jobs.console import Screen
from batch_jobs.score import BLOCK_ROWS, Order, Shard, score
from batch_jobs.score_lists import ListMaker
from batch_jobs.stores import Stores
from recsys.artifacts import Histories, LocalArtifactStore, LocalModelRegistry, describe, pack, unpack
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.serving import MemoryOnlineStore
from tests.benchmarks.harness import options, report

D, K, ROUNDS = 64, 20, 5


def published(folder: Path, users: int, items: int) -> tuple[Stores, sp.csr_matrix]:
    """Put random factors with power-law item norms into service, and about 30 items into each history."""
    rng = np.random.default_rng(items)
    vectors = rng.standard_normal((users, D), np.float32)
    ranked = rng.standard_normal((items, D), np.float32)
    ranked *= (np.arange(1, items + 1, dtype=np.float32) ** -0.3)[rng.permutation(items), None]
    liked = sp.csr_matrix(
        (np.ones(30 * users, np.float32), rng.integers(0, items, 30 * users), np.arange(users + 1) * 30)
    )
    liked.resize((users, items))
    liked.sum_duplicates()
    ids = [IdMap.from_ids(f"{prefix}{n}" for n in range(count)) for prefix, count in (("u", users), ("i", items))]
    histories = Histories(liked.indptr.astype(np.int64), liked.indices.astype(np.int32), liked.data)
    factors = Factors(vectors, ranked, np.zeros(items, np.float32))
    arrays = pack(factors, *ids, histories, np.bincount(liked.indices, minlength=items).astype(np.float32))
    manifest = describe("shop", "als", arrays, config={"weights": {}}, data={"events_through": 0}, metrics={})
    stores = Stores(LocalArtifactStore(folder / "a"), LocalModelRegistry(folder / "r"), MemoryOnlineStore(), None, None)
    stores.artifacts.put(manifest, arrays)
    stores.registry.promote(manifest, expected=0)
    return stores, liked


def contest(folder: Path, users: int, items: int) -> list[dict[str, object]]:
    """Time one size."""
    stores, liked = published(folder, users, items)
    model = stores.service().models.current("shop")
    artifact = unpack(stores.artifacts.open("shop", model.pointer.version))
    peer = AlternatingLeastSquares(factors=D, num_threads=1)
    peer.user_factors, peer.item_factors = artifact.factors.user_vectors, artifact.factors.item_vectors
    maker, block = ListMaker(model, artifact, K, {}), BLOCK_ROWS // K
    order = Order(K, {}, folder / "lists", to_store=False, shard=Shard(), threads=1)

    def search() -> np.ndarray:
        return np.concatenate([maker.make(slice(n, min(n + block, users))).rows for n in range(0, users, block)])

    def job() -> object:
        shutil.rmtree(order.output, ignore_errors=True)
        return score(stores, "shop", order, Screen(as_json=True))

    contestants = {
        "implicit": lambda: peer.recommend(np.arange(users), liked, N=K, filter_already_liked_items=True)[0],
        "search": search,
        "job": job,
    }
    agreement = float((contestants["implicit"]() == search()).mean())
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for counted in range(-1, ROUNDS):
        for name, run in contestants.items():
            start = time.process_time()
            run()
            if counted >= 0:
                seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    facts = {"users": users, "items": items, "d": D, "k": K, "threads": 1, "peer": "implicit", "agreement": agreement}
    return [
        {
            **facts,
            "what": name,
            "lists/s": users / medians[name],
            "peer lists/s": users / medians["implicit"],
            "spread": max(seconds[name]) / min(seconds[name]),
            "ratio": medians["implicit"] / medians[name],
        }
        for name in ("search", "job")
    ]


def main() -> None:
    """Run all sizes."""
    chosen = options(__doc__ or "")
    sizes = [(10_000, 10_000), (10_000, 40_000), *([] if chosen.quick else [(50_000, 40_000), (10_000, 200_000)])]
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows += contest(Path(folder), *size)
    report("Lists of all users, one thread", rows, chosen.json or Path("var/bench/score.jsonl"))


if __name__ == "__main__":
    main()
