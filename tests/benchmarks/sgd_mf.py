"""Explicit ratings: `BiasedMF` against other libraries, by error on held-out ratings and by seconds per epoch.

Quality is the RMSE on ml-latest-small, mean over five random folds, predictions clipped to the range of the ratings.
Everybody is tuned on a tenth of the training part of fold 0; `--search` does it again. Speed is an epoch of ours
against one of libmf, in turn, on power-law data with planted factors; what libmf does before its first epoch is taken
off by running it with more and with fewer epochs. Both losses are training RMSE after six epochs.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import statistics
import time
from pathlib import Path

import numpy as np

from recsys.data import Interactions, read_interactions
from recsys.data.synthetic import generate
from recsys.evaluation.rating_metrics import rmse
from recsys.models.ratings import Scale
from recsys.models.sgd_mf_steps import Blocks, Epochs, Side
from tests.benchmarks.harness import options, report
from tests.benchmarks.rating_peers import CONTESTANTS, Contestant, Settings, libmf_model

RATINGS = Path(__file__).parents[3] / "shared" / "datasets" / "ml-latest-small" / "ratings.csv"
FOLDS, REGULARIZATION, PEER_EPOCHS = 5, 0.06, 5
# Large factors at the start, as libmf has them, and high rates: so that six epochs end at its loss or below.
RATES = {"sgd": 0.06, "momentum": 0.06, "adagrad": 0.12}


def error(one: Contestant, train: Interactions, test: Interactions, settings: Settings) -> float:
    """RMSE on the test part, clipped to the training part's range."""
    predicted = one.predict(train, test, settings)
    return rmse(np.clip(predicted, train.weight.min(), train.weight.max()), test.weight)


def search(ratings: Interactions, fold: np.ndarray) -> None:
    """Try every setting on a validation part of fold 0's training part and print the best of each contestant."""
    train = ratings.select(np.flatnonzero(fold != 0))
    held_out = np.random.default_rng(1).random(len(train)) < 0.1
    fit, validation = train.select(~held_out), train.select(held_out)
    for name, one in CONTESTANTS.items():
        if one.importable and one.grid:
            errors = [(error(one, fit, validation, settings), settings) for settings in one.every()]
            print(name, *min(errors, key=lambda pair: pair[0]), flush=True)


def quality(ratings: Interactions, fold: np.ndarray, folds: int) -> list[dict[str, object]]:
    """One row per contestant that is installed."""
    rows: list[dict[str, object]] = []
    for name, one in CONTESTANTS.items():
        if not one.importable:
            print(f"{name}: {one.module} is not installed, left out")
            continue
        began = time.perf_counter()
        errors = [
            error(
                one, ratings.select(np.flatnonzero(fold != k)), ratings.select(np.flatnonzero(fold == k)), one.settings
            )
            for k in range(folds)
        ]
        seconds = (time.perf_counter() - began) / folds
        rows.append({"model": name, "rmse": statistics.mean(errors), "worst fold": max(errors), "seconds": seconds})
    return rows


