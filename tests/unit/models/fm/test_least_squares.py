"""Alternating least squares by mathematics: optima, known special cases, other ways to write the same data."""

import numpy as np
import pytest
from fm_problems import attributes, copied, dense, ids, problem
from scipy.special import log_ndtr

from recsys.data.features import FeatureMatrix
from recsys.errors import ConfigError
from recsys.models.fm.design import Design
from recsys.models.fm.hyperparameters import Hyperparameters
from recsys.models.fm.least_squares import als_epochs
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.sweeps import Sweep

SETTINGS = {"loss": "squared", "regularization": 0.5, "weight_regularization": 0.2, "iterations": 5, "threads": 1}


def targets_of(design, rng):
    return rng.standard_normal(len(design)).astype(np.float32)


def objective(design, targets, weight, parameters, regularization, weight_regularization):
    _, y, _ = dense(design, *(a.astype(np.float64) for a in (parameters.bias, parameters.weights, parameters.vectors)))
    penalty = regularization * (parameters.vectors.astype(float) ** 2).sum()
    penalty += weight_regularization * (parameters.weights.astype(float) ** 2).sum()
    return (weight @ (targets - y) ** 2 + penalty) / weight.sum()


@pytest.mark.parametrize("factors", [0, 1, 4, 6, 11])
@pytest.mark.parametrize("weighted", [True, False])
def test_no_sweep_raises_the_objective_which_is_what_is_yielded(factors, weighted):
    design, parameters, rng = problem(factors=factors)
    targets = targets_of(design, rng)
    weight = rng.random(len(design), np.float32) if weighted else np.ones(len(design), np.float32)
    last = objective(design, targets, weight, parameters, 0.5, 0.2)
    for loss in als_epochs(design, targets, weight if weighted else None, parameters, **SETTINGS | {"iterations": 20}):
        assert loss == pytest.approx(objective(design, targets, weight, parameters, 0.5, 0.2), rel=1e-5)
        assert loss <= last * (1 + 1e-6)
        last = loss
    assert not parameters.vectors[:, factors:].any()


def test_the_gradient_vanishes_at_the_end():
    design, parameters, rng = problem(factors=4)
    targets = targets_of(design, rng)
    settings = SETTINGS | {"regularization": 2.0, "weight_regularization": 1.0, "iterations": 1000}

    def gradient():
        v, w = parameters.vectors[:, :4].astype(np.float64), parameters.weights.astype(np.float64)
        x, y, h = dense(design, parameters.bias.astype(np.float64), w, v)
        e = targets - y
        return np.concatenate([(2.0 * v - np.einsum("n,njk->jk", e, h)).ravel(), w - x.T @ e, [e.sum()]])

    before = np.abs(gradient()).max()
    list(als_epochs(design, targets, None, parameters, **settings))
    assert np.abs(gradient()).max() < 3e-5 * before
    assert np.abs(parameters.vectors).max() > 0.1


@pytest.mark.parametrize("weighted", [True, False])
def test_a_feature_moves_to_the_solution_of_its_least_squares_problem(weighted):
    rng = np.random.default_rng(3)
    first = FeatureMatrix.side_by_side([attributes(rng, 6, 1, density=1.0), ids(6)])  # the feature, in every row
    design = Design((first, ids(5)), rng.integers(0, 5, (40, 2), np.int32))
    parameters = Parameters.random(design, 4, 1.0, rng)
    targets, weight = targets_of(design, rng), rng.random(40, np.float32) if weighted else None
    sweep = Sweep(design, targets, weight, parameters, 1)
    v = parameters.vectors[:, :4].astype(np.float64)
    _, y, h = dense(design, 0.0, np.zeros(12), v)
    root = np.ones(40) if weight is None else np.sqrt(weight.astype(np.float64))
    rest = (targets - y + h[:, 0] @ v[0]) * root
    system = np.vstack([h[:, 0] * root[:, None], np.sqrt(0.3) * np.eye(4)])
    expected = np.linalg.lstsq(system, np.append(rest, np.zeros(4)), rcond=None)[0]
    statistics = sweep._statistics(0, 0)
    sweep._stream(0, counted=(0, statistics))
    sweep._solve(0, 0, statistics, Hyperparameters.ridge(parameters, 0.3, 0.0), None)
    np.testing.assert_allclose(parameters.vectors[0, :4], expected, atol=2e-5)


@pytest.mark.parametrize("sampling", [True, False])
def test_blocks_fields_and_rows_written_out_are_the_same_machine(sampling):
    design, parameters, rng = problem(factors=6)
    targets, after = targets_of(design, rng), []
    hyper = Hyperparameters.ridge(parameters, 1.5, 0.7)
    for form in (design, design.by_field(), Design.of_rows(design.flat())):
        now = copied(parameters)
        sweep = Sweep(form, targets, None, now, 1)
        noise = np.random.default_rng(5) if sampling else None
        for _ in range(3):
            sweep.run(hyper, noise)
        after.append(now)
    for other in after[1:]:
        np.testing.assert_allclose(other.vectors, after[0].vectors, atol=2e-4)
        np.testing.assert_allclose(other.weights, after[0].weights, atol=2e-4)


