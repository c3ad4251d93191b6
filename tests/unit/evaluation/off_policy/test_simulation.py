"""From a shop whose truth is known to an estimate of lists it never showed."""

import numpy as np
import pytest

from recsys.data import Dataset
from recsys.data.synthetic import generate
from recsys.errors import ConfigError
from recsys.evaluation.off_policy import EpsilonGreedy, cross_fit, doubly_robust, ips, simulate_impressions, snips
from recsys.models import ImplicitALS, Popularity

MADE = generate(users=120, items=24, mean_history=5, categories=4, seed=3, taste_concentration=0.3)
DATA = Dataset.from_interactions(MADE.interactions)
K = 3

pytestmark = pytest.mark.filterwarnings("ignore::recsys.evaluation.off_policy.OffPolicyWarning")


@pytest.fixture(scope="module")
def logger():
    return EpsilonGreedy(Popularity().fit(DATA), k=K, epsilon=0.5)


@pytest.fixture(scope="module")
def als():
    return EpsilonGreedy(ImplicitALS(factors=8, iterations=5, seed=0).fit(DATA), k=K, epsilon=0.0)


def within(estimate, truth, sigmas=4.0):
    """Half a 95 % interval is 1.96 standard errors."""
    return abs(estimate.value - truth) < sigmas * (estimate.high - estimate.low) / (2 * 1.96)


def test_the_log_is_what_the_truth_says(logger):
    simulated = simulate_impressions(MADE, logger, requests=40_000, seed=0)
    logged = simulated.logged
    per_request = np.bincount(logged.request_numbers, logged.reward)
    error = per_request.std() / np.sqrt(len(per_request))
    assert abs(per_request.mean() - simulated.value(logger)) < 4 * error
    assert logged.propensity == pytest.approx(logger.probabilities(logged))
    again = simulate_impressions(MADE, logger, requests=40_000, seed=0).logged
    assert (again.item == logged.item).all()
    assert (again.reward == logged.reward).all()
    with pytest.raises(ConfigError, match="requests"):
        simulate_impressions(MADE, logger, requests=0, seed=0)


def test_als_is_judged_by_the_log_of_popularity(logger, als):
    simulated = simulate_impressions(MADE, logger, requests=40_000, seed=1)
    logged, truth = simulated.logged, simulated.value(als)
    target = als.probabilities(logged)
    exact = {
        "predicted": simulated.reward(logged.user, logged.item, logged.places),
        "expected": als.expected(logged, simulated.reward),
    }
    for estimate in (
        ips(logged, target, resamples=500),
        snips(logged, target, resamples=500),
        doubly_robust(logged, target, **exact, resamples=500),
    ):
        assert within(estimate, truth)
        assert estimate.low > simulated.value(logger)  # and not at what the logger is worth


def remembered(part):
    """Fit by heart: the mean reward of each user, item and position, else of all."""
    shape = (len(part.users), len(part.items), K)
    cells = np.ravel_multi_index((part.user, part.item, part.places), shape)
    count, total = (np.bincount(cells, values, np.prod(shape)) for values in (None, part.reward))
    means = np.where(count > 0, total / np.maximum(count, 1), part.reward.mean()).reshape(shape)
    return lambda user, item, position: means[user, item, position]


def test_a_model_fitted_by_heart_misleads_unless_it_is_cross_fitted(logger, als):
    values = {"cross-fitted": [], "on itself": []}
    few = EpsilonGreedy(als.model, k=K, epsilon=0.5)
    for seed in range(150):
        logged = simulate_impressions(MADE, logger, requests=300, seed=seed).logged
        reward, target = remembered(logged), few.probabilities(logged)
        itself = reward(logged.user, logged.item, logged.places), few.expected(logged, reward)
        for name, (predicted, expected) in {
            "cross-fitted": cross_fit(logged, few, remembered, seed=seed),
            "on itself": itself,
        }.items():
            one = doubly_robust(logged, target, predicted=predicted, expected=expected, resamples=50)
            values[name].append(one.value)
    truth = simulate_impressions(MADE, logger, requests=1, seed=0).value(few)
    off = {name: (np.mean(one) - truth) / (np.std(one) / np.sqrt(len(one))) for name, one in values.items()}
    assert abs(off["cross-fitted"]) < 4
    assert abs(off["on itself"]) > 4
