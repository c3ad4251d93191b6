"""Gibbs sampling: it leaves the joint distribution alone, recovers what was planted, and survives hostile input."""

import numpy as np
import pytest
from fm_problems import attributes, copied, ids, problem
from scipy.special import gammainc, ndtr
from scipy.stats import chisquare

from recsys.data.features import FeatureMatrix
from recsys.models.fm.design import Design
from recsys.models.fm.gibbs import HyperPrior, drawn, gibbs_epochs
from recsys.models.fm.implicit import implicit_epochs
from recsys.models.fm.least_squares import als_epochs
from recsys.models.fm.parameters import Parameters, average
from recsys.models.fm.posterior import Posterior


def sampled(
    design, targets, parameters, rng, *, iterations, loss="squared", weight=None, burn_in=0, factors=64, **more
):
    posterior = Posterior(design, burn_in, factors)
    losses = list(
        gibbs_epochs(
            design, targets, weight, parameters, loss=loss, iterations=iterations, posterior=posterior, threads=1,
            rng=rng, **more,
        )
    )  # fmt: skip
    return losses, posterior


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


def test_few_draws_are_averaged_as_they_are():
    design, _, rng = problem(factors=3)
    draws = [Parameters.random(design, 3, 1.0, rng) for _ in range(5)]
    posterior = Posterior(design, 1, 12)
    for draw in draws:
        posterior.add(draw)
    assert posterior.count == 4
    expected = average(draws[1:]).predict(design)
    np.testing.assert_allclose(posterior.mean().predict(design), expected, atol=1e-5)
    assert posterior.mean().vectors.ctypes.data % 64 == 0


def test_many_draws_of_one_machine_need_its_factors_only():
    design, parameters, rng = problem(factors=3)
    posterior = Posterior(design, 0, 4)
    for _ in range(40):
        rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)
        turned = copied(parameters)
        turned.vectors[:, :3] = parameters.vectors[:, :3] @ rotation
        posterior.add(turned)
    mean = posterior.mean()
    assert mean.factors == 4
    np.testing.assert_allclose(mean.predict(design), parameters.predict(design), atol=1e-4)


def test_what_is_left_out_of_the_mean_is_the_least_by_weighed_squares():
    design, _, rng = problem(factors=4)
    draws = [Parameters.random(design, 4, 1.0, rng) for _ in range(2)]
    posterior = Posterior(design, 0, 5)
    for draw in draws:
        posterior.add(draw)
    roots = np.sqrt(np.asarray((design.flat().to_csr() != 0).sum(axis=0)).ravel())[:, None]
    exact, kept = (roots * one.vectors.astype(np.float64) for one in (average(draws), posterior.mean()))
    left = np.linalg.eigvalsh(exact @ exact.T)[:-5]
    assert np.linalg.norm(exact @ exact.T - kept @ kept.T) == pytest.approx(np.linalg.norm(left), rel=1e-4)


