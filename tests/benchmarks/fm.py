"""Factorization machines: seconds, losses and memory of our solvers against other libraries, and how good they are.

Rows of ten one-hot fields with a planted machine of 16 factors and noise, one core, processor time of an epoch. In a
round every contestant trains once, each in a process of its own. What a library computes and what is left out of its
seconds: see `fm_peers`. "loss" is that of the training rows during or after the last epoch, where it is told (ours of
ALS with the penalty), "held out" that of rows nobody saw: RMSE, or logistic loss. WARP with features, RMSE on
ml-latest-small and lists with context: see `fm_ranking`, `fm_quality` and `fm_topn`.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import importlib
import statistics
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import fm_ours, fm_quality, fm_ranking, fm_topn
from tests.benchmarks.fm_data import Rows, planted
from tests.benchmarks.fm_peers import PEERS, Outcome, Settings, installed
from tests.benchmarks.harness import options, report
from tests.benchmarks.memory import alone, peak_of

# At these all but VW predict rows nobody saw better than a constant does, and ours ends at the lower training loss.
SETTINGS = {
    "sgd": Settings("sgd", learning_rate=0.02, regularization=0.1),
    "adagrad": Settings("adagrad", learning_rate=0.05, regularization=0.1),
    "als": Settings("als", regularization=10.0),
    "gibbs": Settings("gibbs", burn_in=1),  # of a few sweeps: something must be left to predict with
}
CONTESTS = [
    (loss, name) for loss in ("squared", "logistic") for name in SETTINGS if (loss, name) != ("logistic", "als")
]


def measured(name: str, folder: str, settings: Settings) -> tuple[Outcome, int]:
    """Train a contestant; also its peak memory, the rows as it holds them included."""
    if name != "ours" and (module := PEERS[name].module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how myfm finds its version
            importlib.import_module(module)
    train = fm_ours.train if name == "ours" else PEERS[name].train
    outcomes: list[Outcome] = []
    peak = peak_of(lambda: outcomes.append(train(Path(folder), settings)))
    return outcomes[0], outcomes[0].memory or peak


def contest(folder: str, rows: Rows, algorithm: str, rounds: int, epochs: int) -> list[dict[str, object]]:
    """Rounds in turn; one row per peer, medians."""
    settings = replace(SETTINGS[algorithm], epochs=epochs)
    peers = [name for name, peer in installed().items() if (rows.loss, algorithm) in peer.can]
    taken: dict[str, list[tuple[Outcome, int]]] = {name: [] for name in ["ours", *peers]}
    for number in range(rounds):
        for name, outcomes in taken.items():
            slow = name in PEERS and PEERS[name].slow
            if not (slow and number):
                outcomes.append(alone(measured, name, folder, replace(settings, epochs=2) if slow else settings))
    seconds = {name: statistics.median(outcome.seconds for outcome, _ in all_of) for name, all_of in taken.items()}
    own, own_bytes = taken["ours"][-1]
    return [
        {"data": f"planted, {rows.loss}", "rows": len(rows.y), "d": settings.factors, "threads": 1,
         "algorithm": algorithm, "peer": name, "seconds": seconds["ours"], "peer_seconds": seconds[name],
         "ratio": seconds[name] / seconds["ours"], "loss": own.losses, "peer_loss": peer.losses,
         "held out": rows.error(own.predicted), "peer held out": rows.error(peer.predicted),
         "MB": own_bytes / 1e6, "peer MB": peer_bytes / 1e6}
        for name in peers
        for peer, peer_bytes in [taken[name][-1]]
    ]  # fmt: skip


def speed(quick: bool) -> list[dict[str, object]]:
    """All contests on planted rows."""
    n, values, rounds, epochs = (100_000, 1_000, 3, 10) if quick else (1_000_000, 10_000, 5, 5)
    rows = []
    for loss in ("squared", "logistic"):
        with tempfile.TemporaryDirectory() as folder:
            made = planted(n, loss, values)
            made.save(Path(folder))
            for wanted, algorithm in CONTESTS:
                if wanted == loss:
                    rows += contest(folder, made, algorithm, rounds, epochs)
    return rows


def main() -> None:
    """Speed, ranking, quality: a table and a file each."""
    chosen = options(
        __doc__ or "",
        quality="only how good they are, on ml-latest-small",
        ranking="only an epoch of WARP with features",
        search="tune everybody for that again, and print what is best",
    )
    if chosen.search:
        fm_quality.search()
        return fm_topn.search()
    path = chosen.json or Path("var/bench/fm.jsonl")
    tables = {
        "": ("An epoch of a factorization machine", speed),
        "_ranking": ("An epoch of WARP with features", fm_ranking.rows),
        "_quality": ("RMSE, ml-latest-small", fm_quality.rows),
        "_topn": ("Lists at an hour, ml-latest-small", fm_topn.rows),
    }
    wanted = {"_ranking"} if chosen.ranking else {"_quality", "_topn"} if chosen.quality else tables.keys()
    for ending, (title, rows_of) in tables.items():
        if ending in wanted and (rows := rows_of(chosen.quick)):
            report(title, rows, path.with_stem(path.stem + ending))


if __name__ == "__main__":
    main()
