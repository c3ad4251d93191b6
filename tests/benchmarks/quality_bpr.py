"""How good the lists of `BPR` are on gowalla: settings searched on a validation part, the test part seen once a loss.

A random eighth of the training pairs is the validation part. Each trial trains on the rest at 64 factors, and after
every fifth epoch its lists are judged there. The best settings of each loss, with their best number of epochs, are
then trained on all training pairs at 128 factors and judged on the test part.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from recsys.data import Dataset, Interactions, read_interactions
from recsys.evaluation import evaluate
from recsys.models import BPR
from tests.benchmarks.harness import options, report

GOWALLA = Path(__file__).parents[3] / "shared" / "datasets" / "gowalla"
_MANY = {"negatives": 64, "learning_rate": 1.0, "iterations": 25}
_WARP = {"negatives": 64, "learning_rate": 0.3, "iterations": 20}
_SOFTMAX = {"negatives": 32, "learning_rate": 0.5, "popularity_exponent": 0.75, "iterations": 15}
TRIALS: list[dict[str, Any]] = [
    {"loss": "bpr", "negatives": 1, "learning_rate": 0.3, "regularization": 0.01, "iterations": 40},
    {"loss": "bpr", **_MANY, "regularization": 0.03, "negatives": 32},
    {"loss": "bpr", **_MANY, "regularization": 0.03},
    {"loss": "bpr", **_MANY, "regularization": 0.06},
    {"loss": "bpr", **_MANY, "regularization": 0.06, "popularity_exponent": 0.5},
    {"loss": "warp", **_WARP, "regularization": 0.06},
    {"loss": "warp", **_WARP, "regularization": 0.15},
    {"loss": "softmax", **_SOFTMAX, "regularization": 0.005},
    {"loss": "softmax", **_SOFTMAX, "regularization": 0.01},
]
JUDGED_EVERY = 5
COMMON: dict[str, Any] = {"asynchronous": True, "threads": 2, "seed": 0}


def trial(settings: dict[str, Any], factors: int, dataset: Dataset, held: Interactions) -> dict[str, Any]:
    """Train, judge on the held part every few epochs, report the best of them by NDCG."""
    judged: dict[int, tuple[float, float]] = {}

    def judge(model: BPR) -> None:
        if len(model.loss) % JUDGED_EVERY == 0:
            result = evaluate(model, held, k=(20,))
            judged[len(model.loss)] = (result.mean("ndcg@20"), result.mean("recall@20"))

    began = time.perf_counter()
    BPR(factors=factors, **settings, **COMMON).fit(dataset, on_epoch=judge)
    epochs = max(judged, key=judged.__getitem__)
    return row("validation", {**settings, "iterations": epochs}, factors, judged[epochs], time.perf_counter() - began)


def final(settings: dict[str, Any], factors: int, dataset: Dataset, test: Interactions) -> dict[str, Any]:
    """Train on everything and judge on the test part."""
    began = time.perf_counter()
    result = evaluate(BPR(factors=factors, **settings, **COMMON).fit(dataset), test, k=(20,))
    return row(
        "test", settings, factors, (result.mean("ndcg@20"), result.mean("recall@20")), time.perf_counter() - began
    )


def row(
    part: str, settings: dict[str, Any], factors: int, scores: tuple[float, float], seconds: float
) -> dict[str, Any]:
    """One line of the table; printed at once too, since the search takes a while."""
    shown = {"popularity_exponent": 0.0, **settings}
    line = {"part": part, "d": factors, **{name: shown[name] for name in sorted(shown)}}
    line |= {"recall@20": scores[1], "ndcg@20": scores[0], "seconds": seconds}
    print(line, flush=True)
    return line


def main() -> None:
    """Search, choose, retrain, and judge once."""
    chosen = options(__doc__ or "")
    train, test = (read_interactions(GOWALLA / name, format="lists") for name in ("train.txt", "test.txt"))
    held = np.random.default_rng(0).random(len(train)) < 1 / 8
    dataset, validation = Dataset.from_interactions(train.select(~held)), train.select(held)
    search, wide = (32, 64) if chosen.quick else (64, 128)
    trials = [settings | {"iterations": 10} for settings in TRIALS[1::4]] if chosen.quick else TRIALS
    rows = [trial(settings, search, dataset, validation) for settings in trials]
    searched = list(zip(rows, trials, strict=True))
    for loss in dict.fromkeys(settings["loss"] for settings in trials):
        found, settings = max((one for one in searched if one[1]["loss"] == loss), key=lambda one: one[0]["ndcg@20"])
        rows.append(final(settings | {"iterations": found["iterations"]}, wide, Dataset.from_interactions(train), test))
    report("BPR on gowalla", rows, chosen.json or Path("var/bench/quality_bpr.jsonl"))


if __name__ == "__main__":
    main()
