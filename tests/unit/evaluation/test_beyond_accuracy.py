import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation.beyond_accuracy import (
    coverage,
    exposure,
    gini,
    intra_list_diversity,
    list_means,
    popularity_lift,
    self_information,
)

ROWS = np.array([[0, 2], [2, -1], [-1, -1]], np.int32)


def test_exposure_and_coverage_take_in_the_whole_catalogue():
    shown = exposure(ROWS, 5)
    assert shown.tolist() == [1, 0, 2, 0, 0]
    assert coverage(shown) == 2 / 5
    assert exposure(np.full((3, 2), -1), 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("shown", "expected"), [([3, 3, 3], 0), ([0, 0, 0, 7], 3 / 4), ([1, 3], 1 / 4), ([0, 1, 2], 4 / 9), ([5], 0)]
)
def test_gini_by_hand(shown, expected):
    assert gini(np.array(shown)) == pytest.approx(expected, abs=1e-15)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_gini_is_half_the_relative_mean_difference(shown):
    x = np.array(shown)
    assert gini(x) == pytest.approx(np.abs(x[:, None] - x).mean() / (2 * x.mean()), abs=1e-12)


def test_nothing_shown_has_no_inequality():
    assert math.isnan(gini(np.zeros(3, np.int64)))
    assert coverage(np.zeros(3, np.int64)) == 0


def test_self_information_of_an_item_nobody_has_is_the_largest_finite_one():
    information = self_information(np.array([8, 2, 1, 0], np.float32), 8)
    assert information.tolist() == [0, 2, 3, 3]


def test_list_means_leave_padding_out():
    means = list_means(ROWS, np.array([1, 10, 4, 10, 10], np.float64))
    np.testing.assert_array_equal(means, [2.5, 4, np.nan])


def test_popularity_lift_by_hand():
    lists, profiles = np.array([6, 2, np.nan, 9.0]), np.array([3, 1, 5, np.nan])
    assert popularity_lift(lists, profiles) == 1
    assert popularity_lift(profiles, profiles) == 0
    assert math.isnan(popularity_lift(lists[2:], profiles[2:]))


GENRES = sp.csr_matrix(np.array([[1, 0, 0], [3, 0, 0], [0, 2, 0], [1, 1, 0], [0, 0, 0]], np.float32))


def test_diversity_by_hand():
    rows = np.array([[0, 1, -1], [0, 2, -1], [0, 1, 2], [0, 3, -1], [0, 4, 2], [0, 4, -1], [-1, -1, -1]])
    expected = [0, 1, 2 / 3, 1 - 0.5**0.5, 1, np.nan, np.nan]
    np.testing.assert_allclose(intra_list_diversity(rows, GENRES), expected, atol=1e-15)


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_diversity_is_the_mean_over_all_pairs_in_any_order(seed, k):
    rng = np.random.default_rng(seed)
    features = sp.random_array((9, 4), density=0.6, format="csr", rng=rng)
    rows = np.argsort(rng.random((5, 9)), axis=1)[:, :k]
    values = intra_list_diversity(rows, features)
    dense = features.toarray()
    for one, value in zip(rows, values, strict=True):
        known = [dense[row] / np.linalg.norm(dense[row]) for row in one if dense[row].any()]
        distances = [1 - a @ b for a, b in itertools.combinations(known, 2)]
        assert value == pytest.approx(np.mean(distances), abs=1e-12) if distances else np.isnan(value)
    np.testing.assert_allclose(intra_list_diversity(rows[:, ::-1], features), values, atol=1e-12)
    assert np.nanmax(values, initial=0) <= 1 + 1e-12
