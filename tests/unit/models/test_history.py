"""Fold-in learnt from trained users: a planted map is found, newcomers fare nearly as if they had been trained."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.data import Dataset, Interactions
from recsys.data.synthetic import generate
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.models import BPR, BiasedMF
from recsys.models.history import fit_history_map
from recsys.query_features import QueryFeatures


def planted(centre, n_users=300, n_items=60, d=4, shrinkage=10.0, seed=0):
    """Users whose vectors and biases are an exact map of their items; some have nothing."""
    rng = np.random.default_rng(seed)
    y, bias = rng.normal(0, 1, (n_items, d)), rng.normal(0, 1, n_items)
    user_items = sp.random(n_users, n_items, 0.2, "csr", np.float32, rng, lambda n: rng.integers(1, 6, n))
    user_items = sp.diags((np.arange(n_users) >= 7).astype(np.float32)).tocsr() @ user_items
    user_items.eliminate_zeros()
    matrix, intercept = rng.normal(0, 1, (d + 1, d + 1)), rng.normal(0, 1, d + 1)
    points = np.tile(intercept, (n_users, 1))
    for row in range(n_users):
        own = slice(*user_items.indptr[row : row + 2])
        items, ratings = user_items.indices[own], user_items.data[own]
        x = np.ones(len(items)) if centre is None else ratings - centre - bias[items]
        s = sum((a * np.append(y[item], 1) for a, item in zip(x, items, strict=True)), np.zeros(d + 1))
        points[row] += s / (len(items) + shrinkage) @ matrix
    points = points.astype(np.float32)
    query = replace(QueryFeatures.nothing(n_users, d), user_bias=points[:, -1].copy())
    factors = Factors(points[:, :-1].copy(), y.astype(np.float32), bias.astype(np.float32), query=query)
    return factors, user_items, matrix, intercept


@pytest.mark.parametrize("centre", [None, 2.5])
def test_a_planted_map_is_found(centre):
    factors, user_items, matrix, intercept = planted(centre)
    found = fit_history_map(factors, user_items, centre=centre)
    assert (found.shrinkage, found.centre) == (10.0, centre)
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-3)
    np.testing.assert_allclose(found.intercept, intercept, atol=1e-3)
    for row in (0, 50, 299):  # as the server uses it
        own = slice(*user_items.indptr[row : row + 2])
        items, weights = user_items.indices[own], user_items.data[own]
        terms = found.terms(factors.item_vectors[items], factors.item_bias[items], weights)
        point = np.append(factors.user_vectors[row], factors.query.user_bias[row])
        np.testing.assert_allclose(found.intercept + terms.sum(axis=0) @ found.matrix, point, atol=1e-3)


@pytest.mark.parametrize("n_users", [0, 1, 2, 5, 30])
def test_however_few_users_there_are_the_map_is_finite(n_users):
    factors, user_items, *_ = planted(None, n_users=n_users + 7)
    found = fit_history_map(factors, user_items, centre=None)
    assert np.isfinite(found.matrix).all()
    assert np.isfinite(found.intercept).all()
    if not n_users:
        assert not found.matrix.any()
        assert not found.intercept.any()


def in_parts(interactions, seed=0):
    """Training part without the held-out users, their own training part, and what they did besides."""
    rng = np.random.default_rng(seed)
    held = (rng.random(len(interactions.users)) < 0.15)[interactions.user]
    test = rng.random(len(interactions)) < 0.25
    return [interactions.select(mask) for mask in (~held & ~test, held & ~test, held & test)]


def folded(model, histories):
    """Vector and bias of each user of these histories, from the map alone."""
    factors, points = model.export(), np.tile(model.export().fold_in.intercept, (histories.shape[0], 1))
    for row in range(len(points)):
        own = slice(*histories.indptr[row : row + 2])
        items, weights = histories.indices[own], histories.data[own]
        terms = factors.fold_in.terms(factors.item_vectors[items], factors.item_bias[items], weights)
        points[row] += terms.sum(axis=0) @ factors.fold_in.matrix
    return points


def recall(scores, histories, test, k=20):
    """Mean over the users of `test`; scores of shape (n_users, n_items)."""
    hits = []
    for row in np.unique(test.user):
        ranked = scores[row].copy()
        ranked[histories.indices[slice(*histories.indptr[row : row + 2])]] = -np.inf
        hits.append(np.isin(test.item[test.user == row], np.argsort(-ranked)[:k]).mean())
    return np.mean(hits)


def test_newcomers_of_bpr_get_lists_nearly_as_good_as_if_they_had_been_trained():
    every = generate(users=600, items=250, mean_history=25, categories=5, seed=2).interactions
    train, histories, test = in_parts(every)
    model = BPR(factors=16, iterations=20).fit(Dataset.from_interactions(train))
    trained = BPR(factors=16, iterations=20).fit(Dataset.from_interactions(train.join(histories))).export()
    own, factors = histories.to_csr(), model.export()
    scores = {
        "folded in": folded(model, own)[:, :-1] @ factors.item_vectors.T + factors.item_bias,
        "trained": trained.user_vectors @ trained.item_vectors.T + trained.item_bias,
        "popular": np.tile(model.dataset.item_counts, (len(every.users), 1)),
    }
    found = {name: recall(one, own, test) for name, one in scores.items()}
    assert found["folded in"] > 1.5 * found["popular"], found
    assert found["folded in"] > 0.9 * found["trained"], found


def test_newcomers_of_biased_mf_get_ratings_nearly_as_good_as_if_they_had_been_trained():
    every = rated(np.random.default_rng(3))
    train, histories, test = in_parts(every)
    settings = {"factors": 8, "iterations": 40, "learning_rate": 0.03, "regularization": 0.02}
    model = BiasedMF(**settings).fit(Dataset.from_interactions(train))
    trained = BiasedMF(**settings).fit(Dataset.from_interactions(train.join(histories)))
    factors, points = model.export(), folded(model, histories.to_csr())
    pairs = np.einsum("ij,ij->i", points[test.user, :-1], factors.item_vectors[test.item]) + points[test.user, -1]
    ids = test.users.ids(test.user), test.items.ids(test.item)
    found = {
        "folded in": factors.queries.predictions(pairs + factors.item_bias[test.item]),
        "trained": trained.predict(*ids),
        "item alone": model.predict(["nobody"] * len(test), ids[1]),
    }
    squares = {name: np.mean((one - test.weight) ** 2) for name, one in found.items()}
    assert squares["item alone"] - squares["folded in"] > 0.9 * (squares["item alone"] - squares["trained"]), squares


def rated(rng, n_users=300, n_items=90):
    ratings = 3 + rng.normal(0, 0.5, (n_users, 1)) + rng.normal(0, 0.5, n_items)
    ratings += rng.normal(0, 0.7, (n_users, 2)) @ rng.normal(0, 0.7, (2, n_items)) + rng.normal(0, 0.2, ratings.shape)
    user, item = (one.astype(np.int32) for one in np.nonzero(rng.random(ratings.shape) < 0.4))
    ids = [IdMap.from_ids(f"{prefix}{n}" for n in range(count)) for prefix, count in (("u", n_users), ("i", n_items))]
    return Interactions(*ids, user, item, ratings[user, item].astype(np.float32))
