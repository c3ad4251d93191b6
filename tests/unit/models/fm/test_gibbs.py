"""Gibbs sampling: it leaves the joint distribution alone, recovers what was planted, and survives hostile input."""

import numpy as np
import pytest
from fm_problems import attributes, copied, ids, problem, sampled
from scipy.special import gammainc, ndtr
from scipy.stats import chisquare

from recsys.data.features import FeatureMatrix
from recsys.models.fm.design import Design
from recsys.models.fm.gibbs import HyperPrior, drawn
from recsys.models.fm.parameters import Parameters


def simulated(loss, rng):
    """From the prior to data to a chain of a few sweeps, whose end is again a draw from the prior.

    Returns numbers in [0, 1] that are uniform if so: by name, the distribution function at what was drawn.
    """
    hyper, noise = HyperPrior(shape=8.0, rate=4.0, strength=4.0), 1.0
    n = int(rng.choice([3, 30]))  # where the prior speaks, and where the data do
    users = FeatureMatrix.side_by_side([ids(5), attributes(rng, 5, 2, density=0.7)])
    design = Design((users, ids(4)), rng.integers(0, 4, (n, 2), np.int32))
    parameters = Parameters.random(design, 2, 1.0, rng)
    weight = (rng.random(n, np.float32) + 0.5) if rng.random() < 0.5 else None
    root = 1 if weight is None else np.sqrt(weight)
    precision = rng.gamma(hyper.shape, 1 / hyper.rate, (3, 3))
    centre = rng.standard_normal((3, 3)) / np.sqrt(precision * hyper.strength)
    drawn_now = centre[design.field_of] + rng.standard_normal((11, 3)) / np.sqrt(precision[design.field_of])
    parameters.weights[:], parameters.vectors[:, :2] = drawn_now[:, 0], drawn_now[:, 1:]
    parameters.bias[:] = rng.standard_normal()
    if loss == "squared":
        noise = rng.gamma(hyper.shape, 1 / hyper.rate)
    targets = parameters.predict(design) + (rng.standard_normal(n) / root / noise**0.5).astype(np.float32)
    if loss == "probit":
        targets = np.sign(targets)
    sampled(design, targets, parameters, rng, iterations=6, loss=loss, weight=weight, hyper=hyper)
    error = float(np.sum((root * (targets - parameters.predict(design))) ** 2))
    after = drawn(parameters, noise, hyper, rng)
    precision = np.hstack([after.weight_precision, after.vector_precision[:, :2]]).astype(float)
    centre = np.hstack([after.weight_mean, after.vector_mean[:, :2]])
    table = np.column_stack([parameters.weights, parameters.vectors[:, :2]])
    return {
        "noise": gammainc(hyper.shape, hyper.rate * hyper.precision(n, np.array([error]), rng)),
        "precision": gammainc(hyper.shape, hyper.rate * precision).ravel(),
        "mean": ndtr(centre * np.sqrt(precision * hyper.strength)).ravel(),
        "bias": ndtr(parameters.bias),
        "weights": ndtr((table - centre[design.field_of]) * np.sqrt(precision[design.field_of]))[:, 0],
        "vectors": ndtr((table - centre[design.field_of]) * np.sqrt(precision[design.field_of]))[:, 1:].ravel(),
    }


@pytest.mark.parametrize("loss", ["squared", "probit"])
def test_sweeps_leave_the_joint_distribution_of_parameters_and_data_alone(loss):
    """Geweke 2004, Getting it right; Talts et al. 2018, Simulation-based calibration: a wrong variance shows here."""
    rng = np.random.default_rng(12)
    rounds = [simulated(loss, rng) for _ in range(500)]
    for name in rounds[0]:
        if loss == "squared" or name != "noise":
            uniform = np.concatenate([one[name] for one in rounds])
            counts = np.histogram(uniform, bins=20 if len(uniform) > 500 else 10, range=(0, 1))[0]
            assert chisquare(counts).pvalue > 1e-3, name
            spread = np.square(uniform - 0.5) - 1 / 12  # a wrong variance shows here first
            assert abs(spread.mean()) < 3.5 * (1 / 180 / len(uniform)) ** 0.5, name


def planted(rng, users=60, items=40, n=5000, factors=4):
    design = Design(
        (ids(users), ids(items)), np.stack([rng.integers(0, users, n), rng.integers(0, items, n)], 1).astype(np.int32)
    )
    truth = Parameters.random(design, factors, 1.0, rng)
    truth.weights[:] = 0.5 * rng.standard_normal(design.n_features)
    return design, truth.predict(design)


def test_planted_ratings_are_recovered_without_tuning():
    rng = np.random.default_rng(0)
    design, truth = planted(rng)
    targets = truth + rng.standard_normal(len(truth)).astype(np.float32)
    parameters = Parameters.random(design, 6, 0.3, rng)
    losses, posterior = sampled(design, targets, parameters, rng, iterations=60, burn_in=10)
    error = np.sqrt(np.mean((posterior.mean().predict(design) - truth) ** 2))
    assert error < 0.32  # of noise 1: as small as if it were known that 4 of the 6 factors are enough
    assert losses[-1] == pytest.approx(1, abs=0.15)


def test_weights_leave_zero_in_the_first_sweep():
    rng = np.random.default_rng(0)
    design = Design((ids(500),), rng.integers(0, 500, (10_000, 1), np.int32))
    truth = rng.standard_normal(500)
    targets = (truth[design.parts[:, 0]] + rng.standard_normal(len(design))).astype(np.float32)
    parameters = Parameters.random(design, 0, 0.0, rng)
    sampled(design, targets, parameters, rng, iterations=2)
    # A mean of 20 rows of noise 1 has a variance of 1/20, a draw around it as much again.
    assert np.mean((parameters.weights + parameters.bias - truth) ** 2) < 0.25


def test_planted_probabilities_are_recovered():
    rng = np.random.default_rng(0)
    design, truth = planted(rng, n=20_000)
    signs = np.where(rng.random(len(truth)) < ndtr(truth), 1, -1).astype(np.float32)
    parameters = Parameters.random(design, 4, 0.3, rng)
    losses, posterior = sampled(design, signs, parameters, rng, iterations=60, burn_in=10, loss="probit")
    assert np.abs(ndtr(posterior.mean().predict(design)) - ndtr(truth)).mean() < 0.06
    entropy = -np.mean(ndtr(truth) * np.log(ndtr(truth)) + ndtr(-truth) * np.log(ndtr(-truth)))
    assert losses[-1] == pytest.approx(entropy, rel=0.1)


def test_the_same_seed_gives_the_same_bits():
    design, start, rng = problem(factors=5)
    targets, means = rng.standard_normal(len(design)).astype(np.float32), []
    for _ in range(2):
        parameters = copied(start)
        means.append(sampled(design, targets, parameters, np.random.default_rng(4), iterations=20)[1].mean())
    assert np.array_equal(means[0].vectors, means[1].vectors)
