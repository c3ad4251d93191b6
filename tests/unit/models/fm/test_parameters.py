"""The model equation: the fast form equals the sum over pairs, however the samples are put together."""

import numpy as np
import pytest

from recsys.data.features import FeatureMatrix
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters


def random_features(rng, n_rows, sizes, most=3):
    rows, features, values = [0], [], []
    n_features = sum(sizes)
    for _ in range(n_rows):
        chosen = np.sort(rng.permutation(n_features)[: rng.integers(0, most + 1)])
        features.extend(chosen)
        values.extend(rng.standard_normal(len(chosen)))
        rows.append(len(features))
    return FeatureMatrix(
        np.array(rows),
        np.array(features, np.int32),
        np.array(values, np.float32),
        tuple(f"f{k}" for k in range(len(sizes))),
        np.append(0, np.cumsum(sizes)),
    )


def random_design(rng, n=40):
    blocks = tuple(random_features(rng, rows, sizes) for rows, sizes in ((7, (5, 2)), (4, (3,)), (9, (2, 2, 4))))
    return Design(blocks, np.stack([rng.integers(0, len(b), n) for b in blocks], axis=1).astype(np.int32))


def random_parameters(rng, design, factors, field_weights):
    found = Parameters.random(design, factors, 1.0, rng)
    n_fields = len(design.fields)
    r = rng.standard_normal((n_fields, n_fields)).astype(np.float32)
    return Parameters(
        np.full(1, 0.5, np.float32),
        rng.standard_normal(design.n_features).astype(np.float32),
        found.vectors,
        factors,
        design.field_of,
        (r + r.T) / 2 if field_weights else None,
    )


def by_pairs(p, design):
    x = design.flat().to_csr().toarray().astype(np.float64)
    r = np.ones((99, 99)) if p.field_weights is None else p.field_weights
    y = p.bias + x @ p.weights
    for j in range(design.n_features):
        for k in range(j):
            weight = r[p.field_of[j], p.field_of[k]] * float(p.vectors[j].astype(np.float64) @ p.vectors[k])
            y += weight * x[:, j] * x[:, k]
    return y


@pytest.mark.parametrize("field_weights", [False, True])
@pytest.mark.parametrize("factors", [0, 1, 3, 8])
def test_prediction_is_the_sum_over_pairs(factors, field_weights):
    rng = np.random.default_rng(factors)
    design = random_design(rng)
    p = random_parameters(rng, design, factors, field_weights)
    np.testing.assert_allclose(p.predict(design), by_pairs(p, design), rtol=2e-5, atol=2e-5)
    flat = Design.of_rows(design.flat())
    np.testing.assert_allclose(p.predict(flat), p.predict(design), rtol=1e-5, atol=1e-5)


def test_field_weights_become_a_plain_machine_with_signs():
    rng = np.random.default_rng(1)
    design = random_design(rng)
    p = random_parameters(rng, design, 4, True)
    plain, signs = p.plain()
    assert (signs < 0).any()
    x = design.flat().to_csr().toarray().astype(np.float64)
    sums = x @ plain.vectors
    own = (x**2) @ (plain.vectors.astype(np.float64) ** 2)
    expected = p.bias + x @ p.weights + 0.5 * ((sums**2 - own) @ signs)
    np.testing.assert_allclose(p.predict(design), expected, rtol=1e-4, atol=1e-4)


def test_a_block_for_each_field_changes_nothing():
    rng = np.random.default_rng(3)
    design = random_design(rng)
    p = random_parameters(rng, design, 3, True)
    split = design.by_field()
    assert split.fields == design.fields
    assert len(split.blocks) == 6
    np.testing.assert_array_equal(split.field_of, design.field_of)
    np.testing.assert_allclose(p.predict(split), p.predict(design), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(split.flat().to_csr().toarray(), design.flat().to_csr().toarray())


def test_distinct_rows_are_found_once():
    rng = np.random.default_rng(4)
    few = random_features(rng, 6, (5, 3))
    many = few.take(rng.integers(0, 6, 100))
    rows, number = many.distinct()
    assert len(rows) <= 6
    np.testing.assert_array_equal(rows.take(number).to_csr().toarray(), many.to_csr().toarray())
