"""What README and docstrings promise of every metric, on random data and a real model."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.evaluation import EvaluationResult, compare, evaluate
from recsys.evaluation.relevance import relevant_items
from recsys.ids import IdMap
from recsys.models import Popularity
from recsys.recommendations import Recommendations

USERS, ITEMS, KS = 12, 10, (1, 2, 3, 5, 10, 12)
IDS = IdMap.from_ids(f"u{row}" for row in range(USERS)), IdMap.from_ids(f"i{row}" for row in range(ITEMS))
SEEDS = st.integers(0, 100_000)


def some(rng, n):
    return Interactions(
        *IDS,
        rng.integers(0, USERS, n).astype(np.int32),
        rng.integers(0, ITEMS, n).astype(np.int32),
        np.ones(n, np.float32),
    )


def world(seed):
    rng = np.random.default_rng(seed)
    return Popularity().fit(Dataset.from_interactions(some(rng, 40))), some(rng, 30)


class Ideal:
    """Shows what is relevant first, then what is neither that nor in the history."""

    kind = "ideal"

    def __init__(self, dataset, test):
        self.dataset, self.relevance = dataset, relevant_items(dataset, test)

    def recommend(self, users, k=10, *, exclude_seen=True):
        rows = self.dataset.users.encode(users).astype(np.int64)
        scores = self.relevance.hits(rows, np.tile(np.arange(ITEMS, dtype=np.int32), (len(rows), 1))) + 1.0
        scores[self.dataset.seen_items[rows].toarray() != 0] = 0
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
        found = np.take_along_axis(scores, order, axis=1)
        return Recommendations(np.where(found > 0, order, -1), found.astype(np.float32), self.dataset.items)


def judged(seed):
    model, test = world(seed)
    return model, test, evaluate(model, test, k=KS)


@given(SEEDS)
def test_bounds(seed):
    _, _, result = judged(seed)
    for name, values in result.values.items():
        most = math.log2(USERS) if name.startswith("novelty") else 1
        assert ((values >= 0) & (values <= most) | np.isnan(values)).all(), name
    for k in KS:
        assert 0 <= result.mean(f"coverage@{k}") <= 1
        assert not result.mean(f"gini@{k}") > 1 - 1 / ITEMS + 1e-12
        assert not result.mean(f"gini@{k}") < 0
        assert not result.mean(f"popularity_lift@{k}") < -1


@given(SEEDS)
def test_longer_lists_find_no_less(seed):
    _, _, result = judged(seed)
    for shorter, longer in itertools.pairwise(KS):
        for name in ("recall", "hit_rate", "mrr"):
            assert (result.per_user(f"{name}@{longer}") >= result.per_user(f"{name}@{shorter}")).all()
        hits = [result.per_user(f"precision@{k}") * k for k in (shorter, longer)]
        assert (hits[1] >= hits[0] - 1e-12).all()
        assert result.mean(f"coverage@{longer}") >= result.mean(f"coverage@{shorter}")


@given(SEEDS)
def test_no_list_beats_the_ideal_one(seed):
    model, test, result = judged(seed)
    best = evaluate(Ideal(model.dataset, test), test, k=KS)
    for k in KS:
        for name in ("hit_rate", "mrr", "map", "ndcg"):
            assert (best.per_user(f"{name}@{k}") == 1).all()
        for name in ("precision", "recall"):
            assert (best.per_user(f"{name}@{k}") >= result.per_user(f"{name}@{k}")).all()
    assert (best.per_user(f"recall@{ITEMS}") == 1).all()


@given(SEEDS)
def test_lists_are_distinct_leave_out_the_history_and_break_ties_by_row(seed):
    model, _ = world(seed)
    counts, seen = model.dataset.item_counts, model.dataset.seen_items.toarray() != 0
    lists = model.recommend(model.dataset.users.ids(), ITEMS)
    for user, rows in enumerate(lists.rows):
        unseen = np.flatnonzero(~seen[user])
        assert rows[rows >= 0].tolist() == sorted(unseen, key=lambda row: (-counts[row], row))


@given(SEEDS)
def test_everybody_in_the_test_part_is_judged_or_counted(seed):
    model, test, result = judged(seed)
    counts = result.counts
    assert counts["users"] == len(result.users) == len(result.per_user("ndcg@1"))
    assert counts["users"] + counts["users_unknown"] + counts["users_without_relevant"] == len(np.unique(test.user))
    assert counts["relevant"] + counts["repeats"] == len({*zip(test.user.tolist(), test.item.tolist(), strict=True)})
    for user in result.users:
        (row,) = model.dataset.users.encode([user])
        own = set(test.item[test.user == row].tolist())
        assert own - set(model.dataset.seen_items[[row]].indices.tolist())


@given(SEEDS, st.integers(1, 5))
def test_other_names_and_another_order_of_users_change_no_mean(seed, block):
    model, test, result = judged(seed)
    order = np.random.default_rng(seed).permutation(USERS)
    users = IdMap.from_ids(f"other{row}" for row in range(USERS))

    def renamed(part):
        return Interactions(users, IDS[1], order[part.user].astype(np.int32), part.item, part.weight)

    other = Popularity().fit(Dataset.from_interactions(renamed(model.dataset.interactions)))
    means = evaluate(other, renamed(test), k=KS, block=block).means
    assert dict(means) == pytest.approx(dict(result.means), abs=1e-12, nan_ok=True)


@given(SEEDS)
def test_a_comparison_mirrors_when_the_models_change_places(seed):
    rng = np.random.default_rng(seed)
    one, other = (EvaluationResult(tuple("abcdefgh"), {"ndcg@10": rng.random(8)}, {}, {}) for _ in range(2))
    (there,), (back,) = compare(one, other, resamples=200), compare(other, one, resamples=200)
    assert (back.ours, back.theirs, back.p_value) == (there.theirs, there.ours, there.p_value)
    assert (back.difference, back.effect_size) == pytest.approx((-there.difference, -there.effect_size))
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-9)
