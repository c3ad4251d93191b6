"""Contexts, attributes and sessions: served numbers are those of the whole factorization machine, written out."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from machine import COUNTRIES, N_ITEMS, Machine
from world import World

from recsys.encoding import Encoder
from recsys.errors import DataError, StorageError, UnknownItemError
from recsys.models import ImplicitALS
from recsys.serving import MemoryOnlineStore, RecommendationService, SessionEvent
from recsys.serving.paging import Reading

THREE_PM = 15 * 3600.0
CONTEXTS = ({}, {"device": "phone"}, {"hour": "3"}, {"device": "desktop", "hour": "23"}, {"device": "fridge"})
ITEMS = [f"i{n}" for n in range(N_ITEMS)]


@pytest.fixture(scope="module")
def machine():
    return Machine()


@pytest.fixture
def world(tmp_path, machine):
    world = World(tmp_path, clock=lambda: THREE_PM)
    world.publish(machine)
    return world


def by_pairs(machine, terms, item):
    """Sum over pairs in float64; `terms` are (x, w, v) of the query's features, as `known_terms` gives them."""
    plain, signs = machine.parameters.plain()
    block, first = machine.blocks[1], machine.blocks[0].n_features
    entries = slice(*block.indptr[item : item + 2])
    for feature, x in zip(block.features[entries] + first, block.values[entries], strict=True):
        terms = [*terms, (float(x), float(plain.weights[feature]), plain.vectors[feature].astype(np.float64))]
    y = float(plain.bias[0]) + sum(x * w for x, w, _ in terms)
    for j, (x_j, _, v_j) in enumerate(terms):
        y += sum(x_j * x_l * float((v_j * signs) @ v_l) for x_l, _, v_l in terms[:j])
    return y


def asked_terms(machine, attributes, context):
    plain, _ = machine.parameters.plain()
    n_users = len(machine.dataset.users)
    starts = (n_users, machine.blocks[0].n_features + machine.blocks[1].n_features)
    for encoder, record, start in ((machine.users, attributes, starts[0]), (machine.context, context, starts[1])):
        for feature, x in zip(*encoder.encode_one(record), strict=True):
            at = int(feature) + start
            yield float(x), float(plain.weights[at]), plain.vectors[at].astype(np.float64)


def mean_user(machine):
    plain, _ = machine.parameters.plain()
    n = len(machine.dataset.users)
    return 1.0, float(plain.weights[:n].mean()), plain.vectors[:n].astype(np.float64).mean(axis=0)


@pytest.mark.parametrize("context", CONTEXTS)
def test_scores_are_those_of_the_whole_machine(world, machine, context):
    for row in (0, 1, 17, 39):
        found = world.service.scores("shop", f"u{row}", ITEMS, context=context)
        expected = machine.y(row, {"hour": "15", **context}, range(N_ITEMS))
        np.testing.assert_allclose([one.raw_score for one in found.items], expected, rtol=1e-5, atol=1e-5)
        assert (found.strategy, [one.item for one in found.items]) == ("fm", ITEMS)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("attributes", [{}, {"country": "it"}, {"age": 33}, {"country": "at", "age": 5.5}])
def test_somebody_unknown_is_the_mean_user_with_the_attributes_they_bring(world, machine, attributes, context):
    found = world.service.scores("shop", "stranger", ITEMS, context={**attributes, **context})
    terms = [mean_user(machine), *asked_terms(machine, attributes, {"hour": "15", **context})]
    expected = [by_pairs(machine, terms, item) for item in range(N_ITEMS)]
    np.testing.assert_allclose([one.raw_score for one in found.items], expected, rtol=1e-5, atol=1e-5)
    assert found.strategy == "context"


@pytest.mark.parametrize("user", ["u5", "stranger"])
def test_lists_rank_by_the_scores(world, user):
    context = {"device": "desktop"}
    found = world.service.recommend("shop", user, N_ITEMS, context=context)
    items = [one.item for one in found.items]
    scores = world.service.scores("shop", user, items, context=context)
    raw = np.array([one.raw_score for one in scores.items])
    assert (np.diff(raw) <= 1e-5).all()
    # What does not depend on the item is left out of a list.
    differences = raw - np.array([one.score for one in found.items])
    np.testing.assert_allclose(differences, differences[0], atol=1e-5)
    assert found.strategy == scores.strategy == ("fm" if user == "u5" else "context")


def test_the_context_changes_the_list_and_the_clock_fills_in_the_time(world):
    lists = {hour: world.service.recommend("shop", "u5", 10, context={"hour": hour}).items for hour in ("15", "3")}
    assert world.service.recommend("shop", "u5", 10).items == lists["15"] != lists["3"]
    world.service.clock = lambda: 3 * 3600.0
    assert world.service.recommend("shop", "u5", 10).items == lists["3"]
    assert world.service.recommend("shop", "u5", 10, context={"hour": None}).items not in lists.values()


