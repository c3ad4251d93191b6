"""How ImplicitALS grows with its data at d = 64: time of an epoch and peak memory, each size in processes of its own.

"solver MB" is the peak of three epochs of the bare solver, the matrix it was given included; "fit MB" that of
`ImplicitALS.fit`, above the columns of its Dataset. "bound MB" is 16 bytes per interaction and 4 d (U + I) for the
tables. An epoch is a median of three. In proportion to the data, "s/M" and the bytes per interaction stay level.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from recsys.data import Dataset
from recsys.data.interactions import Interactions
from recsys.ids import IdMap
from recsys.models import ImplicitALS
from tests.benchmarks.als_peers import OBJECTIVES, Ours
from tests.benchmarks.harness import options, report
from tests.benchmarks.memory import alone, peak_of
from tests.benchmarks.power_law import power_law

D, THREADS = 64, 2


def solver(path: str) -> tuple[float, int]:
    """Seconds of an epoch of the bare solver, and its peak memory with the matrix."""
    matrix, seconds = sp.load_npz(path), []
    start = np.random.default_rng(0).random((matrix.shape[1], D), np.float32) * 0.01

    def train() -> None:
        ours = Ours(matrix, OBJECTIVES["irspack"], start, THREADS)
        for _ in range(3):
            began = time.perf_counter()
            ours.iterate()
            seconds.append(time.perf_counter() - began)

    held = sum(array.nbytes for array in (matrix.data, matrix.indices, matrix.indptr))
    peak = held + peak_of(train)
    return statistics.median(seconds), peak


def fit(path: str) -> int:
    """Peak memory of `ImplicitALS.fit` above its Dataset."""
    matrix = sp.load_npz(path)
    users, items = (IdMap.from_ids(map(str, range(count))) for count in matrix.shape)
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
    dataset = Dataset.from_interactions(Interactions(users, items, rows, matrix.indices, matrix.data))
    return peak_of(lambda: ImplicitALS(factors=D, iterations=1, threads=THREADS).fit(dataset))


def growth(draws: int, path: str) -> dict[str, object]:
    """One row of the table."""
    matrix = power_law(draws)
    sp.save_npz(path, matrix, compressed=False)
    (n_users, n_items), nnz = matrix.shape, matrix.nnz
    del matrix
    (seconds, of_solver), of_fit = alone(solver, path), alone(fit, path)
    return {
        "nnz": nnz,
        "users": n_users,
        "items": n_items,
        "threads": THREADS,
        "seconds": seconds,
        "s/M": seconds / nnz * 1e6,
        "solver MB": of_solver / 1e6,
        "solver B/nnz": of_solver / nnz,
        "fit MB": of_fit / 1e6,
        "fit B/nnz": of_fit / nnz,
        "bound MB": (16 * nnz + 4 * D * (n_users + n_items)) / 1e6,
    }


def main() -> None:
    """Run all sizes."""
    chosen = options(__doc__ or "")
    sizes = [1.4e6, 5e6] if chosen.quick else [1.4e6, 5e6, 19e6, 74e6]
    with tempfile.TemporaryDirectory() as folder:
        rows = [growth(int(draws), str(Path(folder) / "matrix.npz")) for draws in sizes]
    report(f"ImplicitALS, d = {D}", rows, chosen.json or Path("var/bench/growth.jsonl"))


if __name__ == "__main__":
    main()
