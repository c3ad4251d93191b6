import numpy as np
import pytest

from recsys.errors import DataError
from recsys.evaluation import auc, compare, evaluate_clicks, evaluate_ratings, log_loss, mae, rmse

RNG = np.random.default_rng(0)
USERS = [f"u{row}" for row in RNG.integers(0, 30, 400)]
ACTUAL, PREDICTED = RNG.integers(1, 6, 400).astype(np.float32), RNG.uniform(1, 5, 400).astype(np.float32)
CLICKED, CHANCE = RNG.random(400) < 0.2, RNG.random(400)


def of(user):
    return np.array([one == user for one in USERS])


def test_each_user_has_the_value_of_the_own_pairs():
    ratings, clicks = evaluate_ratings(USERS, PREDICTED, ACTUAL), evaluate_clicks(USERS, CHANCE, CLICKED)
    assert ratings.users == clicks.users == tuple(sorted(set(USERS)))
    for row, user in enumerate(ratings.users):
        own = of(user)
        assert ratings.per_user("rmse")[row] == pytest.approx(rmse(PREDICTED[own], ACTUAL[own]))
        assert ratings.per_user("mae")[row] == pytest.approx(mae(PREDICTED[own], ACTUAL[own]))
        assert clicks.per_user("log_loss")[row] == pytest.approx(log_loss(CHANCE[own], CLICKED[own]))
        if 0 < CLICKED[own].sum() < own.sum():
            assert clicks.per_user("auc")[row] == pytest.approx(auc(CHANCE[own], CLICKED[own]))
    assert ratings.mean("rmse_of_pairs") == rmse(PREDICTED, ACTUAL)
    assert clicks.mean("auc_of_pairs") == auc(CHANCE, CLICKED)


def test_users_who_clicked_all_or_nothing_are_counted_and_left_out_of_the_mean_and_of_comparisons():
    users, chance = ["a", "a", "b", "b", "c", "c", "d"], np.array([0.9, 0.1, 0.2, 0.6, 0.5, 0.5, 0.5])
    clicked = np.array([True, False, True, False, True, False, True])
    result = evaluate_clicks(users, chance, clicked)
    np.testing.assert_array_equal(result.per_user("auc"), [1, 0, 0.5, np.nan])
    assert result.mean("auc") == 0.5
    assert result.counts == {"users": 4, "pairs": 7, "users_without_auc": 1}
    assert [one.n_users for one in compare(result, result)] == [3, 4]
    assert result.to_json()["means"]["auc"] == 0.5
    assert np.isnan(evaluate_clicks(["a"], chance[:1], clicked[:1]).mean("auc_of_pairs"))


def test_better_predictions_are_seen_in_a_comparison():
    sharper = (PREDICTED + ACTUAL) / 2
    one, other = compare(evaluate_ratings(USERS, sharper, ACTUAL), evaluate_ratings(USERS, PREDICTED, ACTUAL))
    for difference in (one, other):
        assert difference.high < 0
        assert difference.adjusted_p < 0.01


def test_users_must_fit_to_the_pairs():
    with pytest.raises(DataError, match="3 users do not fit to 400 pairs"):
        evaluate_ratings(USERS[:3], PREDICTED, ACTUAL)
