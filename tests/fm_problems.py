"""Small designs with blocks that repeat, attributes with values, and dense answers in float64."""

import numpy as np
import scipy.sparse as sp

from recsys.data.features import FeatureMatrix
from recsys.models.fm.design import Design
from recsys.models.fm.gibbs import gibbs_epochs
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.posterior import Posterior


def attributes(rng, n_rows, n_features, density=0.5, ones=False, name="attributes"):
    """One field of sparse random values."""
    x = rng.random((n_rows, n_features)) < density
    matrix = sp.csr_matrix((x if ones else x * rng.standard_normal(x.shape)).astype(np.float32))
    offsets = np.array([0, n_features])
    return FeatureMatrix(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data, (name,), offsets)


def ids(n, name="ids"):
    return FeatureMatrix.of_ids(np.arange(n, dtype=np.int32), n, name)


def problem(seed=0, n=120, users=9, items=7, contexts=3, factors=4, length=0.7):
    """Users and items with attributes, and contexts; parameters that are not zero anywhere."""
    rng = np.random.default_rng(seed)
    blocks = (
        FeatureMatrix.side_by_side([ids(users), attributes(rng, users, 3)]),
        FeatureMatrix.side_by_side([ids(items), attributes(rng, items, 4, ones=True)]),
        ids(contexts),
    )
    parts = np.stack([rng.integers(0, len(block), n) for block in blocks], axis=1).astype(np.int32)
    design = Design(blocks, parts)
    parameters = Parameters.random(design, factors, length, rng)
    parameters.weights[:] = 0.3 * rng.standard_normal(design.n_features)
    return design, parameters, rng


def copied(parameters):
    arrays = (parameters.bias.copy(), parameters.weights.copy(), parameters.vectors.copy())
    return Parameters(*arrays, parameters.factors, parameters.field_of)


def dense(design, bias, weights, vectors):
    """``y``, and what it is linear in by each vector: h of shape (n, n_features, d), all in float64."""
    x = design.flat().to_csr().toarray().astype(np.float64)
    q = x @ vectors
    y = bias + x @ weights + 0.5 * ((q**2).sum(1) - (x**2) @ (vectors**2).sum(1))
    return x, y, x[:, :, None] * (q[:, None, :] - x[:, :, None] * vectors)


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
