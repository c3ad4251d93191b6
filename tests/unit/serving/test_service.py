"""The service over real stores: the lists of the model, fold-in, fallbacks, degradation, swaps."""

import shutil
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from world import World

from recsys.data import Dataset, interactions_from_tuples
from recsys.errors import ArtifactError, NoModelError, StorageError, UnknownItemError
from recsys.models import ImplicitALS, Popularity
from recsys.serving import MemoryOnlineStore, ModelLoader, RecommendationService, UserState
from recsys.serving.fold_in import fold_in
from recsys.serving.loader import _Slot
from recsys.weights import WeightRule


def shop(seed=0, n_users=50, n_items=30):
    rng = np.random.default_rng(seed)
    pairs = {
        (f"u{u}", f"i{int(i) // 2 * 2 + u % 2}"): float(rng.integers(1, 5))
        for u in range(n_users)
        for i in rng.integers(0, n_items, 7)
    }
    return Dataset.from_interactions(interactions_from_tuples([(u, i, w) for (u, i), w in pairs.items()]))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture(scope="module")
def model():
    return ImplicitALS(factors=8, alpha=2.0, regularization=0.02).fit(shop())


def test_every_user_gets_the_models_own_list_to_the_bit(world, model):
    manifest = world.publish(model)
    users = model.dataset.users.ids()
    for user, expected in zip(users, model.recommend(users, k=9).lists(), strict=True):
        answer = world.service.recommend("shop", user, 9)
        assert [(one.item, one.score) for one in answer.items] == expected
        assert (answer.strategy, answer.model_version, answer.degraded) == ("als", manifest.version, False)


def test_somebody_nobody_knows_gets_what_is_popular(world, model):
    world.publish(model)
    popular = Popularity().fit(model.dataset).recommend(["u0"], k=6, exclude_seen=False).lists()[0]
    answer = world.service.recommend("shop", "stranger", 6)
    assert [(one.item, one.score) for one in answer.items] == popular
    assert answer.strategy == "popular"
    assert world.service.popular("shop", 6) == answer


def test_similar_items_are_the_models_own(world, model):
    world.publish(model)
    answer = world.service.similar("shop", "i3", 5)
    assert [(one.item, one.score) for one in answer.items] == model.similar_items("i3", k=5).lists()[0]
    with pytest.raises(UnknownItemError, match="'nothing'"):
        world.service.similar("shop", "nothing", 5)


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": 2.0, "regularization": 0.02},
        {"alpha": 40.0, "regularization": 0.5, "unobserved_weight": 0.02},
        {"regularization": 0.003, "unobserved_weight": 0.1, "frequency_exponent": 1.0},
        {"regularization": 0.1, "frequency_exponent": 0.0, "iterations": 1},
    ],
)
def test_folding_in_a_users_own_history_gives_the_trained_vector(settings):
    """What ends training is a half-step of the users: fold-in is that half-step, for one user."""
    model = ImplicitALS(factors=8, **settings).fit(shop())
    factors, csr = model.export(), model.dataset.user_items
    for row in range(len(factors.user_vectors)):
        items = csr.indices[csr.indptr[row] : csr.indptr[row + 1]]
        weights = csr.data[csr.indptr[row] : csr.indptr[row + 1]]
        vector = fold_in(factors, (items, weights), None).point[:-1]
        np.testing.assert_allclose(vector, factors.user_vectors[row], atol=1e-5)


def test_the_folded_in_vector_zeroes_the_gradient(model):
    """Mathematics, apart from any solver: d/dx of the weighted loss is 0 at the solution."""
    factors, items = model.export(), np.array([2, 5, 11])
    weights = np.array([1, 3, 2], np.float32)
    solve, y = factors.fold_in, factors.item_vectors.astype(np.float64)
    x = fold_in(factors, (items, weights), None).point[:-1]
    observed = solve.alpha * weights
    penalty = solve.regularization * (3 + solve.unobserved_weight * len(y)) ** solve.frequency_exponent
    gradient = solve.unobserved_weight * y.T @ (y @ x) - y[items].T @ (observed * (1 - y[items] @ x)) + penalty * x
    assert np.abs(gradient).max() < 1e-4


