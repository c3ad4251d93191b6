"""Implicit ALS, epoch by epoch: our solver against implicit and irspack, each on the objective it has.

Both start from the same item factors and run in turn, an epoch each. "loss" is of the last epoch, computed by one
function for both (`loss_of`); the JSON rows hold it after every epoch. "to loss" is the time to reach the loss the peer
has after all epochs, and the peer's time to it divided by ours.

Useful work of an epoch, in floating point operations, for nnz interactions, U users, I items and k steps::

    2 half-steps * (k + 1) passes * 4 d nnz          a dot product and an addition of a scaled row per entry
    + 2 d^2 (U + I) + 4 d^2 (U + I)                  both Gram matrices, both tables rotated twice

"below" says whether our loss was lower after every epoch.

"cpu ratio" compares the processor time of all threads, which says more than "ratio" where the machine is shared.
"sgemm" is that rate as a share of a float32 matrix product's on as many threads in the same run. Memory is the peak of
an epoch in a process of its own, above the interactions it was given; "B/nnz" is ours per interaction.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from recsys.data import read_interactions
from recsys.data.synthetic import generate
from tests.benchmarks.als_peers import CONTESTANTS, OBJECTIVES, STEPS, check_objectives, installed, loss_of
from tests.benchmarks.harness import options, report
from tests.benchmarks.memory import alone, peak_of

GOWALLA = Path(__file__).parents[3] / "shared" / "datasets" / "gowalla" / "train.txt"
Lists = dict[str, list[float]]


def started(name: str, peer: str, matrix: sp.csr_matrix, d: int, threads: int) -> object:
    """Return a contestant on the peer's objective, at the factors all start from."""
    start = np.random.default_rng(0).random((matrix.shape[1], d), np.float32) * 0.01
    return CONTESTANTS[name](matrix, OBJECTIVES[peer], start, threads)


def race(peer: str, matrix: sp.csr_matrix, d: int, threads: int, epochs: int) -> tuple[Lists, Lists, Lists]:
    """Interleaved epochs of ours and the peer: seconds, seconds of processor time, and losses of each."""
    contestants = {name: started(name, peer, matrix, d, threads) for name in ("ours", peer)}
    seconds, cpu, losses = ({name: [] for name in contestants} for _ in range(3))
    for _ in range(epochs):
        for name, one in contestants.items():
            began, worked = time.perf_counter(), time.process_time()
            one.iterate()
            seconds[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - worked)
            losses[name].append(loss_of(matrix, OBJECTIVES[peer], *one.tables()))
    return seconds, cpu, losses


def ratio(times: Lists) -> float:
    """The peer's time over ours: the median over epochs, without the first."""
    ours, theirs = times.values()
    return statistics.median(b / a for a, b in zip(ours[1:], theirs[1:], strict=True))


def peak(name: str, peer: str, data: str, d: int, threads: int) -> int:
    """Bytes of one epoch, its preparation included; runs in a process of its own."""
    matrix = sp.load_npz(data)
    started(name, peer, matrix[:1], d, threads).iterate()  # loads what the contestant imports
    return peak_of(lambda: started(name, peer, matrix, d, threads).iterate())


def sgemm_rate(threads: int, n: int = 1024) -> float:
    """Operations per second of float32 products, one on each thread: the median of seven."""
    a = np.random.default_rng(0).random((n, n), np.float32)
    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(7):
            began = time.perf_counter()
            list(pool.map(a.__matmul__, [a] * threads))
            seconds.append(time.perf_counter() - began)
    return threads * 2 * n**3 / statistics.median(seconds)


def useful_operations(matrix: sp.csr_matrix, d: int) -> float:
    """Of an epoch, as the docstring of this module counts them."""
    return 8.0 * d * matrix.nnz * (STEPS + 1) + 6.0 * d**2 * sum(matrix.shape)


def contest(data: str, matrix: sp.csr_matrix, path: str, peer: str, d: int, threads: int, epochs: int) -> dict:
    """One row: medians without the first epoch."""
    seconds, cpu, losses = race(peer, matrix, d, threads, epochs)
    reached = next((n for n, loss in enumerate(losses["ours"], 1) if loss <= losses[peer][-1]), None)
    own, theirs = (statistics.median(seconds[name][1:]) for name in ("ours", peer))
    rate, to_loss = useful_operations(matrix, d) / own, sum(seconds["ours"][:reached]) if reached else None
    memory = {name: alone(peak, name, peer, path, d, threads) for name in ("ours", peer)}
    row = {
        "data": data,
        "d": d,
        "threads": threads,
        "peer": f"{peer} {version(peer)}",
        "seconds": own,
        "peer_seconds": theirs,
        "ratio": ratio(seconds),
        "cpu ratio": ratio(cpu),
        "loss": losses["ours"],
        "peer_loss": losses[peer],
        "below": all(a <= b for a, b in zip(losses["ours"], losses[peer], strict=True)),
        "to loss": to_loss,
        "to loss ratio": sum(seconds[peer]) / to_loss if to_loss else None,
        "GFLOP/s": rate / 1e9,
        "sgemm": rate / sgemm_rate(threads),
        "MB": memory["ours"] / 1e6,
        "peer_MB": memory[peer] / 1e6,
        "B/nnz": memory["ours"] / matrix.nnz,
    }
    print({name: value for name, value in row.items() if name not in ("loss", "peer_loss")}, flush=True)
    return row


def data_sets(quick: bool) -> dict[str, sp.csr_matrix]:
    """Invented interactions with tastes and power-law popularity, and gowalla where it is."""
    users = 10_000 if quick else 50_000
    made = generate(users=users, items=users * 2 // 5, mean_history=100, categories=16, seed=1).interactions.to_csr()
    data = {f"power law {made.nnz / 1e6:.1f}M": made}
    if GOWALLA.is_file():
        data["gowalla"] = read_interactions(GOWALLA, format="lists").to_csr()
    return data


def main() -> None:
    """Run all sizes."""
    chosen = options(__doc__ or "")
    peers, rows = installed(), []
    check_objectives(peers)
    with tempfile.TemporaryDirectory() as folder:
        for name, matrix in data_sets(chosen.quick).items():
            path = str(Path(folder) / "matrix.npz")
            sp.save_npz(path, matrix, compressed=False)
            rows += [
                contest(name, matrix, path, peer, d, threads, 6 if chosen.quick else 15)
                for peer in peers
                for d in ((64, 128) if chosen.quick else (64, 128, 256))
                for threads in (1, 2)
            ]
    report("Implicit ALS, one epoch", rows, chosen.json or Path("var/bench/als.jsonl"))


if __name__ == "__main__":
    main()
