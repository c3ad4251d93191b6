"""Exact top-K of one query and of many, against faiss, hnswlib, usearch and implicit's `recommend`, on one thread.

Factors are those of ALS on gowalla, repeated with noise to more items than it has, or normal vectors whose lengths are
spread by the given factor; queries are users, one after the other. Ours and IndexFlatIP find all of the best K; the
others are at the first of a few settings that finds 95 % of them, or at their best. "recall" is the share of the lists
that scores no less than the last of a full sort. Rates: bytes of codes, scales and vectors an unpruned
query reads, and of an array that numpy reduces.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import scipy.sparse as sp

from recsys.codes import Codes
from recsys.data import Dataset, read_interactions
from recsys.index import ItemIndex
from recsys.models import ImplicitALS
from tests.benchmarks.harness import interleaved, options, report, rows_of

GOWALLA = Path(__file__).parents[3] / "shared" / "datasets" / "gowalla" / "train.txt"
QUERIES, JUDGED, RECALL = 200, 50, 0.95
Search = Callable[[np.ndarray, int], np.ndarray]  # queries (n, d), k to rows (n, k)
Row = dict[str, object]


@dataclass(frozen=True, eq=False)
class Data:
    """Items and queries."""

    name: str
    items: np.ndarray
    queries: np.ndarray

    @classmethod
    def of(cls, name: str, items: np.ndarray, queries: np.ndarray) -> "Data":
        return cls(name, np.ascontiguousarray(items, np.float32), np.ascontiguousarray(queries, np.float32))

    @property
    def index(self) -> ItemIndex:
        bias = np.zeros(len(self.items), np.float32)
        return ItemIndex(self.items, bias, Codes.of(self.items, bias))

    def recall(self, rows: np.ndarray, k: int) -> float:
        """Share of the lists of the first queries whose items score no less than the k-th best, to 1e-5 of it."""
        found = []
        for query, of_query, worst in zip(self.queries, rows, self._best[:, k - 1], strict=False):
            scores = self.items[of_query[of_query >= 0]].astype(np.float64) @ query
            found.append((scores >= worst - 1e-5 * abs(worst)).sum() / k)
        return float(np.mean(found))

    @cached_property
    def _best(self) -> np.ndarray:
        """The hundred best scores of each of the first queries, the best first."""
        best = [np.partition(self.items @ query, -100)[-100:] for query in self.queries[:JUDGED]]
        return -np.sort(-np.stack(best), axis=1)


def gowalla(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Item and user vectors."""
    model = ImplicitALS(
        factors=d, regularization=0.003, unobserved_weight=0.02, frequency_exponent=1.0, iterations=8, threads=2
    )
    factors = model.fit(Dataset.from_interactions(read_interactions(GOWALLA, format="lists"))).export()
    return factors.item_vectors, factors.user_vectors