def test_an_event_just_sent_changes_the_next_list_and_is_not_offered_again(world, model):
    world.publish(model)
    before = world.items("u4")
    odd = [item for item in model.dataset.items.ids() if int(item[1:]) % 2][:4]
    assert world.send("u4", *odd, value=4.0) == 4
    answer = world.service.recommend("shop", "u4", 10)
    after = [one.item for one in answer.items]
    assert answer.strategy == "fold_in"
    assert after != before
    assert not set(after) & (set(odd) | history(model, "u4"))
    assert len(after) == 10


def history(model, user):
    row = model.dataset.users.row(user)
    return {model.dataset.items.id(i) for i in model.dataset.user_items[row].indices}


def test_a_new_user_with_events_gets_the_list_of_a_trained_user_with_the_same_history(world, model):
    """Read-your-writes, and the same answer as if the model had known them."""
    world.publish(model)
    row = model.dataset.users.row("u7")
    for item, weight in zip(*(model.dataset.user_items[row].indices, model.dataset.user_items[row].data), strict=True):
        world.send("twin", model.dataset.items.id(item), value=float(weight))
    twin = world.service.recommend("shop", "twin", 10)
    trained = world.service.recommend("shop", "u7", 10)
    assert twin.strategy == "fold_in"
    assert [one.item for one in twin.items] == [one.item for one in trained.items]
    np.testing.assert_allclose([o.score for o in twin.items], [o.score for o in trained.items], atol=1e-5)


def test_repeating_an_item_adds_to_its_weight_as_training_would(world, model):
    world.publish(model)
    for one, many in (("once", [("i2", 6.0), ("i5", 1.0)]), ("thrice", [("i2", 2.0)] * 3 + [("i5", 1.0)])):
        for item, value in many:
            world.send(one, item, value=value)
    once, thrice = (world.service.recommend("shop", user, 10).items for user in ("once", "thrice"))
    assert once == thrice


def test_events_of_the_training_data_are_not_counted_twice(world, model):
    world.publish(model)
    world.send("u4", "i2")
    world.publish(model, events_through=1)
    assert world.service.recommend("shop", "u4", 5).strategy == "als"


def test_events_with_unknown_items_change_nothing(world, model):
    world.publish(model)
    before = world.service.recommend("shop", "u4", 5)
    world.send("u4", "brand-new")
    world.send("stranger", "brand-new")
    assert world.service.recommend("shop", "u4", 5).items == before.items
    assert world.service.recommend("shop", "stranger", 5).strategy == "popular"


def test_a_popularity_model_serves_everybody_without_what_they_have(world, model):
    popularity = Popularity().fit(model.dataset)
    world.publish(popularity)
    expected = popularity.recommend(["u4"], k=9).lists()[0]
    assert [(one.item, one.score) for one in world.service.recommend("shop", "u4", 9).items] == expected
    world.send("stranger", expected[0][0])
    assert world.items("stranger")[0] != expected[0][0]


def test_exactly_k_items_come_back_as_long_as_the_catalogue_allows(world, model):
    world.publish(model)
    n_items, seen = len(model.dataset.items), len(history(model, "u4"))
    for k in (1, n_items - seen, n_items, 500):
        assert len(world.items("u4", k)) == min(k, n_items - seen)


def test_nothing_published_is_said_and_leaves_nothing_in_memory(world):
    for ask in (lambda ns: world.service.recommend(ns, "u", 5), lambda ns: world.service.record_events(ns, [])):
        for name in ("shop", "other"):
            with pytest.raises(NoModelError, match="no published model"):
                ask(name)
    assert not world.loader._slots


