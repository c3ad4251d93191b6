"""From the parameters of a factorization machine to `Factors`: one dot product for any query and item."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.features import FeatureMatrix, Features
from recsys.encoding import Encoder
from recsys.factors import Factors
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.sides import Sides
from recsys.models.queries import summed
from recsys.models.ratings import Scale
from recsys.query_features import QueryFeatures


def rescaled(parameters: Parameters, scale: Scale | None) -> Parameters:
    """Return the machine that predicts ratings where the given one predicts them at mean 0 and deviation 1."""
    if scale is None:
        return parameters
    return replace(
        parameters,
        bias=(parameters.bias * scale.deviation + scale.mean).astype(np.float32),
        weights=parameters.weights * np.float32(scale.deviation),
        vectors=parameters.vectors * np.float32(scale.deviation**0.5),
    )


def to_factors(parameters: Parameters, sides: Sides, link: str, scale: Scale | None) -> Factors:
    """Reduce a machine to `Factors`; its scores are the machine's predictions.

    With p the sum of x_j v_j over the features of a query and q that of an item, everything but ``<p, q>`` belongs to
    one of them alone (Rendle 2010): ``sum w_j x_j + 1/2 (|p|^2 - sum x_j^2 |v_j|^2)`` is a constant of the query, and
    the same of the item is its bias. An id without interactions counts as the mean of those with some.

    Parameters
    ----------
    parameters : Parameters
        In units of the targets.
    sides : Sides
    link : {"identity", "logistic", "probit"}
        From a prediction to what is reported.
    scale : Scale, optional
        Of ratings; predictions are held within their range.
    """
    plain, signs = _cold_as_mean(parameters, sides.cold).plain()
    width, n_ids = plain.factors, len(sides.dataset.users)
    signs = np.ascontiguousarray(signs[:width])
    first_item = len(plain.weights) - sides.items.n_features
    users, items = slice(0, sides.users.n_features), slice(first_item, None)
    user_vectors, user_bias = _summed(sides.users, plain, users, signs)
    item_vectors, item_bias = _summed(sides.items, plain, items, signs)
    mean_vector, mean_weight = _mean_id(plain, slice(0, n_ids), sides.cold)
    data, rest = sides.dataset, slice(n_ids, first_item)
    usual = _usual_fields(plain, sides)
    query = QueryFeatures(
        user_encoder=Encoder.fit([], []) if data.user_features is None else data.user_features.encoder,
        context_encoder=Encoder.fit([], []) if data.context is None else data.context.encoder,
        weights=np.append(plain.weights[rest], usual[:, 0]),
        vectors=np.concatenate([plain.vectors[rest, :width], usual[:, 1 : width + 1]]),
        signs=signs,
        bias=float(plain.bias[0]),
        user_bias=user_bias,
        mean_user=np.ascontiguousarray(mean_vector[:width]),
        mean_user_bias=float(mean_weight),
        link=link,
        lowest=-np.inf if scale is None else scale.lowest,
        highest=np.inf if scale is None else scale.highest,
    )
    return Factors(user_vectors, np.ascontiguousarray(item_vectors * signs), item_bias, query=query)


def _usual_fields(p: Parameters, sides: Sides) -> NDArray[np.float32]:
    """Weight and vector of each field of users and contexts in the mean of training, shape (n_fields, 1 + padded d).

    A user with interactions counts once, a context with every interaction in it.
    """
    data, table = sides.dataset, np.column_stack([p.weights, p.vectors]).astype(np.float64)
    means = [np.zeros((0, table.shape[1]))]
    given: list[tuple[Features | None, NDArray[Any], int]] = []
    given.append((data.user_features, ~sides.cold[: len(data.users)], len(data.users)))
    if data.context_rows is not None and data.context is not None:
        occurs = np.bincount(data.context_rows, minlength=len(data.context.matrix))
        given.append((data.context, occurs, sides.users.n_features))
    for features, weight, first in given:
        if features is not None:
            share = features.matrix.to_csr().T @ (weight / weight.sum())
            here = table[first : first + len(share)] * share[:, None]
            fields = np.equal.outer(np.arange(len(features.matrix.fields)), features.matrix.field_of)
            means.append(fields @ here)
    return np.concatenate(means).astype(np.float32)


def _cold_as_mean(parameters: Parameters, cold: NDArray[np.bool_]) -> Parameters:
    """Give each cold id the mean of the warm ids of its field."""
    weights, vectors = parameters.weights.copy(), parameters.vectors.copy()
    for field in np.unique(parameters.field_of[cold]):
        ids = np.flatnonzero(parameters.field_of == field)
        vector, weight = _mean_id(parameters, slice(ids[0], ids[-1] + 1), cold)
        weights[ids[cold[ids]]], vectors[ids[cold[ids]]] = weight, vector
    return replace(parameters, weights=weights, vectors=vectors)


def _mean_id(p: Parameters, ids: slice, cold: NDArray[np.bool_]) -> tuple[NDArray[np.float32], np.float32]:
    """Mean vector and weight of the ids that have interactions."""
    warm = ~cold[ids]
    if not warm.any():
        return np.zeros(p.vectors.shape[1], np.float32), np.float32(0)
    vector, weight = (a[ids][warm].mean(axis=0, dtype=np.float64).astype(np.float32) for a in (p.vectors, p.weights))
    return vector, weight


def _summed(
    rows: FeatureMatrix, p: Parameters, here: slice, signs: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sum of vectors of each row, and everything in y that belongs to the row alone."""
    x = rows.to_csr().astype(np.float64)
    sums, alone = summed(x, p.weights[here], p.vectors[here, : p.factors], signs)
    return np.ascontiguousarray(sums, np.float32), np.ascontiguousarray(alone, np.float32)
