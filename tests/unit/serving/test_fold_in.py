"""Fold-in by a map of histories, as a request does it: by the formula in `HistoryMap`, written out."""

from dataclasses import replace

import numpy as np
import pytest
from world import RULE, World

from recsys.data import Dataset, interactions_from_tuples
from recsys.models import BPR, BiasedMF
from recsys.weights import WeightRule

MODELS = {
    "biased_mf": (lambda: BiasedMF(factors=4, iterations=10), WeightRule(duplicates="last")),
    "bpr": (lambda: BPR(factors=4, iterations=10), RULE),
}


@pytest.fixture(params=MODELS)
def world(request, tmp_path):
    rng = np.random.default_rng(5)
    pairs = {(f"u{u}", f"i{i}"): float(rng.integers(1, 6)) for u in range(60) for i in rng.integers(0, 20, 6)}
    make, rule = MODELS[request.param]
    model = make().fit(Dataset.from_interactions(interactions_from_tuples([(u, i, w) for (u, i), w in pairs.items()])))
    world = World(tmp_path, rule=rule)
    world.publish(model)
    world.model, world.factors = model, model.export()
    return world


def summary(world, events):
    """Return s of the docstring for (item, merged weight) pairs."""
    factors, total = world.factors, 0.0
    for item, weight in events:
        row = world.model.dataset.items.row(item)
        y = np.append(factors.item_vectors[row].astype(np.float64), 1)
        total = total + y * (1 if factors.fold_in.centre is None else weight - 0.0 - factors.item_bias[row])
    return total / (len(events) + factors.fold_in.shrinkage)


def served(world, user):
    """Raw scores of all items, and what they should be for a point."""
    items = world.model.dataset.items.ids()
    found = world.service.scores("shop", user, items)
    assert found.strategy == "fold_in"
    lists = world.service.recommend("shop", user, 99)
    assert lists.strategy == "fold_in"
    return np.array([one.raw_score for one in found.items])


def expected(world, point):
    return world.factors.item_bias + world.factors.item_vectors.astype(np.float64) @ point[:-1] + point[-1]


def test_a_newcomer_is_the_intercept_and_the_map_of_their_items(world):
    events = [("i3", 5.0), ("i7", 1.0), ("i1", 4.0)]
    for item, value in events:
        world.send("newcomer", item, value=value)
    fold_in = world.factors.fold_in
    point = fold_in.intercept + summary(world, events) @ fold_in.matrix
    np.testing.assert_allclose(served(world, "newcomer"), expected(world, point), atol=1e-5)


def test_somebody_trained_moves_by_what_has_changed(world):
    dataset, fold_in = world.model.dataset, world.factors.fold_in
    row = dataset.users.row("u4")
    own = dataset.user_items[row]
    before = [(dataset.items.id(i), float(w)) for i, w in zip(own.indices, own.data, strict=True)]
    item = next(one for one in dataset.items.ids() if one not in dict(before))
    world.send("u4", item, value=5.0)
    published = np.append(world.factors.user_vectors[row], world.factors.queries.user_bias[row]).astype(np.float64)
    change = summary(world, [*before, (item, 5.0)]) - summary(world, before)
    np.testing.assert_allclose(served(world, "u4"), expected(world, published + change @ fold_in.matrix), atol=1e-5)


def test_what_the_rule_merges_into_the_same_history_changes_nothing(world):
    dataset = world.model.dataset
    own = dataset.user_items[dataset.users.row("u4")]
    items = dataset.items.ids()
    before = world.service.scores("shop", "u4", items)
    assert before.strategy == world.model.kind
    world.send("u4", dataset.items.id(int(own.indices[0])), value=float(own.data[0]))
    np.testing.assert_allclose(served(world, "u4"), [one.raw_score for one in before.items], atol=1e-5)


def test_a_weight_of_zero_is_a_rating_but_no_sign_of_interest(world):
    world.send("newcomer", "i3", value=0.0)
    assert world.service.recommend("shop", "newcomer", 5).strategy == (
        "fold_in" if world.model.kind == "biased_mf" else "popular"
    )


@pytest.mark.parametrize("world", ["biased_mf"], indirect=True)
def test_ratings_are_predicted_within_their_range(world):
    users, items = world.model.dataset.users.ids(), world.model.dataset.items.ids()
    for user in users[:9]:
        found = [one.score for one in world.service.scores("shop", user, items).items]
        np.testing.assert_allclose(found, world.model.predict([user] * len(items), items), atol=1e-5)
    world.send("fan", *items, value=50.0)
    scores = world.service.scores("shop", "fan", items).items
    assert max(one.score for one in scores) == 5.0 < max(one.raw_score for one in scores)


@pytest.mark.parametrize("world", ["biased_mf"], indirect=True)
@pytest.mark.parametrize("scale", [1, 1e12])
def test_a_monstrous_rating_still_gets_a_list_of_numbers(world, scale):
    model = world.loader.current("shop")
    fold_in = model.factors.fold_in
    steep = fold_in._replace(matrix=fold_in.matrix * np.float32(scale))
    object.__setattr__(model, "factors", replace(model.factors, fold_in=steep))
    for user in ("mad", "u4"):
        world.send(user, "i3", "i4", value=1e30)
        assert np.isfinite([one.score for one in world.service.recommend("shop", user, 10).items]).all()
        scores = world.service.scores("shop", user, ["i3", "i5"], explain=True).items
        assert np.isfinite([one.raw_score for one in scores]).all()