def test_a_new_version_is_taken_up_and_a_rollback_too(world, model):
    first = world.publish(model)
    assert world.service.popular("shop", 1).model_version == first.version
    second = world.publish(Popularity().fit(model.dataset))
    assert world.service.popular("shop", 1).model_version == second.version
    world.registry.rollback("shop", expected=2)
    assert world.service.popular("shop", 1).model_version == first.version


def test_a_damaged_new_version_leaves_the_old_one_in_service_marked_degraded(world, model):
    good = world.publish(model)
    before = world.service.recommend("shop", "u4", 5)
    bad = world.publish(Popularity().fit(model.dataset))
    path = world.artifacts.root / "shop" / bad.version / "item_counts.npy"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    answer = world.service.recommend("shop", "u4", 5)
    assert (answer.items, answer.model_version, answer.degraded) == (before.items, good.version, True)
    fresh = RecommendationService(ModelLoader(world.artifacts, world.registry), world.online)
    with pytest.raises(ArtifactError, match="item_counts"):
        fresh.popular("shop", 5)


def test_without_the_online_store_a_warm_service_answers_popular_items_marked_degraded(world, model):
    world.publish(model)

    class Down(MemoryOnlineStore):
        def user_state(self, namespace, version, user):
            raise StorageError("down")

    answer = RecommendationService(world.loader, Down()).recommend("shop", "u4", 5)
    assert (answer.strategy, answer.degraded, len(answer.items)) == ("popular", True, 5)


def test_a_registry_that_fails_later_leaves_the_model_in_service(world, model, monkeypatch):
    world.publish(model)
    before = world.service.popular("shop", 5)

    def down(namespace):
        raise StorageError("down")

    monkeypatch.setattr(world.registry, "current", down)
    answer = world.service.popular("shop", 5)
    assert (answer.items, answer.degraded) == (before.items, True)
    monkeypatch.undo()
    assert world.service.popular("shop", 5) == before


def sixteen_first_requests(world, loader):
    """Times the artefact was opened, and the answers; an opening lasts long enough for all to come in."""
    opened, answers, original, together = [], [], world.artifacts.open, threading.Barrier(16)
    world.artifacts.open = lambda *a, **k: (opened.append(1), time.sleep(0.1), original(*a, **k))[-1]
    service = RecommendationService(loader, world.online)

    def ask():
        together.wait()
        answers.append(service.recommend("shop", "u4", 5))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 16
    return len(opened), set(answers)


def test_sixteen_first_requests_load_the_model_once(world, model):
    world.publish(model)
    opened, answers = sixteen_first_requests(world, ModelLoader(world.artifacts, world.registry, refresh_s=60))
    assert (opened, len(answers)) == (1, 1)


def test_without_the_lock_they_would_load_it_more_often(world, model):
    """The bug that the test above is to catch, planted."""
    world.publish(model)
    loader = ModelLoader(world.artifacts, world.registry, refresh_s=60)
    always = SimpleNamespace(acquire=lambda blocking: True, release=lambda: None)
    slot = loader._slots["shop"] = _Slot(world.registry.current("shop"), 0.0)
    slot.lock = always
    opened, _ = sixteen_first_requests(world, loader)
    assert opened > 1


def test_an_event_of_no_weight_is_seen_but_folds_nothing_in(world, model):
    world.publish(model)
    before = world.service.recommend("shop", "u4", 10)
    offered = before.items[0].item
    world.send("u4", offered, value=0.0)
    after = world.service.recommend("shop", "u4", 9)
    assert [one.item for one in after.items] == [one.item for one in before.items[1:]]
    world.send("stranger", "i2", value=0.0)
    assert world.service.recommend("shop", "stranger", 5).strategy == "popular"
    world.send("stranger", "i4")
    assert world.service.recommend("shop", "stranger", 5).strategy == "fold_in"


