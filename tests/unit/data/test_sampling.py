"""Negatives: pairs nobody made, drawn as asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import Dataset, balanced_weights, interactions_from_tuples, sample_negatives
from recsys.errors import ConfigError

PAIRS = st.sets(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), min_size=1)
STRATEGIES = ("uniform", "popularity", "in_batch")


def make(pairs):
    return Dataset.from_interactions(interactions_from_tuples([(user, item, 1.0) for user, item in pairs]))


@given(PAIRS, PAIRS, st.sampled_from(STRATEGIES), st.integers(0, 9))
def test_no_user_has_a_negative_and_somebody_has(pairs, disliked, strategy, seed):
    everything = sorted(pairs | {(user, item) for user, item in disliked if user in {u for u, _ in pairs}})
    interactions = make(sorted(pairs)).interactions
    dataset = Dataset.from_interactions(interactions, make(everything).interactions)
    dataset = dataset.with_features(items={"cold": {"tags": ["x"]}}, item_fields=["tags"])

    row, item = sample_negatives(dataset, 3, strategy=strategy, seed=seed)
    user = dataset.interactions.user[row]

    known = {item for _, item in pairs}
    for one in zip(dataset.users.ids(user), dataset.items.ids(item), strict=True):
        assert one not in set(everything) & {(u, i) for u in "abcdef" for i in known}
        assert one[1] in known
    assert (row.dtype, item.dtype) == (np.int64, np.int32)
    # Who lacks a single item that somebody has gets it, but for a chance below 1 in a million.
    lacking = {u for u, _ in pairs if known - {i for v, i in everything if v == u}}
    if strategy == "uniform":
        assert lacking == set(dataset.users.ids(user))


def test_the_same_seed_draws_the_same_pairs():
    dataset = make([(f"u{n}", f"i{n * n % 17}") for n in range(60)])
    first, again, other = (sample_negatives(dataset, 2, seed=seed) for seed in (1, 1, 2))

    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1, 1, 1]),
        ({"strategy": "popularity", "exponent": 1.0}, [1, 4, 9]),
        ({"strategy": "popularity", "exponent": 0.5}, [1, 2, 3]),
        ({"strategy": "in_batch"}, [1, 4, 9]),
    ],
)
def test_items_are_drawn_in_the_proportion_asked_for(settings, expected):
    pairs = [(f"{item}{n}", item) for item, count in (("a", 1), ("b", 4), ("c", 9)) for n in range(count)]
    row, item = sample_negatives(make([*pairs, ("new", "d")]), 20_000, seed=3, **settings)

    counts = np.bincount(item[row == len(pairs)], minlength=4)

    assert counts.sum() == 20_000
    assert counts[:3] / 20_000 == pytest.approx(np.array(expected) / np.sum(expected), abs=0.012)


def test_negatives_are_drawn_for_the_interactions_asked_for():
    dataset = make([("a", "x"), ("b", "y"), ("c", "z")])
    row, _ = sample_negatives(dataset, 4, rows=np.array([0, 2]))
    assert row.tolist() == [0] * 4 + [2] * 4


def test_who_has_everything_gets_no_negative():
    row, item = sample_negatives(make([("a", "x"), ("a", "y"), ("b", "x")]), 5)
    assert set(zip(row.tolist(), item.tolist(), strict=True)) == {(2, 1)}
    assert len(sample_negatives(make([("a", "x")]), 5)[0]) == 0


def test_balanced_weights_make_both_labels_count_alike():
    labels = np.array([True, False, False, False])
    weights = balanced_weights(labels)
    assert weights.dtype == np.float32
    assert weights[labels].sum() == pytest.approx(weights[~labels].sum())
    assert weights.mean() == pytest.approx(1)
    assert balanced_weights(np.ones(3, bool)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("per_positive", "settings"), [(0, {}), (1, {"strategy": "hard"}), (1, {"strategy": "popularity", "exponent": -1})]
)
def test_settings_that_cannot_be_used_are_refused(per_positive, settings):
    with pytest.raises(ConfigError):
        sample_negatives(make([("a", "x")]), per_positive, **settings)
