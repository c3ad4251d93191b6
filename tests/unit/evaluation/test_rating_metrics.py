"""Errors of predicted ratings and clicks, by hand and by definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import DataError
from recsys.evaluation.rating_metrics import auc, auc_by_user, log_loss, mae, rmse


def test_by_hand():
    predicted, actual = np.array([1.0, 2.0, 6.0], np.float32), np.array([2.0, 2.0, 2.0], np.float32)
    assert rmse(predicted, actual) == pytest.approx((17 / 3) ** 0.5)
    assert mae(predicted, actual) == pytest.approx(5 / 3)


def test_large_float32_ratings_do_not_overflow():
    far = np.full(10, 1e38, np.float32)
    assert rmse(far, -far) == pytest.approx(2e38)


@pytest.mark.parametrize("metric", [rmse, mae, auc, log_loss])
@pytest.mark.parametrize("shapes", [((0,), (0,)), ((2,), (3,)), ((2, 1), (2, 1)), ((2, 1), (2,))])
def test_what_is_not_pairs_is_refused(metric, shapes):
    with pytest.raises(DataError, match="not pairs"):
        metric(*(np.ones(shape) for shape in shapes))


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), min_size=1, max_size=40)


def by_pairs(scores, clicked):
    """Every click against every impression without one."""
    above = [(a > b) + (a == b) / 2 for a in scores[clicked] for b in scores[~clicked]]
    return sum(above) / len(above) if above else math.nan


@given(PAIRS)
def test_auc_is_the_share_of_pairs_in_order_and_no_user_changes_anothers(pairs):
    rows, scores, clicked = (np.array(column) for column in zip(*pairs, strict=True))
    expected = [by_pairs(scores[rows == user], clicked[rows == user]) for user in range(rows.max() + 1)]
    values = auc_by_user(rows, scores / 5, clicked)
    np.testing.assert_allclose(values, expected, atol=1e-12)
    np.testing.assert_allclose(auc_by_user(rows, -scores / 5, clicked), 1 - values, atol=1e-12)
    if clicked.any() and not clicked.all():
        assert auc(scores / 5, clicked) == pytest.approx(by_pairs(scores, clicked))
        assert auc(np.exp(scores), clicked) == auc(scores / 5, clicked)
    else:
        with pytest.raises(DataError, match="no AUC where all were clicked or none"):
            auc(scores / 5, clicked)


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="not a number"):
        auc(np.array([0.1, np.nan]), np.array([True, False]))


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.floats(0, 1))
def test_the_share_of_clicks_has_the_least_log_loss_of_all_constants(clicks, other):
    clicked = np.array(clicks)
    share = clicked.mean()
    entropy = -sum(p * math.log(p) for p in (share, 1 - share) if p)
    least = log_loss(np.full(len(clicks), share), clicked)
    assert least == pytest.approx(entropy, abs=1e-12)
    assert log_loss(np.full(len(clicks), other), clicked) >= least - 1e-12


def test_log_loss_of_certain_errors_is_large_and_finite_and_odd_numbers_are_refused():
    assert log_loss(np.array([0.0, 1.0]), np.array([True, False])) == pytest.approx(52 * math.log(2))
    for odd in (-0.1, 1.1, np.nan):
        with pytest.raises(DataError, match=r"no probability. Give numbers from 0 to 1"):
            log_loss(np.array([0.5, odd]), np.array([True, False]))