def test_every_item_a_user_has_is_left_out_however_many_events_they_sent(world):
    model = ImplicitALS(factors=4, alpha=2.0, regularization=0.02).fit(shop(n_users=400, n_items=500))
    world.publish(model)
    items = model.dataset.items.ids()
    had = items[:260]
    world.send("keen", *had)
    world.send("keen", *[had[-1]] * 200)
    offered = world.items("keen", 500)
    assert sorted(offered) == sorted(items[260:])


def test_a_registry_made_anew_is_followed(world, model):
    for number in range(3):
        old = world.publish(model, events_through=number)
    assert world.service.popular("shop", 1).model_version == old.version
    shutil.rmtree(world.registry.root)
    answer = world.service.popular("shop", 1)
    assert (answer.model_version, answer.degraded) == (old.version, True)
    new = world.publish(Popularity().fit(model.dataset))
    answer = world.service.popular("shop", 1)
    assert (answer.model_version, answer.degraded) == (new.version, False)


@pytest.mark.parametrize(
    "changed",
    [
        lambda s: UserState(s.vector[:-1], s.items, s.weights),
        lambda s: UserState(s.vector * np.float32(np.nan), s.items, s.weights),
        lambda s: UserState(s.vector, s.items + np.int32(10_000), s.weights),
        lambda s: UserState(s.vector, -1 - s.items, s.weights),
    ],
)
def test_a_state_that_is_not_of_this_model_costs_the_personal_list_only(world, model, changed):
    manifest = world.publish(model)
    state = world.online.user_state("shop", manifest.version, "u4")
    world.online.put_users("shop", manifest.version, [("u4", changed(state))])
    for _ in range(2):
        answer = world.service.recommend("shop", "u4", 5)
        assert (answer.strategy, answer.degraded, len(answer.items)) == ("popular", True, 5)
        world.send("u4", "i2")


def test_a_history_may_hold_events_the_weight_rule_drops(world, model):
    """They are left out of lists as all others are, and weigh nothing in the vector."""
    manifest = world.publish(model)
    object.__setattr__(world.loader.current("shop"), "weight_rule", WeightRule(duplicates="sum", min_weight=1.0))
    before = world.service.recommend("shop", "u4", 12)
    disliked = np.array([model.dataset.items.row(before.items[0].item)], np.int32)
    state = world.online.user_state("shop", manifest.version, "u4")
    more = UserState(state.vector, np.append(disliked, state.items), np.append(np.float32(0.5), state.weights))
    world.online.put_users(
        "shop",
        manifest.version,
        [("u4", more), ("critic", UserState(state.vector * 0, disliked, np.array([0.5], np.float32)))],
    )
    assert world.service.recommend("shop", "u4", 11).items == before.items[1:]
    world.send("u4", before.items[0].item, value=0.5)
    folded = world.service.recommend("shop", "u4", 11)
    assert folded.strategy == "fold_in"
    np.testing.assert_allclose([one.score for one in folded.items], [o.score for o in before.items[1:]], atol=1e-5)
    critic = world.service.recommend("shop", "critic", 100)
    assert critic.strategy == "popular"
    assert before.items[0].item not in [one.item for one in critic.items]


def test_events_need_the_pointer_but_no_artefact(world, model):
    world.publish(model)
    shutil.rmtree(world.artifacts.root)
    assert world.send("u4", "i2") == 1
    with pytest.raises(ArtifactError):
        world.items("u4")


def test_a_first_request_reads_the_pointer_once(world, model, monkeypatch):
    world.publish(model)
    read, original = [], world.registry.current
    monkeypatch.setattr(world.registry, "current", lambda namespace: (read.append(1), original(namespace))[1])
    service = RecommendationService(ModelLoader(world.artifacts, world.registry, refresh_s=60), world.online)
    service.record_events("shop", [])
    service.popular("shop", 5)
    service.popular("shop", 5)
    assert len(read) == 1