def hostile(name):
    """Designs, targets and weights nobody should train on."""
    design, _, rng = problem(factors=5)
    targets, weight = rng.standard_normal(len(design)).astype(np.float32), None
    few = {"one sample": 1, "two samples": 2, "no sample": 0, "three samples of one pair": 1}.get(name)
    if few is not None:
        taken = np.zeros(3, np.int64) if "pair" in name else np.arange(few)
        design, targets = design.take(taken), targets[taken]
    if name == "constant targets":
        targets[:] = 1
    if name == "all targets zero":
        targets[:] = 0
    if name == "huge targets":
        targets *= 1e6
    if name == "tiny targets":
        targets *= 1e-12
    if name == "one outlier":
        targets[0] = 1e5
    if name == "weights of zero":
        weight = np.zeros(len(targets), np.float32)
    if name == "wild weights":
        weight = (10.0 ** rng.uniform(-8, 6, len(targets))).astype(np.float32)
    if name in ("huge values", "tiny values", "a constant feature", "an equal feature twice"):
        value = {"huge values": 1e4, "tiny values": 1e-8}.get(name, 1.0)
        columns = np.full((120, 2), value, np.float32) * (1 if "feature" in name else rng.random((120, 2)))
        features = FeatureMatrix(
            np.arange(0, 241, 2), np.tile([0, 1], 120).astype(np.int32), columns.ravel().astype(np.float32), ("x",),
            np.array([0, 2]),
        )  # fmt: skip
        design = Design.of_rows(features)
    if name == "empty rows":
        design = Design.of_rows(
            FeatureMatrix(
                np.zeros(121, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), ("x",), np.array([0, 3])
            )
        )
    if name == "no features":
        design = Design.of_rows(
            FeatureMatrix(np.zeros(121, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), (), np.array([0]))
        )
    if name == "everything in one row":
        design = Design(design.blocks, np.zeros_like(design.parts))
    if name == "an empty field":
        empty = FeatureMatrix(
            np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), ("none",), np.array([0, 0])
        )
        design = Design((*design.blocks, empty), np.column_stack([design.parts, np.zeros(120, np.int32)]))
    factors = {"no factors": 0, "more factors than samples": 130}.get(name, 5)
    return (
        design,
        targets,
        weight,
        Parameters.random(design, factors, 100.0 if name == "a far start" else 0.5, rng),
        rng,
    )


HOSTILE = (
    "one sample", "two samples", "no sample", "three samples of one pair", "constant targets", "all targets zero",
    "huge targets", "tiny targets", "one outlier", "weights of zero", "wild weights", "huge values", "tiny values",
    "a constant feature", "an equal feature twice", "empty rows", "no features", "everything in one row",
    "an empty field", "no factors", "more factors than samples", "a far start",
)  # fmt: skip


def finite(parameters):
    return all(np.isfinite(table).all() for table in (parameters.bias, parameters.weights, parameters.vectors))


@pytest.mark.parametrize("loss", ["squared", "probit"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_sampled_without_nan(name, loss):
    design, targets, weight, parameters, rng = hostile(name)
    targets = np.where(targets > 0, 1, -1).astype(np.float32) if loss == "probit" else targets
    losses, posterior = sampled(design, targets, parameters, rng, iterations=9, loss=loss, weight=weight)
    assert np.isfinite(losses).all()
    assert finite(parameters)
    assert finite(posterior.mean())


@pytest.mark.parametrize("regularization", [0.0, 1e10])
@pytest.mark.parametrize("loss", ["squared", "probit"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_fitted_without_nan(name, loss, regularization):
    design, targets, weight, parameters, _ = hostile(name)
    targets = np.where(targets > 0, 1, -1).astype(np.float32) if loss == "probit" else targets
    settings = {"regularization": regularization, "weight_regularization": regularization, "threads": 1}
    losses = list(als_epochs(design, targets, weight, parameters, loss=loss, iterations=9, **settings))
    assert np.isfinite(losses).all()
    assert finite(parameters)


@pytest.mark.parametrize("regularization", [0.0, 1e10])
@pytest.mark.parametrize("unobserved", [0.0, 1e-8, 1e4])
@pytest.mark.parametrize("confidence", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("n", [0, 1, 60])
def test_hostile_settings_of_icd_end_without_nan(n, confidence, unobserved, regularization):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 6, n, np.int32), rng.integers(0, 9, n, np.int32)
    parameters = Parameters.random(Design((ids(6), ids(9)), np.stack(rows, 1)), 5, 0.5, rng)
    losses = list(
        implicit_epochs(
            ids(6), rows[0], ids(9), rows[1], np.full(n, confidence, np.float32), parameters, iterations=12, threads=1,
            unobserved_weight=unobserved, regularization=regularization, weight_regularization=regularization,
        )
    )  # fmt: skip
    assert np.isfinite(losses).all()
    assert finite(parameters)
