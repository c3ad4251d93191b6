"""Judging ready-made lists and comparing two models: seconds, and memory at the worst moment."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recsys.data import Dataset, Interactions
from recsys.data.synthetic import generate
from recsys.evaluation import Comparison, EvaluationResult, compare, evaluate
from recsys.recommendations import Recommendations
from tests.benchmarks.harness import options, report
from tests.benchmarks.memory import alone, peak_of, resident

K = 100
METRICS = ("recall@10", "ndcg@10", "recall@100", "ndcg@100")


class Ready:
    """Lists that cost nothing to make: consecutive items from a place of the user's own, one block at a time."""

    kind = "ready"

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def recommend(self, users: list[str], k: int = 10, *, exclude_seen: bool = True) -> Recommendations:
        first = self.dataset.users.encode(users).astype(np.int64)[:, None] * 7919
        rows = ((first + np.arange(k)) % len(self.dataset.items)).astype(np.int32)
        return Recommendations(rows, np.zeros(rows.shape, np.float32), self.dataset.items)


def world(users: int) -> tuple[Dataset, Interactions]:
    """Histories of 20 items, a genre for each of a tenth as many items, and 10 % of the events to be predicted."""
    made = generate(users=users, items=users // 10, mean_history=20, categories=40, seed=0)
    events, held = made.interactions, np.random.default_rng(0).random(len(made.interactions)) < 0.1
    table = {item: {"genre": f"g{row % 40}"} for row, item in enumerate(events.items.ids())}
    dataset = Dataset.from_interactions(events.select(~held)).with_features(items=table, item_fields=["genre"])
    return dataset, events.select(held)


def judging(users: int) -> list[dict[str, object]]:
    """Evaluate twice, then compare; the data are made before the clock starts."""
    dataset, test = world(users)
    rows: list[dict[str, object]] = []

    def measured(what: str, work: Callable[[], EvaluationResult | Comparison]) -> EvaluationResult | Comparison:
        results: list[EvaluationResult | Comparison] = []
        began = time.perf_counter(), time.process_time()
        grown = peak_of(lambda: results.append(work()))
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        memory = {"MB": grown / 2**20, "MB in all": resident("VmHWM") / 2**20}
        rows.append({"what": what, "users": users, "seconds": wall, "CPU seconds": cpu, **memory})
        return results[0]

    model = Ready(dataset)
    assert len(dataset.item_counts) + dataset.seen_items.nnz  # made once, when first asked for
    result = measured(f"evaluate, k = 10 and {K}", lambda: evaluate(model, test, k=(10, K)))
    assert isinstance(result, EvaluationResult)
    users = len(result.users)
    rows[0]["users"] = users
    measured("the same with diversity", lambda: evaluate(model, test, k=(10, K), diversity=["genre"]))
    rng = np.random.default_rng(1)
    values = {name: np.where(rng.random(users) < 0.3, rng.permutation(one), one) for name, one in result.values.items()}
    other = EvaluationResult(result.users, values, {}, {})
    measured(f"compare, {len(METRICS)} metrics", lambda: compare(result, other, metrics=METRICS))
    return rows


def main() -> None:
    """Run both sizes."""
    chosen = options(__doc__ or "")
    rows = [row for users in ((20_000,) if chosen.quick else (20_000, 145_000)) for row in alone(judging, users)]
    report("Evaluation on one thread", rows, chosen.json or Path("var/bench/evaluation.jsonl"))


if __name__ == "__main__":
    main()