def test_attributes_of_a_known_user_are_those_of_training(world):
    plain = world.service.recommend("shop", "u5", 10)
    for country in COUNTRIES:
        assert world.service.recommend("shop", "u5", 10, context={"country": country, "age": 99}) == plain
    strangers = {world.service.recommend("shop", "x", 10, context={"country": one}).items for one in COUNTRIES}
    assert len(strangers) == 3


def test_of_somebody_nobody_knows_anything_about_popular_items_are_all_there_is(world):
    popular = world.service.popular("shop", 10)
    for user in ("stranger", None):
        assert world.service.recommend("shop", user, 10) == popular
        assert world.service.recommend("shop", user, 10, context={"device": "phone"}).strategy == "context"


@pytest.mark.parametrize("user", ["u5", "stranger", None])
@pytest.mark.parametrize(
    ("context", "field", "reason"),
    [
        ({"weather": "rain"}, "weather", "knows no field 'weather'; it knows device, hour, country, age"),
        ({"device": ["phone"]}, "device", "no value of a field of the kind category"),
        ({"device": {"a": 1}}, "device", "no value of a field of the kind category"),
        ({"age": "old"}, "age", "'old' is no number"),
        ({"age": 1e300}, "age", "is no number"),
    ],
)
def test_a_context_the_model_cannot_read_names_the_field(world, user, context, field, reason):
    for ask in (
        lambda: world.service.recommend("shop", user, 5, context=context),
        lambda: world.service.scores("shop", user, ["i1"], context=context),
    ):
        with pytest.raises(DataError, match=reason) as caught:
            ask()
        assert caught.value.field == f"context.{field}"


def test_a_model_without_features_knows_no_context(tmp_path, machine):
    world = World(tmp_path)
    world.publish(ImplicitALS(factors=4).fit(machine.dataset))
    with pytest.raises(DataError, match="'device'; it knows none"):
        world.service.recommend("shop", "u5", 5, context={"device": "phone"})
    found = world.service.scores("shop", "u5", ITEMS)
    assert {one.score - one.raw_score for one in found.items} == {0}
    ranked = {one.item: one.score for one in world.service.recommend("shop", "u5", 99).items}
    for one in found.items:
        assert ranked.get(one.item, one.score) == pytest.approx(one.score, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "formula"),
    [
        ({"link": "logistic"}, lambda y: 1 / (1 + math.exp(-y))),
        ({"link": "probit"}, lambda y: 0.5 * (1 + math.erf(y / 2**0.5))),
        ({"lowest": -1.0, "highest": 0.9}, lambda y: min(max(y, -1.0), 0.9)),
        ({}, lambda y: y),
    ],
)
def test_a_score_is_the_prediction_and_the_raw_score_what_it_is_made_from(tmp_path, settings, formula):
    world = World(tmp_path)
    world.publish(Machine(**settings))
    found = world.service.scores("shop", "u5", ITEMS, context={"device": "phone"})
    for one in found.items:
        assert one.score == pytest.approx(formula(one.raw_score), rel=1e-9)
    assert len({one.score for one in found.items}) > 3


@pytest.mark.parametrize("user", ["u5", "stranger", "newcomer", "u7"])
def test_an_explanation_sums_to_the_raw_score(world, user):
    world.send("newcomer", "i3", "i4", "i3", "i9")
    world.send("u7", "i1", "i2")
    found = world.service.scores("shop", user, ITEMS, context={"device": "phone", "country": "it"}, explain=True)
    for one in found.items:
        assert sum(part.value for part in one.contributions) == pytest.approx(one.raw_score, abs=1e-9)
    names = [(part.source, part.name) for part in found.items[0].contributions]
    expected = [("bias", ""), ("item", ""), ("user", ""), ("context", "device=phone"), ("context", "hour=15")]
    unknown = user in ("stranger", "newcomer")
    expected[3:3] = [("context", "country=it"), ("context", "age not given")] if unknown else []
    assert names[:3] == expected[:3]
    assert set(names[: len(expected)]) == set(expected)
    history = {name for source, name in names if source == "history"}
    assert history >= {"newcomer": {"i3", "i4", "i9"}, "u7": {"i1", "i2"}}.get(user, set())
    assert bool(history) == (user in ("newcomer", "u7"))
    assert len(names) == len(set(names)) == len(expected) + len(history)


def test_without_being_asked_for_there_is_no_explanation(world):
    assert world.service.scores("shop", "u5", ["i1"]).items[0].contributions == ()


def test_an_explanation_names_the_largest_of_a_long_history(tmp_path):
    world = World(tmp_path)
    world.publish(Machine(seed=1))
    world.send("keen", *ITEMS)
    one = world.service.scores("shop", "keen", ["i1"], explain=True).items[0]
    history = [part for part in one.contributions if part.source == "history"]
    assert (len(history), history[-1].name) == (21, "")
    assert sum(part.value for part in one.contributions) == pytest.approx(one.raw_score, abs=1e-9)
    sizes = [abs(part.value) for part in history[:-1]]
    assert sizes == sorted(sizes, reverse=True)