def test_a_sample_that_weighs_two_is_two_samples():
    design, parameters, rng = problem()
    targets, again = targets_of(design, rng), np.append(np.arange(120), np.arange(40))
    other = copied(parameters)
    weight = np.where(np.arange(120) < 40, 2, 1).astype(np.float32)
    one = list(als_epochs(design, targets, weight, parameters, **SETTINGS))
    two = list(als_epochs(design.take(again), targets[again], None, other, **SETTINGS))
    np.testing.assert_allclose(one, two, rtol=1e-4)
    np.testing.assert_allclose(parameters.vectors, other.vectors, atol=1e-3)


def test_two_one_hot_fields_are_biased_matrix_factorization():
    rng = np.random.default_rng(0)
    design = Design((ids(8), ids(6)), rng.integers(0, 6, (50, 2), np.int32))
    parameters = Parameters.random(design, 4, 1.0, rng)
    t = targets_of(design, rng)
    mean, b, v = 0.0, np.zeros(14), parameters.vectors[:, :4].astype(np.float64)
    rows = design.parts + np.array([0, 8])

    def rest(without):
        pairs = np.einsum("nk,nk->n", v[rows[:, 0]], v[rows[:, 1]])
        return t - sum(
            part
            for name, part in (("m", mean), ("u", b[rows[:, 0]]), ("i", b[rows[:, 1]]), ("p", pairs))
            if name != without
        )

    for _ in range(3):
        mean = rest("m").mean()
        for side, name in enumerate("ui"):
            for row in np.unique(design.parts[:, side]) + 8 * side:
                here = rows[:, side] == row
                b[row] = rest(name)[here].sum() / (here.sum() + 0.2)
        for side in (0, 1):
            for row in np.unique(design.parts[:, side]) + 8 * side:
                here = rows[:, side] == row
                q = v[rows[here, 1 - side]]
                v[row] = np.linalg.solve(q.T @ q + 0.5 * np.eye(4), q.T @ rest("p")[here])
    list(als_epochs(design, t, None, parameters, **SETTINGS | {"iterations": 3}))
    seen = np.unique(rows)
    np.testing.assert_allclose(parameters.vectors[seen, :4], v[seen], atol=1e-4)
    np.testing.assert_allclose(parameters.weights[seen], b[seen], atol=1e-4)
    np.testing.assert_allclose(parameters.bias, mean, atol=1e-5)


def test_residuals_are_as_good_after_many_sweeps_as_anew():
    design, parameters, rng = problem(n=2000, factors=8)
    sweep = Sweep(design, targets_of(design, rng), None, parameters, 1)
    hyper = Hyperparameters.ridge(parameters, 1.0, 1.0)
    for _ in range(7):  # not a refresh among them
        sweep.run(hyper, rng)
    np.testing.assert_allclose(sweep.residuals, sweep.targets - parameters.predict(design), atol=3e-5)


def test_threads_change_no_bit():
    rng = np.random.default_rng(0)
    design = Design((ids(30), ids(20)), rng.integers(0, 20, (150_000, 2), np.int32))
    start, targets = Parameters.random(design, 4, 0.5, rng), targets_of(design, rng)
    after = []
    for threads in (1, 3):
        after.append(copied(start))
        list(als_epochs(design, targets, None, after[-1], **SETTINGS | {"iterations": 1, "threads": threads}))
    assert np.array_equal(after[0].vectors, after[1].vectors)


def test_probit_by_expectation_maximisation_finds_the_optimum():
    design, parameters, rng = problem(n=150, factors=2)
    signs = np.sign(rng.standard_normal(150)).astype(np.float32)
    settings = SETTINGS | {"loss": "probit", "regularization": 1.0, "weight_regularization": 1.0, "iterations": 300}
    losses = list(als_epochs(design, signs, None, parameters, **settings))
    assert (np.diff(losses) <= 1e-6).all()

    def value(weights):
        v = parameters.vectors[:, :2].astype(np.float64)
        _, y, _ = dense(design, parameters.bias.astype(np.float64), weights, v)
        return (-2 * log_ndtr(signs * y).sum() + (weights**2).sum() + (v**2).sum()) / 150

    w = parameters.weights.astype(np.float64)
    assert losses[-1] == pytest.approx(value(w), rel=1e-5)
    for j in range(len(w)):
        step = 0.05 * (np.arange(len(w)) == j)
        assert value(w + step) > value(w) < value(w - step)


def test_field_weights_are_refused():
    design, parameters, rng = problem()
    broken = Parameters(parameters.bias, parameters.weights, parameters.vectors, 4, parameters.field_of, np.eye(5))
    with pytest.raises(ConfigError, match="field weights"):
        next(als_epochs(design, targets_of(design, rng), None, broken, **SETTINGS))
