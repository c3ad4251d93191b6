"""Ratings of ml-latest-small with users, items, genres and times as features: RMSE, mean over five random folds.

The folds are those of the benchmark of `BiasedMF`, which takes part without genres and times. All have 8 factors. What
has settings to choose was tried with the same number of them, on a tenth of the training part of fold 0; `--search`
does it again. Gibbs sampling has none: 200 sweeps.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.data import Dataset, Interactions
from recsys.ids import IdMap
from recsys.models import BiasedMF
from recsys.models.fm.design import Design
from tests.benchmarks import fm_ours
from tests.benchmarks.fm_data import MOVIELENS, Rows, divided, movielens
from tests.benchmarks.fm_peers import Outcome, Settings, Trainer, installed

FACTORS, SWEEPS, FOLDS = 8, 200, 5
Trial = tuple[float, float, int]  # learning rate, penalty, epochs
TRIALS: dict[str, list[Trial]] = {
    "sgd": [(rate, penalty, 40) for rate in (0.002, 0.005, 0.01) for penalty in (0.02, 0.05, 0.1)],
    "adagrad": [(rate, penalty, 40) for rate in (0.02, 0.05, 0.1) for penalty in (0.01, 0.1, 0.3)],
    "als": [(0.0, penalty, sweeps) for penalty in (10.0, 20.0, 40.0) for sweeps in (10, 20, 60)],
    "gibbs": [(0.0, 0.0, SWEEPS)],
}
BEST: dict[str, Trial] = {
    "BiasedMF": (0.01, 0.05, 40),
    "ours, sgd": (0.002, 0.02, 40),
    "ours, adagrad": (0.02, 0.1, 40),
    "ours, als": (0.0, 20.0, 10),
    "xlearn, sgd": (0.002, 0.02, 40),
    "xlearn, adagrad": (0.05, 0.1, 40),
    "libFM, sgd": (0.002, 0.02, 40),
    "libFM, als": (0.0, 20.0, 10),
    "fastFM, als": (0.0, 20.0, 10),
}
"""By contestant, the best of its trials on the validation part; what has only one is not listed."""


@dataclass(frozen=True)
class Contestant:
    """A trainer with its algorithm."""

    train: Trainer
    algorithm: str

    def error(self, folder: Path, trial: Trial) -> float:
        """RMSE on the test part of the rows in a folder, within the range of the training part."""
        rate, penalty, epochs = trial
        settings = Settings(self.algorithm, FACTORS, epochs, rate, penalty)
        return Rows.load(folder).error(self.train(folder, settings).predicted)


def biased_mf(folder: Path, settings: Settings) -> Outcome:
    """Users and items alone."""
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
    ours = {f"ours, {name}": Contestant(fm_ours.train, name) for name in TRIALS}
    peers = {
        f"{name}, {algorithm}": Contestant(peer.train, algorithm)
        for name, peer in installed().items()
        for loss, algorithm in sorted(peer.can)
        if loss == "squared" and not peer.slow
    }
    return {"BiasedMF": Contestant(biased_mf, "sgd"), **ours, **peers}


def _folded() -> tuple[Design, Interactions, np.ndarray]:
    design, ratings = movielens()
    return design, ratings, np.random.default_rng(0).permutation(len(ratings)) % FOLDS


def search() -> None:
    """Try every setting on the validation part and print the best of each contestant."""
    design, ratings, fold = _folded()
    train = np.flatnonzero(fold != 0)
    validation = np.random.default_rng(1).random(len(train)) < 0.1
    with tempfile.TemporaryDirectory() as folder:
        divided(design.take(train), ratings.select(train), validation).save(Path(folder))
        for name, one in contestants().items():
            if len(TRIALS[one.algorithm]) > 1:
                errors = [(one.error(Path(folder), trial), trial) for trial in TRIALS[one.algorithm]]
                print(name, *min(errors), flush=True)


def rows(quick: bool) -> list[dict[str, object]]:
    """One row per contestant, with the settings in `BEST`."""
    if not MOVIELENS.is_dir():
        print("ml-latest-small is not in ../shared/datasets: no quality")
        return []
    design, ratings, fold = _folded()
    errors: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    for k in range(1 if quick else FOLDS):
        with tempfile.TemporaryDirectory() as folder:
            divided(design, ratings, fold == k).save(Path(folder))
            for name, one in contestants().items():
                began = time.perf_counter()
                trial = BEST.get(name, TRIALS[one.algorithm][-1])
                errors.setdefault(name, []).append(one.error(Path(folder), trial))
                seconds[name] = seconds.get(name, 0) + time.perf_counter() - began
    return [
        {
            "model": name,
            "d": FACTORS,
            "rate, penalty, epochs": str(BEST.get(name, TRIALS[one.algorithm][-1])),
            "rmse": statistics.mean(errors[name]),
            "worst fold": max(errors[name]),
            "folds": len(errors[name]),
            "seconds": seconds[name] / len(errors[name]),
        }
        for name, one in contestants().items()
    ]
