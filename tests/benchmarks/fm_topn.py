"""Lists for a user at an hour, ml-latest-small: our losses with genres and hours against lightfm's WARP.

One rating of each user is held out and what is before it learned from: the fourth-last, the fifth-last and the
sixth-last rating are three test parts, the three before them validation parts. (The last three were looked at while the
losses were built.) Every item the user has not rated before is ranked, by HR@10 and NDCG@10. All have 32 factors.
`--search` draws the same number of trials for each, from ranges written down before any was run; whether the hour is
known, how fast older ratings lose weight, our loss and the number of epochs belong to a trial. It judges them by their
mean NDCG@10 on the validation parts, and the best three once more, for longer and with another seed, by which it
chooses. lightfm takes the hour by a row for every user at every hour, with the features of both.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.data import Dataset, FeatureMatrix
from recsys.data.sources import Rejected, read_table
from recsys.errors import TrainingDivergedError
from recsys.factors import Factors
from recsys.models import FactorizationMachine
from recsys.models.queries import Queries
from tests.benchmarks.fm_data import MOVIELENS, movielens

FACTORS, EPOCHS, LONGER, JUDGED_EVERY, HOURS = 32, 32, 64, 4, 24
TRIALS, SEED, FINALISTS, SEEDS = 30, 20261122, 3, 5
TEST, VALIDATION = (3, 4, 5), (6, 7, 8)  # ratings after the one held out
Settings = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Task:
    """Positives of a training part, and of each user an item held out with its hour."""

    user: np.ndarray
    item: np.ndarray
    hour: np.ndarray
    items: FeatureMatrix
    target: np.ndarray
    when: np.ndarray
    dataset: Dataset

    @classmethod
    @functools.cache
    def of(cls, later: int, hours: bool) -> "Task":
        """Hold out the rating with so many later ones of its user, and learn from the earlier ones."""
        design, ratings = movielens()
        assert ratings.timestamp is not None
        order = np.lexsort((ratings.item, ratings.timestamp, ratings.user))
        user, item = ratings.user[order], ratings.item[order]
        hour = (ratings.timestamp[order] // 3600 % HOURS * hours).astype(np.int32)
        held = np.flatnonzero(np.append(user[1:] != user[:-1], True)) - later
        train = np.arange(len(user)) < held[user]
        seen = ratings.select(order[train])
        dataset = Dataset.from_interactions(replace(seen, weight=np.ones(len(seen), np.float32)))
        dataset = dataset.with_features(
            items=read_table(MOVIELENS / "movies.csv", Rejected("raise")),
            item_fields=["genres:tags"],
            context_fields=["hour"] if hours else [],
        )
        return cls(user[train], item[train], hour[train], design.blocks[1], item[held], hour[held], dataset)

    def judged(self, scores: np.ndarray) -> np.ndarray:
        """NDCG@10 and HR@10 of every user, from scores of users x items."""
        every = np.arange(len(self.target))
        wanted = scores[every, self.target].copy()
        scores[self.user, self.item] = -np.inf
        rank = (scores >= wanted[:, None]).sum(axis=1) - 1
        return np.stack([np.where(rank < 10, 1 / np.log2(rank + 2.0), 0), rank < 10])

    def weights(self, memory: float) -> np.ndarray:
        """Weights of the positives, 1 in the mean: a rating with n later ones of its user has ``exp(-n / memory)``."""
        ends = np.cumsum(np.bincount(self.user))
        weights = np.exp((np.arange(len(self.user)) + 1 - ends[self.user]) / memory)
        return np.asarray(weights / weights.mean(), np.float32)


def ours(task: Task, memory: float, settings: Settings, seed: int, epochs: int) -> Iterator[np.ndarray]:
    """Scores of users x items after every few epochs."""
    kept: list[Factors] = []

    def hear(model: FactorizationMachine) -> None:
        if len(model.loss) % JUDGED_EVERY == 0:
            kept.append(model._factors)

    model = FactorizationMachine(factors=FACTORS, iterations=epochs, seed=seed, **settings)
    model.fit(task.dataset, sample_weight=task.weights(memory), on_epoch=hear)
    at_hours = [{"hour": str(hour)} for hour in task.when] if task.dataset.context else None
    users, n = np.arange(len(task.target), dtype=np.int32), len(task.items)
    for factors in kept:  # items that follow are known by their genres alone; the others' data have none of them
        queries = Queries.of(factors, users, at_hours).vectors
        yield queries @ factors.item_vectors[:n].T + factors.item_bias[:n]


def lightfm(task: Task, memory: float, settings: Settings, seed: int, epochs: int) -> Iterator[np.ndarray]:
    """Scores of users x items after every few epochs."""
    from lightfm import LightFM

    n_users = len(task.target)

    def rows(user: np.ndarray, hour: np.ndarray) -> sp.csr_matrix:
        columns = np.stack([user, n_users + hour], axis=1).ravel()
        ends = np.arange(0, len(columns) + 1, 2)
        return sp.csr_matrix((np.ones(len(columns), np.float32), columns, ends), (len(user), n_users + HOURS))

    pairs, row = np.unique(task.user.astype(np.int64) * HOURS + task.hour, return_inverse=True)
    queries, items = rows(pairs // HOURS, pairs % HOURS), task.items.to_csr()
    positives = sp.coo_matrix((np.ones(len(row), np.float32), (row, task.item)), (len(pairs), len(task.items)))
    weights = sp.coo_matrix((task.weights(memory), (row, task.item)), positives.shape)
    model = LightFM(no_components=FACTORS, loss="warp", random_state=seed, **settings)
    for _ in range(0, epochs, JUDGED_EVERY):
        model.fit_partial(positives, queries, items, sample_weight=weights, epochs=JUDGED_EVERY, num_threads=1)
        _, x = model.get_user_representations(rows(np.arange(n_users), task.when))
        biases, y = model.get_item_representations(items)
        yield x @ y.T + biases


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _our_settings(rng: np.random.Generator) -> Settings:
    loss = str(rng.choice(["warp", "softmax", "implicit"]))
    if loss == "implicit":
        settings = {"unobserved_weight": _log_uniform(rng, 3e-3, 3.0), "regularization": _log_uniform(rng, 0.3, 300.0)}
    else:
        settings = {
            "learning_rate": _log_uniform(rng, 0.02, 1.0),
            "regularization": _log_uniform(rng, 1e-3, 0.5),
            "negatives": int(rng.choice([10, 30, 100])),
            "sampling": str(rng.choice(["uniform", "popularity", "in_batch"])),
        }
    return {"loss": loss, **settings}


def _lightfm_settings(rng: np.random.Generator) -> Settings:
    return {
        "learning_rate": _log_uniform(rng, 3e-3, 0.3),
        "item_alpha": _log_uniform(rng, 1e-7, 1e-2),
        "user_alpha": _log_uniform(rng, 1e-7, 1e-2),
        "max_sampled": int(rng.choice([10, 30, 100])),
        "learning_schedule": str(rng.choice(["adagrad", "adadelta"])),
    }


@dataclass(frozen=True)
class Trial:
    """Whether the hour is known, how many ratings are remembered, settings of the model, and the number of epochs."""

    hours: bool
    memory: float
    settings: Settings
    epochs: int = EPOCHS


@dataclass(frozen=True)
class Contestant:
    """How a model is trained, and how its settings are drawn."""

    train: Callable[[Task, float, Settings, int, int], Iterator[np.ndarray]]
    draw: Callable[[np.random.Generator], Settings]

    def trials(self) -> list[Trial]:
        """Draw what is tried."""
        rng = np.random.default_rng(SEED)
        return [
            Trial(bool(rng.integers(2)), float(rng.choice([np.inf, _log_uniform(rng, 2, 200)])), self.draw(rng))
            for _ in range(TRIALS)
        ]

    def judged(self, trial: Trial, parts: Sequence[int], seeds: Sequence[int]) -> np.ndarray:
        """Means over parts and seeds, of shape (judgements, 2, n_users): NDCG@10 and HR@10 after every few epochs."""
        tasks = [Task.of(part, trial.hours) for part in parts]
        runs = [
            [task.judged(scores) for scores in self.train(task, trial.memory, trial.settings, seed, trial.epochs)]
            for task in tasks
            for seed in seeds
        ]
        return np.mean(runs, axis=0)

    def validated(self, trial: Trial, seeds: Sequence[int]) -> tuple[float, float, Trial]:
        """NDCG@10 and HR@10 after the best number of epochs; 0 for one that diverges."""
        try:
            curve = self.judged(trial, VALIDATION, seeds).mean(axis=2)
        except (TrainingDivergedError, ValueError) as error:  # lightfm has the second
            print(error)
            return 0.0, 0.0, trial
        at = int(curve[:, 0].argmax())
        return *map(float, curve[at]), replace(trial, epochs=JUDGED_EVERY * (at + 1))


CONTESTANTS = {"ours": Contestant(ours, _our_settings), "lightfm": Contestant(lightfm, _lightfm_settings)}
BEST = {
    "ours": Trial(
        hours=False,
        memory=np.inf,
        settings={
            "loss": "warp",
            "learning_rate": 0.21048944499219494,
            "regularization": 0.09807547172154348,
            "negatives": 30,
            "sampling": "popularity",
        },
        epochs=20,
    ),
    "lightfm": Trial(
        hours=False,
        memory=np.inf,
        settings={
            "learning_rate": 0.0035239044613582815,
            "item_alpha": 2.980095001686061e-07,
            "user_alpha": 0.0006940896261221637,
            "max_sampled": 100,
            "learning_schedule": "adadelta",
        },
        epochs=40,
    ),
}
"""By contestant, what won on the validation parts."""


def _installed() -> dict[str, Contestant]:
    if not MOVIELENS.is_dir():
        print("ml-latest-small is not in ../shared/datasets: no lists")
        return {}
    if not find_spec("lightfm"):
        print("lightfm left out of the lists: not installed, see make bench")
    return {name: one for name, one in CONTESTANTS.items() if name == "ours" or find_spec("lightfm")}


def search() -> None:
    """Judge every trial, and the best again; print each, and what wins last."""
    for name, one in _installed().items():
        first = []
        for trial in one.trials():
            first.append(one.validated(trial, seeds=(0,)))
            print(name, *first[-1], flush=True)
        best = sorted(first, key=lambda found: -found[0])[:FINALISTS]
        again = [one.validated(replace(trial, epochs=LONGER), seeds=(1,)) for *_, trial in best]
        for found in sorted(again, key=lambda found: found[0]):
            print(name, "again", *found, flush=True)


def rows(quick: bool) -> list[dict[str, object]]:
    """One row per contestant: means over seeds on the test part; the difference to ours is paired by user."""
    seeds = range(1 if quick else SEEDS)
    found = {name: one.judged(BEST[name], TEST, seeds)[-1] for name, one in _installed().items()}
    return [
        {
            "model": name,
            "hours": BEST[name].hours,
            "memory": BEST[name].memory,
            "d": FACTORS,
            "epochs": BEST[name].epochs,
            "settings": str(BEST[name].settings),
            "seeds": len(seeds),
            **{f"{metric}@10": float(values.mean()) for metric, values in zip(("ndcg", "hr"), judged, strict=True)},
            **_compared(found["ours"] - judged),
        }
        for name, judged in found.items()
    ]


def _compared(difference: np.ndarray) -> dict[str, float]:
    facts = {}
    for metric, values in zip(("ndcg", "hr"), difference, strict=True):
        facts[f"ours - it, {metric}"] = float(values.mean())
        facts[f"its standard error, {metric}"] = float(values.std(ddof=1) / len(values) ** 0.5)
    return facts
