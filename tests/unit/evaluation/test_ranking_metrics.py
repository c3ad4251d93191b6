import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation.ranking_metrics import RANKING_METRICS, ndcg

HITS = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
N_RELEVANT = np.array([3, 1, 2, 6])
LOG3, LOG5 = math.log2(3), math.log2(5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("precision", [2 / 4, 1 / 4, 0, 1]),
        ("recall", [2 / 3, 1, 0, 4 / 6]),
        ("hit_rate", [1, 1, 0, 1]),
        ("mrr", [1, 1 / 2, 0, 1]),
        ("map", [(1 + 2 / 3) / 3, 1 / 2, 0, 1]),
        ("ndcg", [(1 + 1 / 2) / (1 + 1 / LOG3 + 1 / 2), 1 / LOG3, 0, 1]),
    ],
)
def test_by_hand(name, expected):
    values = RANKING_METRICS[name](HITS, N_RELEVANT)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, expected, rtol=1e-15)


def test_a_shorter_list_is_a_slice():
    np.testing.assert_allclose(ndcg(HITS[:, :2], N_RELEVANT), [1 / (1 + 1 / LOG3), 1 / LOG3, 0, 1])


def test_ndcg_discount_of_the_last_rank():
    assert ndcg(np.array([[0, 0, 0, 1]], bool), np.array([1]))[0] == pytest.approx(1 / LOG5)


@st.composite
def lists(draw):
    """Hits of 1 to 6 users over k ranks, and how many items are relevant to each in all."""
    k = draw(st.integers(1, 8))
    hits = np.array(draw(st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=1, max_size=6)))
    missed = np.array(draw(st.lists(st.integers(0, 9), min_size=len(hits), max_size=len(hits))))
    return hits, np.maximum(hits.sum(axis=1) + missed, 1)


@given(lists(), st.sampled_from(sorted(RANKING_METRICS)))
def test_between_zero_and_one_and_zero_only_without_hits(case, name):
    hits, n_relevant = case
    values = RANKING_METRICS[name](hits, n_relevant)
    assert ((values >= 0) & (values <= 1)).all()
    np.testing.assert_array_equal(values == 0, ~hits.any(axis=1))


@given(st.integers(1, 30), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_a_perfect_list_gives_exactly_one(k, n_relevant):
    n_relevant = np.array(n_relevant)
    hits = np.arange(k) < n_relevant[:, None]
    for name in ("hit_rate", "mrr", "map", "ndcg"):
        assert (RANKING_METRICS[name](hits, n_relevant) == 1).all()
    assert (RANKING_METRICS["precision"](hits, n_relevant)[n_relevant >= k] == 1).all()
    assert (RANKING_METRICS["recall"](hits, n_relevant)[n_relevant <= k] == 1).all()


@given(lists())
def test_reversing_changes_only_what_looks_at_ranks(case):
    hits, n_relevant = case
    for name in ("precision", "recall", "hit_rate"):
        metric = RANKING_METRICS[name]
        np.testing.assert_array_equal(metric(hits, n_relevant), metric(hits[:, ::-1], n_relevant))
    hits = np.sort(hits, axis=1)[:, ::-1]
    for name in ("mrr", "map", "ndcg"):
        metric = RANKING_METRICS[name]
        best, worst = metric(hits, n_relevant), metric(hits[:, ::-1], n_relevant)
        uneven = hits.any(axis=1) & ~hits.all(axis=1)
        assert (best[uneven] > worst[uneven]).all()
        np.testing.assert_array_equal(best[~uneven], worst[~uneven])


@given(lists(), st.data(), st.sampled_from(sorted(RANKING_METRICS)))
def test_pushing_in_an_irrelevant_item_never_raises_a_value(case, data, name):
    hits, n_relevant = case
    rank = data.draw(st.integers(0, hits.shape[1] - 1))
    pushed = np.insert(hits, rank, False, axis=1)[:, :-1]
    metric = RANKING_METRICS[name]
    assert (metric(pushed, n_relevant) <= metric(hits, n_relevant)).all()


@given(lists(), st.randoms(use_true_random=False), st.sampled_from(sorted(RANKING_METRICS)))
def test_a_users_value_does_not_depend_on_the_others(case, random, name):
    hits, n_relevant = case
    order = list(range(len(hits)))
    random.shuffle(order)
    metric = RANKING_METRICS[name]
    np.testing.assert_array_equal(metric(hits, n_relevant)[order], metric(hits[order], n_relevant[order]))
    np.testing.assert_array_equal(metric(hits, n_relevant)[:1], metric(hits[:1], n_relevant[:1]))
