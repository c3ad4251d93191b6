"""Ratings of ml-latest-small with users, items, genres and times as features: RMSE, mean over five random folds.

All have 8 factors. What is tried was drawn at random before any of it was run, the same settings for all contestants
of an algorithm; `--search` judges them on a fifth of the training part of the first fold, and `BEST` holds what won.
Nobody had looked at these folds before. `BiasedMF` takes part without genres and times.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.data import Dataset, Interactions
from recsys.errors import TrainingDivergedError
from recsys.ids import IdMap
from recsys.models import BiasedMF
from recsys.models.fm.design import Design
from tests.benchmarks import fm_ours
from tests.benchmarks.fm_data import MOVIELENS, Rows, divided, movielens
from tests.benchmarks.fm_peers import Outcome, Settings, Trainer, installed

FACTORS, FOLDS, SEED = 8, 5, 20261122
SWEEPS = 200  # of Gibbs sampling
TRIALS = {"sgd": 30, "adagrad": 30, "als": 30, "gibbs": 10}
BEST = {
    "ours, sgd": 5,  # 0.8754
    "ours, adagrad": 18,  # 0.8768
    "ours, als": 23,  # 0.8690
    "ours, gibbs": 8,  # 0.8503
    "xlearn, adagrad": 19,  # 0.8822
    "xlearn, sgd": 5,  # 0.8781
    "libFM, als": 2,  # 0.8695
    "libFM, gibbs": 1,  # 0.8508
    "libFM, sgd": 1,  # 0.8938
    "myfm, gibbs": 5,  # 0.8518
    "fastFM, als": 23,  # 0.8690
    "fastFM, gibbs": 6,  # 0.8532
    "BiasedMF": 1,  # 0.8862
}
"""By contestant, the number of its best trial on the validation part, and the RMSE there."""


def trials(algorithm: str) -> list[Settings]:
    """Draw what all contestants of an algorithm try."""
    rng = np.random.default_rng(SEED)

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    def drawn() -> Settings:
        if algorithm == "gibbs":
            return Settings(algorithm, FACTORS, SWEEPS, start=between(0.01, 0.5))
        rate = between(3e-4, 3e-2) * (10 if algorithm == "adagrad" else 1)
        low, high, epochs = (1, 100, (5, 10, 20, 40, 80)) if algorithm == "als" else (1e-3, 0.3, (10, 20, 40, 80, 160))
        return Settings(
            algorithm, FACTORS, int(rng.choice(epochs)), rate, between(low, high), start=between(3e-3, 0.3),
            weight_regularization=between(low, high),
        )  # fmt: skip

    return [drawn() for _ in range(TRIALS[algorithm])]


@dataclass(frozen=True)
class Contestant:
    """A trainer with its algorithm, and which of ours it is compared with."""

    train: Trainer
    algorithm: str
    rival: str

    def error(self, folder: Path, number: int) -> float:
        """RMSE of a trial on the test part of the rows in a folder, within the range of the training part."""
        try:
            predicted = self.train(folder, trials(self.algorithm)[number]).predicted
        except TrainingDivergedError:
            return float("inf")
        error = Rows.load(folder).error(predicted)
        return error if np.isfinite(error) else float("inf")


def biased_mf(folder: Path, settings: Settings) -> Outcome:
    """Users and items alone; one penalty and a start of its own."""
    rows = Rows.load(folder)
    users, items = (IdMap.from_ids(map(str, range(len(block)))) for block in rows.train.blocks[:2])
    train, test = ([np.ascontiguousarray(part) for part in design.parts.T[:2]] for design in (rows.train, rows.test))
    model = BiasedMF(
        factors=settings.factors, learning_rate=settings.learning_rate, regularization=settings.regularization,
        iterations=settings.epochs,
    )  # fmt: skip
    model.fit(Dataset.from_interactions(Interactions(users, items, *train, rows.y)))
    return Outcome(0.0, model.predict(users.ids(test[0]), items.ids(test[1])))


def contestants() -> dict[str, Contestant]:
    """Ours, and the peers that are here."""
    ours = {f"ours, {name}": Contestant(fm_ours.train, name, "") for name in TRIALS}
    peers = {
        f"{name}, {algorithm}": Contestant(peer.train, algorithm, f"ours, {algorithm}")
        for name, peer in installed().items()
        for loss, algorithm in sorted(peer.can)
        if loss == "squared" and not peer.slow
    }
    return {**ours, **peers, "BiasedMF": Contestant(biased_mf, "sgd", "ours, gibbs")}


def _folded() -> tuple[Design, Interactions, np.ndarray]:
    design, ratings = movielens()
    return design, ratings, np.random.default_rng(SEED).permutation(len(ratings)) % FOLDS


def search() -> None:
    """Judge every trial on the validation part; print each, and the best of each contestant."""
    design, ratings, fold = _folded()
    train = np.flatnonzero(fold != 0)
    validation = np.random.default_rng(1).random(len(train)) < 0.2
    with tempfile.TemporaryDirectory() as folder:
        divided(design.take(train), ratings.select(train), validation).save(Path(folder))
        for name, one in contestants().items():
            errors = []
            for number, settings in enumerate(trials(one.algorithm)):
                errors.append(one.error(Path(folder), number))
                print(name, number, f"{errors[-1]:.4f}", _told(settings), flush=True)
            print(f'"{name}": {int(np.argmin(errors))},  # {min(errors):.4f}', flush=True)


def _told(settings: Settings) -> str:
    if settings.algorithm == "gibbs":
        return f"start {settings.start:.3g}"
    rate = "" if settings.algorithm == "als" else f"rate {settings.learning_rate:.3g}, "
    penalties = f"penalty {settings.regularization:.3g} ({settings.weight_regularization:.3g})"
    return f"{rate}{penalties}, start {settings.start:.3g}, {settings.epochs} epochs"


def _errors(folds: int) -> Iterator[tuple[str, float, float]]:
    """Name, RMSE on the test part and seconds of every contestant with its best settings, fold by fold."""
    design, ratings, fold = _folded()
    for k in range(folds):
        with tempfile.TemporaryDirectory() as folder:
            divided(design, ratings, fold == k).save(Path(folder))
            for name, one in contestants().items():
                began = time.perf_counter()
                yield name, one.error(Path(folder), BEST[name]), time.perf_counter() - began


def rows(quick: bool) -> list[dict[str, object]]:
    """One row per contestant, with the settings in `BEST`; differences to ours are paired by fold."""
    if not MOVIELENS.is_dir():
        print("ml-latest-small is not in ../shared/datasets: no quality")
        return []
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants()}
    for name, error, seconds in _errors(1 if quick else FOLDS):
        found[name].append((error, seconds))
    errors = {name: np.array(taken)[:, 0] for name, taken in found.items()}
    return [
        {
            "model": name,
            "d": FACTORS,
            "settings": _told(trials(one.algorithm)[BEST[name]]),
            "rmse": float(errors[name].mean()),
            **_compared(errors.get(one.rival, errors[name]) - errors[name]),
            "folds": len(errors[name]),
            "seconds": statistics.mean(seconds for _, seconds in found[name]),
        }
        for name, one in contestants().items()
    ]


def _compared(difference: np.ndarray) -> dict[str, float]:
    n = len(difference)
    error = float(difference.std(ddof=1) / n**0.5) if n > 1 else float("nan")
    return {"ours - it": float(difference.mean()), "its standard error": error}