def test_an_explanation_names_the_largest_of_many_features(tmp_path):
    """What an answer weighs is bounded: 500 items times the 700 words of a context were 26 MB."""
    world, made = World(tmp_path), Machine(seed=1).export()
    words = Encoder.fit(["words:hashed:9"], [{"words": "a"}])
    fields = len(made.query.user_encoder.names) + 1
    rng, n = np.random.default_rng(0), made.query.user_encoder.n_features + words.n_features + fields
    weights, vectors = (rng.standard_normal(shape).astype(np.float32) for shape in ((n,), (n, made.width)))
    factors = replace(made, query=replace(made.query, context_encoder=words, weights=weights, vectors=vectors))
    world.publish(SimpleNamespace(kind="fm", dataset=Machine(seed=1).dataset, export=lambda: factors))
    context = {"words": [f"w{n}" for n in range(200)]}
    for one in world.service.scores("shop", "u5", ITEMS, context=context, explain=True).items:
        parts = [part for part in one.contributions if part.source == "context"]
        assert (len(parts), parts[-1].name) == (21, "")
        assert all(part.name.startswith("words=#") for part in parts[:-1])
        assert sum(part.value for part in one.contributions) == pytest.approx(one.raw_score, abs=1e-9)


def test_the_history_of_least_squares_is_explained_too(tmp_path, machine):
    world = World(tmp_path)
    world.publish(ImplicitALS(factors=4, alpha=3.0).fit(machine.dataset))
    world.send("u5", "i1")
    one = world.service.scores("shop", "u5", ["i2"], explain=True).items[0]
    assert sum(part.value for part in one.contributions) == pytest.approx(one.raw_score, abs=1e-9)
    assert any(part.value for part in one.contributions if part.source == "history")


def test_events_of_a_session_count_as_if_they_were_stored_but_are_not(world):
    session = [SessionEvent("i3"), SessionEvent("i4"), SessionEvent("nothing")]
    for user in (None, "stranger", "u5"):
        found = world.service.recommend("shop", user, 10, events=session)
        assert found.strategy == "fold_in"
        assert not {"i3", "i4"} & {one.item for one in found.items}
    stored = {user: world.service.recommend("shop", user, 10, events=session).items for user in ("stranger", "u5")}
    assert world.service.recommend("shop", "stranger", 10).strategy == "popular"
    for user, items in stored.items():
        world.send(user, "i3", "i4")
        assert world.service.recommend("shop", user, 10).items == items


def test_a_session_of_nobody_with_a_context_is_folded_in_in_context(world):
    session = [SessionEvent("i3")]
    lists = [
        world.service.recommend("shop", None, 10, context=one, events=session)
        for one in ({}, {"device": "phone"}, {"country": "it"})
    ]
    assert {one.strategy for one in lists} == {"fold_in"}
    assert len({one.items for one in lists}) == 3


@pytest.mark.parametrize(
    ("event", "field"), [(("", 1.0), "item"), (("i1", -1.0), "value"), (("i1", math.nan), "value")]
)
def test_an_event_of_a_session_is_checked(event, field):
    with pytest.raises(DataError) as caught:
        SessionEvent(*event)
    assert caught.value.field == field


def test_scores_of_an_unknown_item_are_not_found(world):
    with pytest.raises(UnknownItemError, match="'nothing'"):
        world.service.scores("shop", "u5", ["i1", "nothing"])


def test_without_the_online_store_a_context_still_counts(world):
    class Down(MemoryOnlineStore):
        def user_state(self, namespace, version, user):
            raise StorageError("down")

    service = RecommendationService(world.loader, Down(), clock=lambda: THREE_PM)
    found = service.recommend("shop", "u5", 5, context={"device": "phone"})
    assert (found.strategy, found.degraded) == ("context", True)
    assert found.items == world.service.recommend("shop", "stranger", 5, context={"device": "phone"}).items


def test_a_machine_without_factors_ranks_by_its_weights(tmp_path):
    machine, world = Machine(factors=0), World(tmp_path, clock=lambda: THREE_PM)
    world.publish(machine)
    found = world.service.recommend("shop", "u5", 5)
    assert found.strategy == "fm"
    scores = [one.raw_score for one in world.service.scores("shop", "u5", ITEMS).items]
    np.testing.assert_allclose(scores, machine.y(5, {"hour": "15"}, range(N_ITEMS)), rtol=1e-5, atol=1e-5)


def test_a_walk_through_a_list_stays_at_its_time(world):
    whole, first = (world.service.recommend("shop", "u5", k).items for k in (N_ITEMS, 3))
    page = world.service.recommend("shop", "u5", 3).next
    world.service.clock = lambda: THREE_PM + 12 * 3600
    rest = world.service.recommend("shop", "u5", N_ITEMS, reading=Reading(page=page)).items
    assert first + rest == whole
    assert world.service.recommend("shop", "u5", N_ITEMS).items != whole
