"""Exact top-K for many users and for one: our kernel against implicit's `recommend` and a numpy product.

All three are exact and rank the same float32 factors; the lists are compared before anything is timed.
"""

import os
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares

from recsys.index import ItemIndex
from tests.benchmarks.harness import interleaved, options, report, rows_of


def numpy_top_k(queries: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Product, argpartition, sort: what one would write by hand, in blocks of 256 users."""
    found = []
    for start in range(0, len(queries), 256):
        scores = queries[start : start + 256] @ items.T
        best = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(found)


def contest(n_items: int, n_users: int, d: int, k: int) -> list[dict[str, object]]:
    """One size: power-law item norms, as trained factors have them."""
    rng = np.random.default_rng(n_items + d)
    queries = rng.standard_normal((n_users, d), np.float32)
    items = rng.standard_normal((n_items, d), np.float32)
    items *= (np.arange(1, n_items + 1, dtype=np.float32) ** -0.3)[rng.permutation(n_items), None]
    peer = AlternatingLeastSquares(factors=d, num_threads=1)
    peer.user_factors, peer.item_factors = queries, items
    nobody = sp.csr_matrix((n_users, n_items), dtype=np.float32)
    users, index = np.arange(n_users), ItemIndex(items)
    contestants = {
        "ours": lambda: index.search(queries, k)[0],
        "implicit": lambda: peer.recommend(users, nobody, N=k, filter_already_liked_items=False)[0],
        "numpy": lambda: numpy_top_k(queries, items, k),
    }
    lists = {name: run() for name, run in contestants.items()}
    agree = min(float((lists["ours"] == found).mean()) for found in lists.values())
    facts = {"items": n_items, "users": n_users, "d": d, "k": k, "threads": 1, "agreement": agree}
    return rows_of(interleaved(contestants), "ours", facts)


def main() -> None:
    """Run all sizes."""
    chosen = options(__doc__ or "")
    sizes = [(10_000, 1000, 64, 20), (40_000, 1000, 64, 20), (40_000, 1000, 128, 20), (40_000, 1, 64, 20)]
    if not chosen.quick:
        sizes += [(40_000, 1000, 256, 100), (200_000, 500, 64, 100), (1_000_000, 1, 64, 100)]
    rows = [row for size in sizes for row in contest(*size)]
    report("Exact top-K, one thread", rows, chosen.json or Path("var/bench/topk.jsonl"))


if __name__ == "__main__":
    main()
