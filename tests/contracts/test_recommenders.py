"""What every model promises. A new model joins by adding its class to MODELS."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data import Dataset, Interactions, interactions_from_tuples
from recsys.errors import ConfigError, UnknownItemError, UnknownUserError
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.models import BPR, BiasedMF, FactorizationMachine, ImplicitALS, ItemKNN, Popularity

MODELS = {
    "popularity": lambda **extra: Popularity(**extra),
    "item_knn": lambda **extra: ItemKNN(neighbours=20, **extra),
    "als": lambda **extra: ImplicitALS(factors=8, iterations=4, **extra),
    "biased_mf": lambda **extra: BiasedMF(factors=8, iterations=4, **extra),
    "bpr": lambda **extra: BPR(factors=8, **extra),
    "fm": lambda **extra: FactorizationMachine(factors=8, **extra),
}
SERVABLE = [name for name, make in MODELS.items() if hasattr(make(), "export")]
# Those that learn from who has what. Ratings say how much somebody liked what he has, and here that is chance.
PERSONAL = [name for name in MODELS if name not in ("popularity", "biased_mf")]


def two_camps(n_users=60, n_items=40, seed=0):
    """Even users like even items, odd users odd ones, with a little noise; some items are liked by nobody."""
    rng = np.random.default_rng(seed)
    rows = set()
    for user in range(n_users):
        for _ in range(8):
            item = int(rng.integers(0, n_items - 4) // 2) * 2 + user % 2
            rows.add((f"u{user}", f"i{item}", float(rng.integers(1, 4))))
    unique = {(u, i): w for u, i, w in sorted(rows)}
    known = interactions_from_tuples([(u, i, w) for (u, i), w in unique.items()])
    items = known.items.extend(f"i{n}" for n in range(n_items))
    users = known.users.extend(["silent"])
    return Dataset.from_interactions(Interactions(users, items, known.user, known.item, known.weight))


@pytest.fixture(scope="module")
def dataset():
    return two_camps()


@pytest.fixture(scope="module", params=MODELS)
def model(request, dataset):
    return MODELS[request.param]().fit(dataset)


def history(dataset, user):
    return set(dataset.user_items[dataset.users.row(user)].indices.tolist())


@pytest.mark.parametrize("name", MODELS)
def test_before_fit_every_question_is_answered_by_the_call_that_is_missing(name):
    model = MODELS[name]()
    for ask in (lambda: model.recommend(["u1"]), lambda: model.similar_items("i1"), lambda: model.dataset):
        with pytest.raises(ConfigError, match="call fit"):
            ask()


def test_lists_are_ranked_distinct_and_leave_out_what_the_user_has(model, dataset):
    users = dataset.users.ids()
    answer = model.recommend(users, k=10)
    assert answer.rows.shape == answer.scores.shape == (len(users), 10)
    assert (answer.rows.dtype, answer.scores.dtype) == (np.int32, np.float32)
    for user, rows, scores in zip(users, answer.rows, answer.scores, strict=True):
        assert (rows >= 0).all()
        assert len(set(rows)) == 10
        assert not set(rows.tolist()) & history(dataset, user)
        assert sorted(zip(-scores, rows, strict=True)) == list(zip(-scores, rows, strict=True))


def test_seen_items_come_back_when_asked_for(model, dataset):
    lists = model.recommend(dataset.users.ids(), k=len(dataset.items), exclude_seen=False)
    assert (np.sort(lists.rows, axis=1) == np.arange(len(dataset.items))).all()


def test_k_above_the_catalogue_is_padded(model, dataset):
    n_items = len(dataset.items)
    answer = model.recommend(["u3"], k=n_items + 5)
    left = n_items - len(history(dataset, "u3"))
    assert (answer.rows[0, :left] >= 0).all()
    assert (answer.rows[0, left:] == -1).all()
    assert (answer.scores[0, left:] == -np.inf).all()
    assert len(answer.lists()[0]) == left


def test_a_list_does_not_depend_on_who_else_is_asked_for(model):
    together = model.recommend(["u5", "silent", "u2", "u5"], k=7)
    for at, user in enumerate(["u5", "silent", "u2", "u5"]):
        alone = model.recommend([user], k=7)
        assert alone.rows.tobytes() == together.rows[at].tobytes()
        assert alone.scores.tobytes() == together.scores[at].tobytes()


def test_nobody_asked_nobody_answered(model):
    assert model.recommend([], k=3).rows.shape == (0, 3)


@pytest.mark.parametrize("name", MODELS)
def test_same_settings_same_bits_on_any_number_of_threads(name, dataset):
    first, second = (MODELS[name](threads=threads).fit(two_camps()).recommend(["u1", "u2"]) for threads in (1, 2))
    assert first.rows.tobytes() == second.rows.tobytes()
    assert first.scores.tobytes() == second.scores.tobytes()


def test_unknown_ids_are_named(model):
    with pytest.raises(UnknownUserError, match="'nobody'"):
        model.recommend(["u1", "nobody"])
    with pytest.raises(UnknownItemError, match="'nothing'"):
        model.similar_items("nothing")


def test_a_bare_string_or_an_empty_list_length_is_a_mistake(model):
    with pytest.raises(ConfigError, match=r"\['u1'\]"):
        model.recommend("u1")
    for ask in (lambda: model.recommend(["u1"], k=0), lambda: model.similar_items("i1", k=0)):
        with pytest.raises(ConfigError, match="k is"):
            ask()


def test_similar_items_leave_the_item_out(model, dataset):
    answer = model.similar_items("i3", k=len(dataset.items))
    rows = answer.rows[0][answer.rows[0] >= 0]
    assert sorted(rows) == sorted(set(range(len(dataset.items))) - {dataset.items.row("i3")})


def test_refitting_forgets_the_first_dataset(dataset):
    for name in MODELS:
        again = MODELS[name]().fit(two_camps(seed=1))
        again.recommend(["u1"])
        again.similar_items("i1")
        again.fit(dataset)
        fresh = MODELS[name]().fit(dataset)
        assert again.dataset is dataset
        assert again.recommend(["u1"]).rows.tolist() == fresh.recommend(["u1"]).rows.tolist()
        assert again.similar_items("i1").rows.tolist() == fresh.similar_items("i1").rows.tolist()


@pytest.mark.parametrize("name", MODELS)
def test_progress_rises_to_its_total(name, dataset):
    steps = []
    MODELS[name]().fit(dataset, progress=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert not steps or steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("name", PERSONAL)
def test_planted_tastes_are_found(name, dataset):
    lists = MODELS[name]().fit(dataset).recommend([f"u{n}" for n in range(60)], k=5)
    own_camp = [int(item[1:]) % 2 == n % 2 for n, one in enumerate(lists.lists()) for item, _ in one]
    assert np.mean(own_camp) > 0.9


@pytest.mark.parametrize("name", SERVABLE)
def test_exported_factors_score_as_the_model_does(name, dataset):
    model = MODELS[name]().fit(dataset)
    factors = model.export()
    assert isinstance(factors, Factors)
    factors.check_finite()
    answer = model.recommend(["u4"], k=6)
    row = dataset.users.row("u4")
    expected = factors.item_vectors[answer.rows[0]] @ factors.user_vectors[row] + factors.item_bias[answer.rows[0]]
    np.testing.assert_allclose(answer.scores[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
@settings(max_examples=20)
def test_tiny_and_odd_datasets(name, data):
    n_users, n_items = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    pairs = data.draw(
        st.sets(st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1)), min_size=1, max_size=16)
    )
    user, item = np.array(sorted(pairs), np.int32).T.copy()
    ids = [IdMap.from_ids(f"{prefix}{n}" for n in range(count)) for prefix, count in (("u", n_users), ("i", n_items))]
    dataset = Dataset.from_interactions(Interactions(*ids, user, item, np.ones(len(user), np.float32)))
    answer = MODELS[name]().fit(dataset).recommend(dataset.users.ids(), k=5)
    for u, rows in enumerate(answer.rows.tolist()):
        assert sorted(r for r in rows if r >= 0) == sorted(set(range(n_items)) - {i for v, i in pairs if v == u})
