"""A recommender as a policy: its probabilities are those of what it does, its expectations sums over the catalogue."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.data import Dataset, interactions_from_tuples
from recsys.errors import ConfigError, DataError
from recsys.evaluation.off_policy import EpsilonGreedy, LoggedImpressions, cross_fit
from recsys.ids import IdMap
from recsys.models import ItemKNN, Popularity

# Users of 7 items: u5 has all but two of them, fewer than a list of three.
HAVE = {"u0": "ab", "u1": "ac", "u2": "a", "u3": "bcd", "u4": "efg", "u5": "abcde"}
DATA = Dataset.from_interactions(
    interactions_from_tuples([(user, item, 1.0) for user, items in HAVE.items() for item in items])
)
N_USERS, N_ITEMS, K = len(HAVE), 7, 3


def policy(epsilon, model=Popularity):
    return EpsilonGreedy(model().fit(DATA), k=K, epsilon=epsilon)


def everything():
    """Log every user, position and item once."""
    user, position, item = (grid.ravel().astype(np.int32) for grid in np.indices((N_USERS, K, N_ITEMS)))
    columns = user, item, np.zeros(len(user)), np.ones(len(user))
    request = (user.astype(np.int64) * N_ITEMS + item).astype(np.int64)
    return LoggedImpressions(DATA.users, DATA.items, *columns, request, position)


@pytest.mark.parametrize("model", [Popularity, ItemKNN])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_probabilities_are_the_frequencies_of_what_it_draws(epsilon, model):
    one, draws = policy(epsilon, model), 4_000
    users = np.repeat(np.arange(N_USERS, dtype=np.int32), draws)
    lists = one.draw(users, np.random.default_rng(0)).reshape(N_USERS, draws, K)
    shown = np.stack([[np.bincount(at + 1, minlength=N_ITEMS + 1)[1:] for at in of.T] for of in lists])
    chances = one.probabilities(everything()).reshape(N_USERS, K, N_ITEMS)
    error = np.abs(shown / draws - chances)
    assert (error <= 5 * np.sqrt(chances * (1 - chances) / draws) + 1e-12).all()
    if model is Popularity:  # which ranks every item; item-kNN leaves places empty
        assert chances.sum(axis=2)[:-1] == pytest.approx(1)
    assert chances[DATA.users.row("u5")].sum(axis=1)[2] == 0
    seen = DATA.seen_items.toarray() > 0
    assert not chances[np.repeat(seen[:, None], K, axis=1)].any()


def test_lists_hold_no_item_twice():
    lists = policy(0.7).draw(np.zeros(500, np.int32), np.random.default_rng(1))
    assert all(len(set(one)) == K for one in lists.tolist())


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_expectations_are_sums_over_the_catalogue(epsilon):
    rewards = np.random.default_rng(0).normal(size=(N_USERS, N_ITEMS, K))
    one, log = policy(epsilon), everything()
    chances = one.probabilities(log).reshape(N_USERS, K, N_ITEMS)
    by_hand = np.einsum("ukj,ujk->uk", chances, rewards)
    found = one.expected(log, lambda user, item, position: rewards[user, item, position])
    assert found.reshape(N_USERS, K, N_ITEMS) == pytest.approx(np.repeat(by_hand[:, :, None], N_ITEMS, axis=2))


def test_an_item_only_the_log_knows_is_never_shown():
    log = everything()
    unknown = replace(log, item=np.full(len(log), -1, np.int32))
    assert not policy(1.0).probabilities(unknown).any()


def test_refuses_other_maps_positions_and_settings():
    log = everything()
    with pytest.raises(DataError, match="items in other rows"):
        policy(0.1).probabilities(replace(log, items=IdMap.from_ids("gfedcba")))
    with pytest.raises(DataError, match="users in other rows"):
        policy(0.1).expected(replace(log, users=IdMap.from_ids(f"v{one}" for one in range(N_USERS))), max)
    with pytest.raises(ConfigError, match="k = 3"):
        EpsilonGreedy(Popularity().fit(DATA), k=2, epsilon=0.0).probabilities(log)
    for wrong in ({"k": 0, "epsilon": 0.1}, {"k": 1, "epsilon": 1.1}, {"k": 1, "epsilon": float("nan")}):
        with pytest.raises(ConfigError, match="epsilon"):
            EpsilonGreedy(Popularity(), **wrong)


def test_cross_fitting_never_predicts_what_was_fitted():
    log, parts = everything(), []

    def fit(part):
        parts.append(set(part.request.tolist()))
        number = float(len(parts))
        return lambda user, item, position: np.full(len(user), number)

    predicted, expected = cross_fit(log, policy(0.5), fit, folds=3, seed=4)
    for number, fitted in enumerate(parts, 1):
        assert set(log.request[predicted == number].tolist()) == set(log.request.tolist()) - fitted
    assert set(predicted) == {1.0, 2.0, 3.0}
    free = log.places < 2  # u5 has but two items left
    assert expected[free] == pytest.approx(predicted[free])
    with pytest.raises(ConfigError, match="folds"):
        cross_fit(log, policy(0.5), fit, folds=1)
