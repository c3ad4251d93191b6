"""Coordinate descent on what nobody should train on: it ends, and without NaN."""

import numpy as np
import pytest
from fm_problems import ids, problem, sampled

from recsys.data.features import FeatureMatrix
from recsys.models.fm.design import Design
from recsys.models.fm.implicit import implicit_epochs
from recsys.models.fm.least_squares import als_epochs
from recsys.models.fm.parameters import Parameters


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