def planted(users: int) -> Interactions:
    """Half-star ratings by planted biases and 16 factors, with noise, of power-law pairs."""
    pairs = generate(users=users, items=users * 2 // 5, mean_history=100, categories=16, seed=1).interactions
    rng = np.random.default_rng(0)
    biases, vectors = zip(*((rng.normal(0, 0.4, n), rng.normal(0, 0.45, (n, 16))) for n in pairs.shape), strict=True)
    signal = np.einsum("ij,ij->i", vectors[0][pairs.user], vectors[1][pairs.item])
    raw = 3.5 + biases[0][pairs.user] + biases[1][pairs.item] + signal + rng.normal(0, 0.7, len(pairs))
    ratings = np.clip(np.round(raw * 2) / 2, 0.5, 5.0).astype(np.float32)
    return Interactions(pairs.users, pairs.items, pairs.user, pairs.item, ratings)


class Ours:
    """The epochs behind `BiasedMF`."""

    def __init__(self, ratings: Interactions, d: int, threads: int, optimizer: str) -> None:
        self.rng, self.rate = np.random.default_rng(0), RATES[optimizer]
        self.scale = Scale.of(ratings.weight)
        self.n = len(ratings)
        users, items = (
            Side.of(
                self.rng.standard_normal((n, d), np.float32) * np.float32(1 / d**0.5),
                np.zeros(n, np.float32),
                optimizer,
            )
            for n in ratings.shape
        )
        blocks = Blocks.of(ratings, self.scale.down(ratings.weight))
        self.epochs = Epochs(blocks, users, items, REGULARIZATION, 4.0, 0.9, False, threads)

    def epoch(self) -> float:
        """Seconds."""
        strata = self.epochs.blocks.strata(self.rng)
        began = time.perf_counter()
        self.epochs.run(self.rate, strata)
        return time.perf_counter() - began

    def loss(self, sample: Interactions) -> float:
        """RMSE on training ratings as the model stands."""
        users, items = self.epochs.users, self.epochs.items
        published = self.scale.up(users.factors, items.factors, users.bias, items.bias)
        return rmse(published.rate(sample.user, sample.item), sample.weight)


def libmf_epoch(ratings: Interactions, sample: Interactions, d: int, threads: int) -> tuple[float, float]:
    """Seconds of an epoch of libmf, and its RMSE on the sample after all epochs."""
    seconds = []
    for iterations in (1, 1 + PEER_EPOCHS):
        settings = {"factors": d, "iterations": iterations, "learning_rate": 0.1, "regularization": REGULARIZATION}
        began = time.perf_counter()
        model = libmf_model(ratings, {**settings, "threads": threads})
        seconds.append(time.perf_counter() - began)
    rated = np.einsum("ij,ij->i", model.p_factors()[sample.user], model.q_factors()[sample.item])
    return (seconds[1] - seconds[0]) / PEER_EPOCHS, rmse(np.clip(rated, 0.5, 5.0), sample.weight)


def contest(ratings: Interactions, d: int, threads: int, rounds: int) -> list[dict[str, object]]:
    """Rounds in turn: epochs of every optimizer, and of libmf; one row per optimizer, medians."""
    sample = ratings.select(np.arange(0, len(ratings), max(1, len(ratings) // 100_000)))
    own = {optimizer: Ours(ratings, d, threads, optimizer) for optimizer in RATES}
    seconds: dict[str, list[float]] = {optimizer: [] for optimizer in own}
    theirs, losses, peer_loss = [], {}, 0.0
    for _ in range(rounds):
        for optimizer, one in own.items():
            seconds[optimizer] += [one.epoch() for _ in range(2)]
            if len(seconds[optimizer]) == 1 + PEER_EPOCHS:
                losses[optimizer] = one.loss(sample)
        peer_seconds, peer_loss = libmf_epoch(ratings, sample, d, threads)
        theirs.append(peer_seconds)
    facts = {"data": "power law", "nnz": len(ratings), "d": d, "threads": threads, "peer": "libmf"}
    peer = statistics.median(theirs)
    return [
        {**facts, "ours": optimizer, "seconds": statistics.median(times), "peer_seconds": peer,
         "ratio": peer / statistics.median(times), "loss": losses[optimizer], "peer_loss": peer_loss}
        for optimizer, times in seconds.items()
    ]  # fmt: skip


def main() -> None:
    """Errors where ml-latest-small is, then speed where libmf is."""
    chosen = options(__doc__ or "", search="tune everybody on the validation part again, and print what is best")
    rows: list[dict[str, object]] = []
    path = chosen.json or Path("var/bench/sgd_mf.jsonl")
    if RATINGS.is_file():
        ratings = read_interactions(RATINGS, format="csv")
        fold = np.random.default_rng(0).permutation(len(ratings)) % FOLDS
        if chosen.search:
            return search(ratings, fold)
        rows = quality(ratings, fold, 2 if chosen.quick else FOLDS)
        report("RMSE, ml-latest-small", rows, path.with_stem(path.stem + "_quality"))
    if not CONTESTANTS["libmf"].importable:
        return print("libmf is not installed, nothing to time against")
    data = planted(10_000 if chosen.quick else 50_000)
    sizes = [(d, threads) for d in ((64, 128) if chosen.quick else (64, 128, 256)) for threads in (1, 2)]
    report(
        "An epoch", [row for d, threads in sizes for row in contest(data, d, threads, 3 if chosen.quick else 5)], path
    )


if __name__ == "__main__":
    main()
