"""Implicit ALS per iteration: our solver against implicit's conjugate gradients, on implicit's own objective.

Both start from the same item factors and run in turn, an iteration each. The loss is implicit's, computed by implicit
on both models. "to its loss" compares the time to reach the loss implicit has after all iterations.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import statistics
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from implicit.cpu import _als

from recsys.data import read_interactions
from recsys.data.synthetic import generate
from recsys.models.als_steps import Objective, Side, Solver, padded
from tests.benchmarks.harness import options, report

ALPHA, REGULARIZATION, STEPS = 40.0, 10.0, 3
GOWALLA = Path(__file__).parents[3] / "shared" / "datasets" / "gowalla" / "train.txt"


class Peer:
    """implicit 0.7.3, its compiled half-steps called as its `fit` calls them."""

    def __init__(self, matrix: sp.csr_matrix, y: np.ndarray, threads: int) -> None:
        self.users = (ALPHA * matrix).tocsr()
        self.items = self.users.T.tocsr()
        self.x, self.y = np.zeros((matrix.shape[0], y.shape[1]), np.float32), y.copy()
        self.threads = threads

    def iterate(self) -> None:
        _als.least_squares_cg(self.users, self.x, self.y, REGULARIZATION, num_threads=self.threads, cg_steps=STEPS)
        _als.least_squares_cg(self.items, self.y, self.x, REGULARIZATION, num_threads=self.threads, cg_steps=STEPS)

    def loss(self, x: np.ndarray, y: np.ndarray) -> float:
        return _als.calculate_loss(self.users, x, y, REGULARIZATION, num_threads=self.threads)


class Ours:
    """The solver behind `ImplicitALS`, with implicit's objective mapped onto it."""

    def __init__(self, matrix: sp.csr_matrix, y: np.ndarray, threads: int) -> None:
        objective = Objective(ALPHA, REGULARIZATION, unobserved_weight=1.0, frequency_exponent=0.0, shift=1.0)
        self.users, self.items = Side.of(matrix, objective), Side.of(matrix.T.tocsr(), objective)
        self.solver = Solver(objective, y.shape[1], steps=STEPS, threads=threads)
        self.x = np.zeros((matrix.shape[0], padded(y.shape[1])), np.float32)
        self.y = np.zeros((len(y), padded(y.shape[1])), np.float32)
        self.y[:, : y.shape[1]] = y
        self.relaxation = 1.0

    def iterate(self) -> None:
        self.solver.half_step(self.users, self.x, self.y, self.relaxation)
        self.solver.half_step(self.items, self.y, self.x, self.relaxation)
        self.relaxation = 1.3


def contest(name: str, matrix: sp.csr_matrix, d: int, threads: int, iterations: int) -> dict[str, object]:
    """Interleaved iterations of both; medians, without the first."""
    start = np.random.default_rng(0).random((matrix.shape[1], d), np.float32) * 0.01
    ours, peer = Ours(matrix, start, threads), Peer(matrix, start, threads)
    seconds: dict[object, list[float]] = {ours: [], peer: []}
    losses: dict[object, list[float]] = {ours: [], peer: []}
    for _ in range(iterations):
        for one in (ours, peer):
            began = time.perf_counter()
            one.iterate()
            seconds[one].append(time.perf_counter() - began)
            losses[one].append(peer.loss(one.x, one.y))
    reached = next((n for n, loss in enumerate(losses[ours], 1) if loss <= losses[peer][-1]), None)
    own, theirs = statistics.median(seconds[ours][1:]), statistics.median(seconds[peer][1:])
    return {
        "data": name,
        "nnz": matrix.nnz,
        "d": d,
        "threads": threads,
        "peer": "implicit",
        "seconds": own,
        "peer_seconds": theirs,
        "ratio": statistics.median(b / a for a, b in zip(seconds[ours][1:], seconds[peer][1:], strict=True)),
        "loss": losses[ours][-1],
        "peer_loss": losses[peer][-1],
        "to its loss": sum(seconds[peer]) / sum(seconds[ours][:reached]) if reached else 0.0,
    }


def main() -> None:
    """Run all sizes: synthetic power-law data, and gowalla where it is."""
    chosen = options(__doc__ or "")
    users = 10_000 if chosen.quick else 50_000
    made = generate(users=users, items=users * 2 // 5, mean_history=100, categories=16, seed=1)
    data = {"power law": made.interactions.to_csr()}
    if GOWALLA.is_file():
        data["gowalla"] = read_interactions(GOWALLA, format="lists").to_csr()
    iterations = 8 if chosen.quick else 15
    rows = [
        contest(name, matrix, d, threads, iterations)
        for name, matrix in data.items()
        for d in ((64, 128) if chosen.quick else (64, 128, 256))
        for threads in (1, 2)
    ]
    report("Implicit ALS, one iteration", rows, chosen.json or Path("var/bench/als.jsonl"))


if __name__ == "__main__":
    main()
