"""Coordinate descent over all pairs against the same with every pair written out."""

import numpy as np
import pytest
from fm_problems import attributes, copied, ids

from recsys.data.features import FeatureMatrix
from recsys.models.fm.design import Design
from recsys.models.fm.hyperparameters import Hyperparameters
from recsys.models.fm.implicit import implicit_epochs
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.sweeps import Sweep

UNOBSERVED, REGULARIZATION, WEIGHT_REGULARIZATION = 0.3, 0.4, 0.2


def problem(factors, seed=0, n=25):
    rng = np.random.default_rng(seed)
    query = FeatureMatrix.side_by_side([ids(8), attributes(rng, 8, 3)])
    items = FeatureMatrix.side_by_side([ids(6), attributes(rng, 6, 4, ones=True)])
    rows = rng.integers(0, 8, n, np.int32), rng.integers(0, 6, n, np.int32)
    confidence = (5 * rng.random(n)).astype(np.float32)
    design = Design((query, items), np.stack(rows, axis=1))
    parameters = Parameters.random(design, factors, 0.7, rng)
    parameters.weights[:] = 0.2 * rng.standard_normal(design.n_features)
    parameters.bias[:] = 0.1
    return (query, rows[0], items, rows[1], confidence), design, parameters


def written_out(design, confidence):
    """Every pair once more with target 0 and the weight of what is not observed."""
    pairs = np.stack(np.meshgrid(*(np.arange(len(block)) for block in design.blocks), indexing="ij"), axis=-1)
    pairs = pairs.reshape(-1, 2).astype(np.int32)
    targets = np.append(np.ones(len(design)), np.zeros(len(pairs))).astype(np.float32)
    weight = np.append(confidence, np.full(len(pairs), UNOBSERVED)).astype(np.float32)
    return Design(design.blocks, np.concatenate([design.parts, pairs])), targets, weight


def epochs(arguments, parameters, iterations):
    return implicit_epochs(
        *arguments, parameters, unobserved_weight=UNOBSERVED, regularization=REGULARIZATION,
        weight_regularization=WEIGHT_REGULARIZATION, iterations=iterations, threads=1,
    )  # fmt: skip


@pytest.mark.parametrize("factors", [0, 3, 4, 9])
def test_sweeps_are_those_of_all_pairs_written_out(factors):
    arguments, design, parameters = problem(factors)
    everything, targets, weight = written_out(design, arguments[-1])
    dense = copied(parameters)
    sweep = Sweep(everything, targets, weight, dense, 1)
    hyper = Hyperparameters.ridge(dense, REGULARIZATION, WEIGHT_REGULARIZATION)
    for _ in epochs(arguments, parameters, 10):  # a refresh among them
        sweep.run(hyper)
        np.testing.assert_allclose(parameters.vectors, dense.vectors, atol=2e-4)
        np.testing.assert_allclose(parameters.weights, dense.weights, atol=2e-4)
        np.testing.assert_allclose(parameters.bias, dense.bias, atol=2e-5)


@pytest.mark.parametrize("factors", [0, 5])
def test_the_loss_is_that_of_all_pairs_and_never_rises(factors):
    arguments, design, parameters = problem(factors)
    everything, targets, weight = written_out(design, arguments[-1])
    last = np.inf
    for loss in epochs(arguments, parameters, 30):
        error = weight @ (targets - parameters.predict(everything).astype(np.float64)) ** 2
        penalty = REGULARIZATION * (parameters.vectors.astype(float) ** 2).sum()
        penalty += WEIGHT_REGULARIZATION * (parameters.weights.astype(float) ** 2).sum()
        assert loss == pytest.approx((error + penalty) / arguments[-1].sum(), rel=1e-5)
        assert loss <= last * (1 + 1e-6)
        last = loss
