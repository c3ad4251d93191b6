"""Estimates against the truth over many logs, and that the same checks catch estimators that are wrong.

Bounds are four standard errors of what is known of the world: one sound estimator in 16,000 would be refused.
"""

import os
from dataclasses import replace

import numpy as np
import pytest
from bandits import Bandit

from recsys.evaluation.off_policy import clipped_ips, doubly_robust, ips, snips

LOGS, ROWS = 1_000, 60
COVERED = 1_000 if os.environ.get("NIGHTLY") else 200
FEW = {"resamples": 50}
BANDIT = Bandit()

pytestmark = pytest.mark.filterwarnings("ignore::recsys.evaluation.off_policy.OffPolicyWarning")


@pytest.fixture(scope="module")
def logs():
    rng = np.random.default_rng(0)
    return [BANDIT.log(ROWS, rng) for _ in range(LOGS)]


def values(estimator, logs):
    return np.array([estimator(log, kind) for log, kind in logs])


def of(function, **more):
    return lambda log, kind: function(log, BANDIT.shown(log, kind), **more, **FEW).value


def robust(log, kind, model=None):
    return doubly_robust(log, BANDIT.shown(log, kind), **BANDIT.rewards(log, kind, model), **FEW).value


def off(estimates, variance):
    """Standard errors between the mean of the estimates and the truth."""
    return (estimates.mean() - BANDIT.value) / np.sqrt(variance / ROWS / len(estimates))


def test_ips_and_doubly_robust_are_unbiased_and_vary_as_they_must(logs):
    silly = np.full_like(BANDIT.clicks, 0.9)
    for estimates, model in (
        (values(of(ips), logs), 0.0),
        (values(robust, logs), BANDIT.model),
        (values(lambda log, kind: robust(log, kind, silly), logs), silly),
    ):
        variance = BANDIT.variance(model)
        assert abs(off(estimates, variance)) < 4
        assert estimates.var() * ROWS / variance == pytest.approx(1, abs=4 * np.sqrt(2 / LOGS))


WRONG = {
    "weights upside down": lambda log, target: ips(replace(log, propensity=target), log.propensity, **FEW),
    "no weights": lambda log, target: ips(log, log.propensity, **FEW),
    "propensities of a uniform logger": lambda log, target: ips(
        replace(log, propensity=0 * target + 1 / 6), target, **FEW
    ),
    "propensities too large": lambda log, target: ips(replace(log, propensity=log.propensity**0.8), target, **FEW),
    "rows without a reward lost": lambda log, target: ips(log.select(log.reward > 0), target[log.reward > 0], **FEW),
    "clipped": lambda log, target: clipped_ips(log, target, clip=1.5, **FEW),
    "a model that is never corrected": lambda log, target: ips(replace(log, reward=0 * target + 0.9), target, **FEW),
}


@pytest.mark.parametrize("bug", WRONG)
def test_the_check_catches_wrong_estimators(logs, bug):
    estimates = values(lambda log, kind: WRONG[bug](log, BANDIT.shown(log, kind)).value, logs)
    assert abs(off(estimates, BANDIT.variance())) > 4


def test_variance_falls_from_ips_to_snips_to_doubly_robust(logs):
    spread = {
        name: values(one, logs).var()
        for name, one in {
            "ips": of(ips),
            "snips": of(snips),
            "dr": robust,
            "clipped": of(clipped_ips, clip=1.5),
        }.items()
    }
    assert spread["dr"] < spread["snips"] < spread["ips"]
    assert spread["clipped"] < spread["ips"]


def test_snips_is_consistent():
    log, kind = BANDIT.log(100_000, np.random.default_rng(5))
    w = BANDIT.target / BANDIT.logger
    miss = BANDIT.clicks * (1 - BANDIT.value) ** 2 + (1 - BANDIT.clicks) * BANDIT.value**2
    error = np.sqrt((BANDIT.logger * w**2 * miss).sum(axis=1).mean() / len(log))
    assert abs(of(snips)(log, kind) - BANDIT.value) < 4 * error
    assert abs(of(snips)(replace(log, reward=1 - log.reward), kind) - BANDIT.value) > 4 * error


def coverage(bandit, users, per_user, forget_users=False):
    """Share of intervals that hold the truth, by estimator."""
    rng, hits = np.random.default_rng(2), {"ips": 0, "snips": 0, "dr": 0}
    for seed in range(COVERED):
        log, kind = bandit.log(users * per_user, rng, per_user)
        target, rewards = bandit.shown(log, kind), bandit.rewards(log, kind)
        if forget_users:
            log = replace(log, user=np.arange(len(log), dtype=np.int32))
        settings = {"resamples": 500, "seed": seed}
        for name, one in (
            ("ips", ips(log, target, **settings)),
            ("snips", snips(log, target, **settings)),
            ("dr", doubly_robust(log, target, **rewards, **settings)),
        ):
            hits[name] += one.low <= bandit.value <= one.high
    return {name: count / COVERED for name, count in hits.items()}


@pytest.mark.parametrize("per_user", [1, 4])
def test_intervals_cover_the_truth(per_user):
    shares = coverage(BANDIT, 600, per_user)
    print(f"{COVERED} simulations, {per_user} requests each user: {shares}")
    for name, share in shares.items():
        assert share == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / COVERED)), name


def test_intervals_that_forget_whose_requests_they_are_cover_too_little():
    kinds = Bandit(sharpness=0.2)
    kinds.clicks = np.linspace(0.05, 0.95, 5)[:, None] + 0 * kinds.clicks  # users differ, items do not
    assert coverage(kinds, 150, 4)["snips"] > 0.88 > coverage(kinds, 150, 4, forget_users=True)["snips"]