def repeated(items: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` of the items, or each several times, with noise of a tenth of its length."""
    if n <= len(items):
        return items[rng.permutation(len(items))[:n]]
    rows = items[np.arange(n) % len(items)]
    noise = rng.standard_normal(rows.shape, np.float32) * (0.1 / rows.shape[1] ** 0.5)
    return rows + noise * np.linalg.norm(rows, axis=1, keepdims=True)


def spread(n: int, d: int, factor: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Directions at random, lengths log-normal."""
    items = rng.standard_normal((n, d), np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    return items * factor ** rng.standard_normal((n, 1), np.float32), rng.standard_normal((QUERIES, d), np.float32)


def of_faiss(data: Data, graph: bool) -> Iterator[tuple[str, list[Search]]]:
    """Exact, inverted lists, and a graph."""
    import faiss

    faiss.omp_set_num_threads(1)
    n, d = data.items.shape
    flat = faiss.IndexFlatIP(d)
    flat.add(data.items)
    yield "faiss Flat", [lambda queries, k: flat.search(queries, k)[1]]
    lists = int(4 * n**0.5)
    inverted = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, lists, faiss.METRIC_INNER_PRODUCT)
    inverted.cp.niter = 10
    inverted.train(data.items[np.random.default_rng(0).permutation(n)[: 40 * lists]])
    inverted.add(data.items)

    def probe(count: int) -> Search:
        parameters = faiss.SearchParametersIVF(nprobe=count)
        return lambda queries, k: inverted.search(queries, k, params=parameters)[1]

    yield "faiss IVF", [probe(count) for count in (4, 8, 16, 32, 64, 128, 256, 512) if count <= lists]
    if graph:
        net = faiss.IndexHNSWFlat(d, 16, faiss.METRIC_INNER_PRODUCT)
        net.hnsw.efConstruction = 100
        faiss.omp_set_num_threads(2)
        net.add(data.items)
        faiss.omp_set_num_threads(1)

        def walk(ef: int) -> Search:
            parameters = faiss.SearchParametersHNSW(efSearch=ef)
            return lambda queries, k: net.search(queries, k, params=parameters)[1]

        yield "faiss HNSW", [walk(ef) for ef in (100, 200, 300, 500, 1000, 2000, 4000)]


def of_hnswlib(data: Data) -> Iterator[tuple[str, list[Search]]]:
    """A graph of inner products."""
    import hnswlib

    net = hnswlib.Index("ip", data.items.shape[1])
    net.init_index(len(data.items), M=16, ef_construction=100)
    net.add_items(data.items, num_threads=2)
    net.set_num_threads(1)

    def walk(ef: int) -> Search:
        def search(queries: np.ndarray, k: int) -> np.ndarray:
            net.set_ef(ef)
            return net.knn_query(queries, k)[0].astype(np.int64)

        return search

    yield "hnswlib", [walk(ef) for ef in (100, 200, 300, 500, 1000, 2000, 4000)]


def of_usearch(data: Data) -> Iterator[tuple[str, list[Search]]]:
    """A graph of inner products."""
    from usearch.index import Index

    net = Index(ndim=data.items.shape[1], metric="ip", connectivity=16, expansion_add=100)
    net.add(np.arange(len(data.items)), data.items, threads=2)

    def walk(ef: int) -> Search:
        def search(queries: np.ndarray, k: int) -> np.ndarray:
            net.expansion_search = ef
            return net.search(queries, k, threads=1).keys.astype(np.int64).reshape(len(queries), -1)

        return search

    yield "usearch", [walk(ef) for ef in (100, 200, 300, 500, 1000, 2000, 4000)]


def of_implicit(data: Data) -> Search:
    """What a user of implicit calls."""
    from implicit.cpu.als import AlternatingLeastSquares

    peer = AlternatingLeastSquares(factors=data.items.shape[1], num_threads=1)
    peer.user_factors, peer.item_factors = data.queries, data.items
    nobody = sp.csr_matrix((len(data.queries), len(data.items)), dtype=np.float32)

    def search(queries: np.ndarray, k: int) -> np.ndarray:
        users = np.arange(len(queries))  # the first of the queries, as in all calls here
        return peer.recommend(users, nobody[: len(queries)], N=k, filter_already_liked_items=False)[0]

    return search


def peers(data: Data, graph: bool) -> Iterator[tuple[str, list[Search]]]:
    """All that are here; graphs take long to build."""
    if find_spec("faiss"):
        yield from of_faiss(data, graph)
    if graph and find_spec("hnswlib"):
        yield from of_hnswlib(data)
    if graph and find_spec("usearch"):
        yield from of_usearch(data)


def tuned(data: Data, settings: list[Search], k: int) -> tuple[Search, float]:
    """Return the first setting with enough recall, or the best."""
    for search in settings:
        recall = data.recall(search(data.queries[:JUDGED], k), k)
        if recall >= RECALL:
            break
    return search, recall


def single(data: Data, k: int, graph: bool) -> list[Row]:
    """One query after the other."""
    index, queries = data.index, data.queries[:QUERIES]
    found: dict[str, tuple[Search, float]] = {"ours": (lambda some, k: index.search(some, k)[0], 1.0)}
    for name, settings in peers(data, graph):
        found[name] = tuned(data, settings, k)
    contestants = {
        name: lambda search=search: [search(queries[q : q + 1], k) for q in range(len(queries))]
        for name, (search, _) in found.items()
    }
    exact = np.concatenate([index.search(queries[q : q + 1], k)[0] for q in range(JUDGED)])
    facts: Row = {
        "data": data.name, "items": len(data.items), "d": data.items.shape[1], "k": k, "threads": 1,
        "recall": data.recall(exact, k),
    }  # fmt: skip
    rows = rows_of(interleaved(contestants, 5), "ours", facts)
    for row in rows:
        row["peer_recall"] = found[str(row["peer"])][1]
        for name in ("seconds", "peer_seconds"):
            row[name] = float(str(row[name])) / len(queries)
        print(row, flush=True)
    return rows


def filtered(data: Data, k: int) -> list[Row]:
    """Single queries of which a share of the items may be found."""
    import faiss

    faiss.omp_set_num_threads(1)
    index, queries, rows = data.index, data.queries[:QUERIES], []
    flat = faiss.IndexFlatIP(data.items.shape[1])
    flat.add(data.items)
    for share in (0.01, 0.1, 0.5, 1.0):
        allowed = np.random.default_rng(0).random(len(data.items)) < share
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))
        contestants = {
            "ours": lambda allowed=allowed: [index.search(one[None], k, allowed=allowed) for one in queries],
            "faiss Flat": lambda parameters=parameters: [
                flat.search(one[None], k, params=parameters) for one in queries
            ],
        }
        facts: Row = {"data": data.name, "items": len(data.items), "d": data.items.shape[1], "k": k, "passing": share}
        rows += rows_of(interleaved(contestants, 3), "ours", facts)
    return rows


def batch(data: Data, k: int, n_queries: int) -> list[Row]:
    """Many queries at once."""
    import faiss

    faiss.omp_set_num_threads(1)
    data = Data(data.name, data.items, np.ascontiguousarray(data.queries[:n_queries]))
    index, implicit = data.index, of_implicit(data)
    flat = faiss.IndexFlatIP(data.items.shape[1])
    flat.add(data.items)
    contestants = {
        "ours": lambda: index.search(data.queries, k)[0],
        "implicit": lambda: implicit(data.queries, k),
        "faiss Flat": lambda: flat.search(data.queries, k)[1],
    }
    agree = data.recall(contestants["ours"](), k)
    facts: Row = {
        "data": data.name, "items": len(data.items), "d": data.items.shape[1], "k": k, "queries": len(data.queries),
        "threads": 1, "recall": agree,
    }  # fmt: skip
    return rows_of(interleaved(contestants, 5), "ours", facts)


def rate(n: int, d: int, k: int) -> list[Row]:
    """Bytes a second where no bound is below the worst score kept, against what numpy reads."""
    rng = np.random.default_rng(0)
    data = Data.of("one length", *spread(n, d, 1.0, rng))
    index = data.index
    codes = index.codes
    assert codes is not None
    parts = (codes.heads, codes.tails, codes.scales, codes.tail_lengths, codes.biases)
    read = sum(part.nbytes for part in parts)
    array = np.ones(read // 8, np.uint64)
    queries = data.queries[:20]
    taken = interleaved({
        "ours": lambda: [index.search(one[None], k) for one in queries],
        "numpy reads": lambda: [np.bitwise_or.reduce(array) for _ in queries],
    }, 5)  # fmt: skip
    facts: Row = {
        "data": data.name,
        "items": n,
        "d": d,
        "k": k,
        "GB/s": read * len(queries) / 1e9 / statistics.median(taken["ours"]),
    }
    return rows_of(taken, "ours", facts)


def main() -> None:
    """Run all sizes."""
    chosen = options(__doc__ or "", graphs="build the graphs for a million items, too; some minutes each")
    began, path, rng = time.perf_counter(), chosen.json or Path("var/bench/topk.jsonl"), np.random.default_rng(0)
    items, users = gowalla(64)
    users = users[rng.permutation(len(users))]
    sizes = (10_000, 100_000) if chosen.quick else (10_000, 100_000, 1_000_000, 4_000_000)
    real = {n: Data.of("gowalla", repeated(items, n, rng), users) for n in sizes}
    rows = [
        row
        for n, data in real.items()
        for row in single(data, 100, n < 1_000_000 or (chosen.graphs and n == 1_000_000))
    ]
    for factor in (1.0, 1.5, 3.0):
        rows += single(Data.of(f"spread {factor}", *spread(100_000, 64, factor, rng)), 100, False)
    report("One query at a time", rows, path)
    report(
        "One query, some items",
        [row for n in sizes[1:3] for row in filtered(real[n], 100)],
        path.with_stem("topk_filtered"),
    )
    rows = [row for n in sizes[:3] for row in batch(real[n], 20, 2_000 if n < 1_000_000 else 200)]
    wide, of_wide = gowalla(128)
    rows += batch(Data.of("gowalla", wide, of_wide[rng.permutation(len(of_wide))]), 20, 2_000)
    report("Many queries", rows, path.with_stem("topk_batch"))
    report("Nothing to prune", rate(100_000 if chosen.quick else 1_000_000, 64, 100), path.with_stem("topk_rate"))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
