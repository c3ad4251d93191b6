"""How good the lists of ImplicitALS and BPR are on gowalla: settings searched on validation, the test part seen once.

The last eighth of each user's list is the validation part: the lists are in order of time, as far as can be seen from
the training part alone (their ends hold items that became popular late). Each trial trains on the rest, and its lists
for the same 10,000 users are judged every few epochs. For each family the settings with the best NDCG@20, and their
best number of epochs, are then trained on all training pairs, BPR at twice the width, and judged once on the test part.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys.data import Dataset, Interactions, read_interactions
from recsys.evaluation import evaluate
from recsys.models import BPR, ImplicitALS
from tests.benchmarks.harness import options, report

GOWALLA = Path(__file__).parents[3] / "shared" / "datasets" / "gowalla"
JUDGED_USERS = 10_000
Settings = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """Settings to choose from: `trials` at `width`, the best of them at `final_width`."""

    model: type[ImplicitALS] | type[BPR]
    width: int
    final_width: int
    judged_every: int
    common: Settings
    trials: list[Settings]


_MANY = {"negatives": 64, "learning_rate": 1.0, "iterations": 25}
_CORRECTED = {"negatives": 32, "learning_rate": 0.5, "popularity_exponent": 0.75, "iterations": 20}
_HOGWILD = {"asynchronous": True, "threads": 2, "seed": 0}
FAMILIES = {
    "als": Family(
        ImplicitALS,
        *(1024, 1024, 4),
        {"iterations": 8, "threads": 2, "seed": 0},
        [
            {"regularization": 0.003, "unobserved_weight": 0.02},
            {"regularization": 0.005, "unobserved_weight": 0.02},
            {"regularization": 0.003, "unobserved_weight": 0.01},
            {"regularization": 0.03, "unobserved_weight": 0.02, "frequency_exponent": 0.5},
        ],
    ),
    "bpr": Family(
        BPR,
        *(64, 128, 5),
        {"loss": "bpr", **_HOGWILD},
        [
            {"negatives": 1, "learning_rate": 0.3, "regularization": 0.01, "iterations": 40},
            {**_MANY, "regularization": 0.03, "negatives": 32},
            {**_MANY, "regularization": 0.03},
            {**_MANY, "regularization": 0.06},
            {**_MANY, "regularization": 0.06, "popularity_exponent": 0.5},
        ],
    ),
    "warp": Family(
        BPR,
        *(64, 128, 5),
        {"loss": "warp", **_HOGWILD},
        [
            {**_MANY, "learning_rate": 0.3, "regularization": 0.03},
            {**_MANY, "learning_rate": 0.3, "regularization": 0.06},
        ],
    ),
    "softmax": Family(
        BPR,
        *(64, 128, 5),
        {"loss": "softmax", **_HOGWILD},
        [{**_CORRECTED, "regularization": 0.01}, {**_CORRECTED, "regularization": 0.02}],
    ),
}


def trial(family: Family, settings: Settings, dataset: Dataset, held: Interactions) -> Settings:
    """Train, judge on the held part every few epochs, report the best of them by NDCG."""
    judged: dict[int, tuple[float, float]] = {}

    def judge(model: ImplicitALS | BPR) -> None:
        epoch = len(model.loss)
        if epoch % family.judged_every == 0:
            result = evaluate(model, held, k=(20,))
            judged[epoch] = (result.mean("ndcg@20"), result.mean("recall@20"))

    began = time.perf_counter()
    family.model(factors=family.width, **{**family.common, **settings}).fit(dataset, on_epoch=judge)
    best = max(judged, key=judged.__getitem__)
    return _row("validation", {**settings, "iterations": best}, family.width, judged[best], began)


def final(family: Family, settings: Settings, dataset: Dataset, test: Interactions) -> Settings:
    """Train on everything and judge on the test part."""
    began = time.perf_counter()
    model = family.model(factors=family.final_width, **{**family.common, **settings}).fit(dataset)
    result = evaluate(model, test, k=(20,))
    return _row("test", settings, family.final_width, (result.mean("ndcg@20"), result.mean("recall@20")), began)


def last_eighth(train: Interactions) -> np.ndarray:
    """Mask of the last events of each user, by position in the file; at least one."""
    counts = np.bincount(train.user, minlength=len(train.users))
    order = np.argsort(train.user, kind="stable")
    place = np.empty(len(train), np.int64)
    place[order] = np.arange(len(train)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place >= (counts - np.maximum(1, counts // 8))[train.user]


def search(name: str, family: Family, train: Interactions, test: Interactions) -> list[Settings]:
    """All trials of a family and its final row, printed as they come."""
    rng = np.random.default_rng(0)
    held = last_eighth(train)
    asked = rng.permutation(len(train.users))[:JUDGED_USERS]
    validation = train.select(held & np.isin(train.user, asked))
    dataset = Dataset.from_interactions(train.select(~held))
    rows = [trial(family, settings, dataset, validation) for settings in family.trials]
    at = int(np.argmax([row["ndcg@20"] for row in rows]))
    chosen = {**family.trials[at], "iterations": rows[at]["iterations"]}
    rows.append(final(family, chosen, Dataset.from_interactions(train), test))
    return [{"family": name, **row} for row in rows]


def _row(part: str, settings: Settings, width: int, scores: tuple[float, float], began: float) -> Settings:
    words = ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    row = {"part": part, "d": width, "settings": words, "iterations": settings["iterations"]}
    row |= {"recall@20": scores[1], "ndcg@20": scores[0], "seconds": time.perf_counter() - began}
    print(row, flush=True)
    return row


def main() -> None:
    """Search, choose, retrain, and judge once."""
    chosen = options(__doc__ or "", **{name: f"only {name} (several flags add up)" for name in FAMILIES})
    names = [name for name in FAMILIES if getattr(chosen, name)] or list(FAMILIES)
    train, test = (read_interactions(GOWALLA / name, format="lists") for name in ("train.txt", "test.txt"))
    rows = []
    for name in names:
        family = FAMILIES[name]
        if chosen.quick:
            family = Family(
                family.model, 32, 64, 2, family.common | {"iterations": 4}, [family.trials[0] | {"iterations": 4}]
            )
        rows += search(name, family, train, test)
    report("Lists on gowalla", rows, chosen.json or Path("var/bench/quality.jsonl"))


if __name__ == "__main__":
    main()
