"""Lists for a user at an hour, ml-latest-small: our ranking losses with genres and hours against lightfm's WARP.

The last rating of each user is the test part, the one before it the validation part; every item the user has not rated
before is ranked, by HR@10 and NDCG@10. All have 32 factors and train for up to 60 epochs, the best number of which
belongs to a trial. `--search` draws the same number of settings at random for each and judges them on the validation
part; our loss and what negatives are drawn from are among them. lightfm takes the hour by a row for every user at every
hour, with the features of both. Without hours it is always the same one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.data import Dataset, FeatureMatrix
from recsys.data.sources import Rejected, read_table
from recsys.factors import Factors
from recsys.models import FactorizationMachine
from recsys.models.queries import Queries
from tests.benchmarks.fm_data import MOVIELENS, movielens

FACTORS, EPOCHS, JUDGED_EVERY, TRIALS, HOURS = 32, 60, 4, 12, 24
Settings = dict[str, Any]
Scores = Callable[[], np.ndarray]  # users x items


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
    def of(cls, final: bool, hours: bool) -> "Task":
        """The test part of everything before, or the validation part of what is before that."""
        design, ratings = movielens()
        assert ratings.timestamp is not None
        order = np.lexsort((ratings.item, ratings.timestamp, ratings.user))
        user, item = ratings.user[order], ratings.item[order]
        hour = (ratings.timestamp[order] // 3600 % HOURS * hours).astype(np.int32)
        last = np.flatnonzero(np.append(user[1:] != user[:-1], True))
        held = last if final else last - 1
        train = np.ones(len(user), bool)
        train[last] = train[held] = False
        seen = ratings.select(order[train])
        dataset = Dataset.from_interactions(replace(seen, weight=np.ones(len(seen), np.float32)))
        dataset = dataset.with_features(
            items=read_table(MOVIELENS / "movies.csv", Rejected("raise")),
            item_fields=["genres:tags"],
            context_fields=["hour"] if hours else [],
        )
        return cls(user[train], item[train], hour[train], design.blocks[1], item[held], hour[held], dataset)

    @property
    def matrix(self) -> sp.csr_matrix:
        """Users x items."""
        shape = len(self.target), len(self.items)
        matrix = sp.csr_matrix((np.ones(len(self.user), np.float32), (self.user, self.item)), shape)
        matrix.sort_indices()
        return matrix

    def judged(self, scores: np.ndarray) -> tuple[float, float]:
        """NDCG@10 and HR@10 of scores, users x items."""
        every = np.arange(len(self.target))
        wanted = scores[every, self.target].copy()
        scores[self.user, self.item] = -np.inf
        rank = (scores >= wanted[:, None]).sum(axis=1) - 1
        return float(np.where(rank < 10, 1 / np.log2(rank + 2.0), 0).mean()), float((rank < 10).mean())


def ours(task: Task, settings: Settings, seed: int, epochs: int) -> Iterator[Scores]:
    """Scores after each epoch, when asked for."""
    kept: list[Factors] = []
    machine = FactorizationMachine(factors=FACTORS, iterations=epochs, seed=seed, **settings)
    machine.fit(task.dataset, on_epoch=lambda model: kept.append(model._factors))
    at_hours = [{"hour": str(hour)} for hour in task.when] if task.dataset.context else None
    users = np.arange(len(task.target), dtype=np.int32)

    def scores(factors: Factors) -> np.ndarray:
        queries = Queries.of(factors, users, at_hours).vectors
        n = len(task.items)  # those that follow are known by their genres alone; the others' data have none of them
        return queries @ factors.item_vectors[:n].T + factors.item_bias[:n]

    return (partial(scores, factors) for factors in kept)


def lightfm(task: Task, settings: Settings, seed: int, epochs: int) -> Iterator[Scores]:
    """Scores after each epoch, when asked for."""
    from lightfm import LightFM

    n_users = len(task.target)

    def rows(user: np.ndarray, hour: np.ndarray) -> sp.csr_matrix:
        columns = np.stack([user, n_users + hour], axis=1).ravel()
        return sp.csr_matrix((np.ones(len(columns), np.float32), columns, np.arange(0, len(columns) + 1, 2)))

    pairs, row = np.unique(task.user.astype(np.int64) * HOURS + task.hour, return_inverse=True)
    queries, items = rows(pairs // HOURS, pairs % HOURS), task.items.to_csr()
    positives = sp.coo_matrix((np.ones(len(row), np.float32), (row, task.item)), (len(pairs), len(task.items)))
    model = LightFM(no_components=FACTORS, loss="warp", random_state=seed, **settings)

    def scores() -> np.ndarray:
        _, x = model.get_user_representations(rows(np.arange(n_users), task.when))
        biases, y = model.get_item_representations(items)
        return x @ y.T + biases

    for _ in range(epochs):
        model.fit_partial(positives, user_features=queries, item_features=items, epochs=1, num_threads=1)
        yield scores


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _our_settings(rng: np.random.Generator) -> Settings:
    loss = str(rng.choice(["warp", "softmax", "implicit"]))
    if loss == "implicit":
        settings = {"unobserved_weight": _log_uniform(rng, 0.01, 1.0), "regularization": _log_uniform(rng, 1.0, 100.0)}
    else:
        settings = {
            "learning_rate": _log_uniform(rng, 0.05, 1.0),
            "regularization": _log_uniform(rng, 3e-3, 0.3),
            "negatives": int(rng.choice([10, 30])),
            "sampling": str(rng.choice(["uniform", "popularity", "in_batch"])),
        }
    return {"loss": loss, **settings}


def _lightfm_settings(rng: np.random.Generator) -> Settings:
    return {
        "learning_rate": _log_uniform(rng, 0.005, 0.2),
        "item_alpha": _log_uniform(rng, 1e-7, 1e-3),
        "user_alpha": _log_uniform(rng, 1e-7, 1e-3),
        "max_sampled": int(rng.choice([10, 30, 100])),
    }


@dataclass(frozen=True)
class Contestant:
    """A model, with hours or without, and the best settings and epochs on the validation part."""

    model: str
    hours: bool
    best: Settings
    epochs: int

    def train(self, task: Task, settings: Settings, seed: int, epochs: int) -> Iterator[Scores]:
        return (ours if self.model == "ours" else lightfm)(task, settings, seed, epochs)

    def draw(self, rng: np.random.Generator) -> Settings:
        return (_our_settings if self.model == "ours" else _lightfm_settings)(rng)


_LIGHTFM = {"learning_rate": 0.0502, "item_alpha": 3.88e-4, "user_alpha": 1.267e-4, "max_sampled": 100}
_SOFTMAX = {
    "loss": "softmax", "learning_rate": 0.234, "regularization": 0.0257, "negatives": 10, "sampling": "in_batch",
}  # fmt: skip
CONTESTANTS = [
    Contestant("ours", True, {"loss": "implicit", "unobserved_weight": 0.95, "regularization": 2.695}, 8),
    Contestant("lightfm", True, _LIGHTFM, 48),
    Contestant("ours", False, _SOFTMAX, 44),
    Contestant("lightfm", False, _LIGHTFM, 52),
]


def _installed() -> list[Contestant]:
    if not MOVIELENS.is_dir():
        print("ml-latest-small is not in ../shared/datasets: no lists")
        return []
    if not find_spec("lightfm"):
        print("lightfm left out of the lists: not installed, see make bench")
    return [one for one in CONTESTANTS if one.model == "ours" or find_spec("lightfm")]


def search() -> None:
    """Draw settings for each and print the best by NDCG@10."""
    for one in _installed():
        task = Task.of(final=False, hours=one.hours)
        rng, judged = np.random.default_rng(7), []
        for _ in range(TRIALS):
            settings = one.draw(rng)
            for epoch, scores in enumerate(one.train(task, settings, 0, EPOCHS), start=1):
                if epoch % JUDGED_EVERY == 0:
                    judged.append((*task.judged(scores()), epoch, settings))
        print(one.model, one.hours, *max(judged, key=lambda row: row[0]), flush=True)


def rows(quick: bool) -> list[dict[str, object]]:
    """One row per contestant: means over seeds on the test part."""
    made: list[dict[str, object]] = []
    for one in _installed():
        task, judged = Task.of(final=True, hours=one.hours), []
        for seed in range(1 if quick else 5):
            *_, last = one.train(task, one.best, seed, one.epochs)
            judged.append(task.judged(last()))
        ndcg, hits = (float(mean) for mean in np.mean(judged, axis=0))
        facts = {"model": one.model, "hours": one.hours, "d": FACTORS, "epochs": one.epochs, "settings": str(one.best)}
        spread = float(np.std([value for value, _ in judged]))
        made.append({**facts, "seeds": len(judged), "ndcg@10": ndcg, "hr@10": hits, "deviation of ndcg": spread})
    return made
