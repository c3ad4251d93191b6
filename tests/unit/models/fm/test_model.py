"""FactorizationMachine: what it publishes is what it learned, for every loss; contexts, the unknown, later events."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.data import Dataset, FeatureMatrix, Interactions, interactions_from_tuples
from recsys.errors import ConfigError, DataError, RecsysError
from recsys.models import FactorizationMachine
from recsys.models.fm.publish import rescaled, to_factors
from recsys.models.fm.solving import LINKS, SOLVERS
from recsys.models.queries import Queries
from recsys.query_features import predictions

MEALS = ("breakfast", "dinner")
KINDS = {f"i{n}": {"kind": MEALS[n % 2], "price": float(n)} for n in range(24)}
PEOPLE = {f"u{n}": {"diet": "meat" if n % 3 else "vegan"} for n in range(44)}


def eaten(n_users=40, n_items=20, seed=0, per_user=9):
    """At 8 people have what is for breakfast, at 20 what is for dinner; the ratings say so too."""
    rng = np.random.default_rng(seed)
    rows = {}
    for user in range(n_users):
        for _ in range(per_user):
            hour, item = (8, 20)[int(rng.integers(2))], int(rng.integers(n_items // 2)) * 2
            item += (hour == 20) if rng.random() < 0.9 else (hour == 8)
            rows[f"u{user}", f"i{item}"] = (float(3 + 2 * (item % 2 == user % 2)), hour)
    plain = interactions_from_tuples([(user, item, weight) for (user, item), (weight, _) in rows.items()])
    times = np.array([hour * 3600 for _, hour in rows.values()], np.int64)
    return Interactions(plain.users, plain.items, plain.user, plain.item, plain.weight, times)


def with_features(interactions):
    return Dataset.from_interactions(interactions).with_features(
        users=PEOPLE,
        user_fields=["diet"],
        items=KINDS,
        item_fields=["kind", "price:number"],
        context_fields=["hour"],
    )


@pytest.fixture(scope="module")
def dataset():
    return with_features(eaten())


WAYS = [{"loss": loss, "solver": solver} for loss, solvers in SOLVERS.items() for solver in solvers] + [
    {"loss": "logistic", "field_weights": True},
    {"loss": "squared", "solver": "sgd", "field_weights": True, "factors": 3},
    {"loss": "warp", "factors": 0},
    {"loss": "hinge", "factors": 0, "negatives": 2},
    {"loss": "probit", "negatives": 1},
    {"loss": "softmax", "sampling": "in_batch"},
    {"loss": "bpr", "sampling": "popularity"},
]


@pytest.mark.parametrize("settings", WAYS, ids=lambda one: "-".join(map(str, one.values())))
def test_what_is_published_predicts_what_was_learned(dataset, settings):
    model = FactorizationMachine(**{"factors": 4, "iterations": 8, **settings}).fit(dataset)
    problem, parameters = model.learned.problem, model.learned.parameters
    machine = rescaled(parameters, problem.scale)
    factors = to_factors(machine, problem.sides, LINKS.get(model.objective, "identity"), problem.scale)
    if model.solver != "gibbs":  # which publishes a mean, not where it ended
        np.testing.assert_array_equal(factors.user_vectors, model.export().user_vectors)
    model._factors = factors
    users, items = dataset.users.ids(problem.users), dataset.items.ids(problem.items)
    contexts = [{"hour": str(hour)} for hour in dataset.interactions.timestamp[problem.rows] // 3600]
    learned = predictions(
        machine.predict(problem.design()), factors.query.link, factors.query.lowest, factors.query.highest
    )
    np.testing.assert_allclose(model.predict(users, items, contexts), learned, rtol=1e-5, atol=1e-5)
    assert np.isfinite(model.loss).all()
    assert len(model.loss) == 8


def test_the_mean_of_draws_is_published(dataset):
    model = FactorizationMachine(factors=4, loss="squared", iterations=40).fit(dataset)
    assert model.export().width == 32
    errors = model.predict(*ids(dataset)) - dataset.interactions.weight
    assert float(np.mean(errors**2)) < 0.6 * dataset.interactions.weight.var()


def ids(dataset):
    return dataset.users.ids(dataset.interactions.user), dataset.items.ids(dataset.interactions.item)


@pytest.mark.parametrize(
    "settings", [{"loss": "warp"}, {"loss": "implicit", "regularization": 0.5}, {"loss": "softmax"}]
)
def test_the_hour_decides_what_is_offered(dataset, settings):
    model = FactorizationMachine(factors=4, iterations=30, **settings).fit(dataset)
    users = [f"u{n}" for n in range(40)]
    share = {}
    for hour in (8, 20):
        lists = model.recommend(users, k=3, context={"hour": hour}).lists()
        share[hour] = np.mean([KINDS[item]["kind"] == "dinner" for one in lists for item, _ in one])
    assert share[8] < 0.3 < 0.7 < share[20]
    each = model.recommend(users[:2], k=3, context=[{"hour": 8}, {"hour": 20}]).lists()
    assert each[0] == model.recommend(["u0"], k=3, context={"hour": 8}).lists()[0]
    assert each[1] == model.recommend(["u1"], k=3, context={"hour": 20}).lists()[0]


def test_a_field_that_is_not_given_counts_as_in_the_mean_of_training(dataset):
    model = FactorizationMachine(factors=4, loss="squared", solver="als", regularization=1.0).fit(dataset)
    factors, shares = model.export(), np.bincount(dataset.context_rows) / len(dataset.interactions)
    hours = [int(dataset.context.encoder.feature_name(j).split("=")[1]) for j in range(2)]
    share_of = {hour: shares[dataset.context.matrix.features[j]] for j, hour in enumerate(hours)}
    vectors = {hour: Queries.of(factors, np.array([3]), {"hour": hour}).vectors[0] for hour in hours}
    mean = sum(share_of[hour] * vectors[hour] for hour in hours)
    np.testing.assert_allclose(Queries.of(factors, np.array([3]), None).vectors[0], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(
        Queries.of(factors, np.array([3]), {"hour": 5}).vectors, Queries.of(factors, np.array([3]), None).vectors
    )


def test_an_item_nobody_has_is_known_by_its_attributes(dataset):
    model = FactorizationMachine(factors=4, iterations=40, regularization=0.01).fit(dataset)
    near = [item for item, _ in model.similar_items("i22", k=8).lists()[0]]
    assert np.mean([KINDS[item]["kind"] == "breakfast" for item in near]) >= 0.75
    everything = {item for one in model.recommend(["u1", "u2"], k=24).lists() for item, _ in one}
    assert {"i20", "i21", "i22", "i23"} <= everything


def test_somebody_nobody_knows_counts_as_average_with_the_attributes_given(dataset):
    model = FactorizationMachine(factors=4, loss="squared", solver="als", regularization=1.0).fit(dataset)
    vegan, meat = (model.predict(["stranger"], ["i1"], {"diet": diet})[0] for diet in ("vegan", "meat"))
    assert vegan != meat
    known = model.predict(["u1"], ["i1"], {"diet": "vegan"})  # trained with u1, and not counted twice
    np.testing.assert_array_equal(known, model.predict(["u1"], ["i1"]))
    assert np.isfinite(model.predict(["stranger", "u1"], ["nothing", "nothing"])).all()
    # The table has people without events: an average one with those attributes.
    np.testing.assert_allclose(
        model.predict(["u43"], ["i1"])[0], model.predict(["stranger"], ["i1"], PEOPLE["u43"])[0], rtol=1e-5
    )


LATER = [("newcomer", "i1", 5.0), ("newcomer", "novelty", 5.0), ("u0", "novelty", 4.0)]


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "warp"},
        {"loss": "logistic", "negatives": 2},
        {"loss": "squared", "solver": "als"},
        {"loss": "squared", "iterations": 60},
        {"loss": "implicit"},
    ],
)
def test_later_events_bring_new_users_and_items(dataset, settings):
    model = FactorizationMachine(factors=4, **settings).fit(dataset)
    others = ids(dataset)
    before = model.predict(*others)
    later = replace(interactions_from_tuples(LATER), timestamp=np.full(3, 72_000))
    model.partial_fit(later, iterations=3)
    assert len(model.loss) == 3
    assert len(model.dataset.interactions) == len(dataset.interactions) + 3
    assert "novelty" not in {item for item, _ in model.recommend(["newcomer"], k=5).lists()[0]}
    after = model.predict(*others)  # what was learned is gone on from, not forgotten
    assert np.corrcoef(before, after)[0, 1] > 0.95


def test_training_goes_on_from_an_earlier_model_with_other_ids(dataset):
    earlier = FactorizationMachine(factors=4, loss="squared", solver="als", regularization=1.0).fit(dataset)
    fewer = with_features(eaten().select(np.arange(200)))
    anew = FactorizationMachine(factors=4, loss="squared", solver="als", regularization=1.0, iterations=1).fit(fewer)
    on = FactorizationMachine(factors=4, loss="squared", solver="als", regularization=1.0, iterations=1)
    on.fit(fewer, start=earlier)
    assert on.loss[0] < anew.loss[0]


def test_sample_weights_act_like_repeats(dataset):
    twice = np.ones(len(dataset.interactions), np.float32)
    twice[:50] = 2
    again = dataset.interactions.select(np.append(np.arange(len(twice)), np.arange(50)))
    settings = {"factors": 2, "loss": "squared", "solver": "als", "regularization": 1.0, "iterations": 60}
    weighted = FactorizationMachine(**settings).fit(
        Dataset.from_interactions(dataset.interactions), sample_weight=twice
    )
    repeated = FactorizationMachine(**settings).fit(Dataset.from_interactions(again))
    np.testing.assert_allclose(weighted.predict(*ids(dataset)), repeated.predict(*ids(dataset)), atol=0.05)


HOSTILE = [
    {"loss": loss, "solver": solver, **extreme}
    for loss, solvers in SOLVERS.items()
    for solver in solvers
    for extreme in (
        {"learning_rate": 1e8, "regularization": 0.0},
        {"regularization": 1e8},
        {"factors": 0, "learning_rate": 1e-30},
    )
]


@pytest.mark.parametrize("settings", HOSTILE, ids=lambda one: "-".join(map(str, one.values())))
@pytest.mark.parametrize("weights", ["as they are", "huge"])
def test_no_settings_and_no_weights_end_in_nan(dataset, settings, weights):
    data = dataset
    if weights == "huge":
        plain = dataset.interactions
        data = Dataset.from_interactions(replace(plain, weight=plain.weight * np.float32(1e25)))
    model = FactorizationMachine(**{"factors": 3, "iterations": 6, **settings})
    try:
        model.fit(data)
    except RecsysError:
        with pytest.raises(ConfigError, match="not fitted"):
            model.recommend(["u0"])
        return
    assert np.isfinite(model.predict(*ids(data))).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "cosine"}, "loss is one of squared"),
        ({"loss": "warp", "solver": "gibbs"}, "solved by adagrad or sgd"),
        ({"iterations": 0}, "at least 1"),
        ({"factors": -1}, "0 or more"),
        ({"loss": "squared", "burn_in": 20}, "leave no draw"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"regularization": float("nan")}, "0 or more, all finite"),
        ({"momentum": 1.0}, "below 1"),
        ({"sampling": "hard"}, "sampling is one of"),
        ({"field_weights": True}, "field_weights are learned by"),
    ],
)
def test_settings_that_cannot_be_used(settings, message):
    with pytest.raises(ConfigError, match=message):
        FactorizationMachine(**settings)


def test_data_that_cannot_be_learned(dataset):
    negative = interactions_from_tuples([("a", "x", -1.0), ("b", "y", 1.0)])
    with pytest.raises(DataError, match="negative weights"):
        FactorizationMachine().fit(Dataset.from_interactions(negative))
    with pytest.raises(DataError, match="sample_weight"):
        FactorizationMachine().fit(dataset, sample_weight=np.ones(3, np.float32))
    with pytest.raises(ConfigError, match="needs a dataset"):
        FactorizationMachine().fit_rows(FeatureMatrix.of_ids(np.zeros(2, np.int32), 1, "a"), np.ones(2, np.float32))
    fitted = FactorizationMachine(iterations=1).fit(dataset)
    with pytest.raises(ConfigError, match="knows no field 'moon'; it knows"):
        fitted.recommend(["u0"], context={"moon": "full"})
    with pytest.raises(ConfigError, match="one mapping for all"):
        fitted.recommend(["u0"], context=[{}, {}])
