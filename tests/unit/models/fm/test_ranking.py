"""Training by ranking losses: what is learned, what is left alone, and what is refused."""

import contextlib

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.data.features import FeatureMatrix
from recsys.errors import DataError, TrainingDivergedError
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.ranking import ranking_epochs

LOSSES = ("bpr", "warp", "softmax")
SAMPLINGS = ("uniform", "popularity", "in_batch")
N_USERS, N_ITEMS, N_KINDS = 60, 40, 4
COLD = 3  # the last items, which nobody has


def settings(**changed):
    return {
        "item_block": 1,
        "loss": "bpr",
        "optimizer": "adagrad",
        "learning_rate": 0.3,
        "regularization": 0.001,
        "weight_regularization": 0.001,
        "negatives": 5,
        "sampling": "uniform",
        "popularity_exponent": 0.5,
        "iterations": 20,
        "asynchronous": False,
        "threads": 1,
        "rng": np.random.default_rng(0),
        **changed,
    }


def planted(seed=0, n=6000):
    """Events of users who like the items of one kind, by day (context 0) those of even number, by night those of odd.

    Of every user and kind, half of the items stay unknown.
    """
    rng = np.random.default_rng(seed)
    users, contexts = rng.integers(0, N_USERS, n), rng.integers(0, 2, n)
    items = rng.integers(0, (N_ITEMS - COLD) // 8, n) * 8 + (users % N_KINDS) * 2 + contexts
    kept = (items + users) % 3 > 0
    users, items, contexts = (column[kept].astype(np.int32) for column in (users, items, contexts))
    kinds = (np.arange(N_ITEMS) // 2 % N_KINDS).astype(np.int32)
    blocks = (
        FeatureMatrix.of_ids(np.arange(N_USERS, dtype=np.int32), N_USERS, "user"),
        FeatureMatrix.side_by_side(
            [
                FeatureMatrix.of_ids(np.arange(N_ITEMS, dtype=np.int32), N_ITEMS, "item"),
                FeatureMatrix.of_ids(kinds, N_KINDS, "kind"),
            ]
        ),
        FeatureMatrix.of_ids(np.arange(2, dtype=np.int32), 2, "light"),
    )
    has = sp.csr_matrix((np.ones(len(users)), (users, items)), shape=(N_USERS, N_ITEMS))
    has.sum_duplicates()
    return Design(blocks, np.stack([users, items, contexts], axis=1)), users, has


@pytest.fixture(scope="module")
def data():
    return planted()


def start(design, seed=1, factors=8):
    return Parameters.random(design, factors, 0.1, np.random.default_rng(seed))


def fitted(data, sample_weight=None, **changed):
    design, users, has = data
    parameters = start(design)
    losses = list(ranking_epochs(design, users, has, sample_weight, parameters, **settings(**changed)))
    return parameters, losses


def scores(parameters, design):
    """Predictions of every item for every user and context, (N_USERS, 2, N_ITEMS)."""
    grid = np.indices((N_USERS, 2, N_ITEMS)).reshape(3, -1)[[0, 2, 1]].T
    every = Design(design.blocks, np.ascontiguousarray(grid, np.int32))
    return parameters.predict(every).reshape(N_USERS, 2, N_ITEMS)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("optimizer", ["adagrad", "sgd"])
def test_taste_and_context_are_learned(loss, sampling, optimizer, data):
    rate = {"learning_rate": 0.05} if optimizer == "sgd" else {}
    parameters, losses = fitted(data, loss=loss, sampling=sampling, optimizer=optimizer, **rate)
    found = scores(parameters, data[0])[:, :, :-COLD]
    found[data[2].toarray()[:, None, :-COLD].repeat(2, axis=1) > 0] = -np.inf
    best = found.argmax(axis=2)  # of what the user does not have
    assert np.mean(best // 2 % N_KINDS == np.arange(N_USERS)[:, None] % N_KINDS) > 0.8
    assert np.mean(best % 2 == [0, 1]) > 0.8
    assert len(losses) == 20
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_items_nobody_has_and_weights_of_the_query_are_left_alone(loss, sampling, data):
    before, (after, _) = start(data[0]), fitted(data, loss=loss, sampling=sampling)
    cold = slice(N_USERS + N_ITEMS - COLD, N_USERS + N_ITEMS)
    np.testing.assert_array_equal(after.vectors[cold], before.vectors[cold])
    np.testing.assert_array_equal(np.flatnonzero(after.weights[:N_USERS]), [])
    np.testing.assert_array_equal(after.weights[cold], 0)
    np.testing.assert_array_equal(after.weights[N_USERS + N_ITEMS + N_KINDS :], 0)
    assert after.bias[0] == 0
    warm = slice(N_USERS, N_USERS + N_ITEMS - COLD)
    assert (after.vectors[warm] != before.vectors[warm]).any(axis=1).sum() > N_ITEMS // 2


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_of_equal_scores_is_known(loss, data):
    _, losses = fitted(data, loss=loss, learning_rate=1e-9, iterations=1, regularization=0.0)
    drawn = (data[2].sum(axis=0) > 0).sum()
    known = {"bpr": np.log(2), "warp": 1.0, "softmax": np.log(1 + drawn)}
    assert losses[0] == pytest.approx(known[loss], rel=3e-2)


def test_the_correction_of_softmax_makes_the_loss_of_equal_scores_alike_for_all_draws(data):
    """Each sampling estimates the sum over the catalogue; by items of the batch, over the items with events."""
    losses = {
        sampling: fitted(data, loss="softmax", sampling=sampling, negatives=500, learning_rate=1e-9, iterations=1)[1][0]
        for sampling in SAMPLINGS
    }
    drawn = (data[2].sum(axis=0) > 0).sum()
    for loss in losses.values():
        assert np.exp(loss) - 1 == pytest.approx(drawn, rel=0.15)


def test_the_same_seed_gives_the_same_bits_and_many_calls_too(data, monkeypatch):
    first, losses = fitted(data, iterations=2)
    monkeypatch.setattr("recsys.models.fm.ranking._WORK", 1)
    again, parts = fitted(data, iterations=2, threads=2)  # not asynchronous: one thread
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert losses == pytest.approx(parts)
    other, _ = fitted(data, iterations=2, rng=np.random.default_rng(1))
    assert not np.allclose(first.vectors, other.vectors, atol=0.01)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_locks_two_threads_learn_the_same(loss, data):
    alone = fitted(data, loss=loss)[1][-1]
    runs = [fitted(data, loss=loss, asynchronous=True, threads=2)[1][-1] for _ in range(5)]
    together = np.median(runs)  # a thread that the machine stops for long is no rule
    assert together == pytest.approx(alone, rel=0.2)


def test_weights_of_samples_count(data):
    design, users, _ = data
    night = design.parts[:, 2] == 1
    parameters, _ = fitted(data, sample_weight=np.where(night, 1, 0).astype(np.float32))
    day = N_USERS + N_ITEMS + N_KINDS
    np.testing.assert_array_equal(parameters.vectors[day], start(design).vectors[day])
    assert (parameters.vectors[day + 1] != start(design).vectors[day + 1]).any()
    doubled, losses = fitted(
        data, sample_weight=np.full(len(users), 2, np.float32), optimizer="sgd", learning_rate=0.01
    )
    plain, expected = fitted(
        data, optimizer="sgd", learning_rate=0.02, regularization=0.0005, weight_regularization=0.0005
    )
    assert losses == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(doubled.vectors, plain.vectors, atol=1e-3)


HOSTILE = [
    {"loss": loss, "optimizer": optimizer, **extreme}
    for loss in LOSSES
    for optimizer in ("sgd", "adagrad")
    for extreme in (
        {"learning_rate": 1e9},
        {"learning_rate": 1e30, "sampling": "in_batch"},
        {"learning_rate": 30.0, "regularization": 1e6},
        {"regularization": 1e30, "sampling": "popularity"},
        {"learning_rate": 5.0, "weight_regularization": 1e9, "negatives": 200},
    )
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_settings_end_in_numbers_or_in_words(hostile, data):
    design, users, has = data
    parameters = start(design)
    with contextlib.suppress(TrainingDivergedError):
        losses = list(ranking_epochs(design, users, has, None, parameters, **settings(iterations=3, **hostile)))
        assert np.isfinite(losses).all()
    assert np.isfinite(parameters.vectors).all()
    assert np.isfinite(parameters.weights).all()


def test_some_hostile_settings_do_diverge(data):
    with pytest.raises(TrainingDivergedError, match="learning_rate"):
        fitted(data, optimizer="sgd", learning_rate=1e9)


@pytest.mark.parametrize("factors", [0, 1, 8])
@pytest.mark.parametrize("loss", LOSSES)
def test_one_candidate_no_sample_and_no_vectors(loss, factors):
    design, users, has = planted(n=500)
    only = sp.csr_matrix(([1.0], ([0], [5])), shape=(N_USERS, N_ITEMS))
    some = Design(design.blocks, np.array([[1, 5, 0], [0, 5, 1]], np.int32))
    none = Design(design.blocks, np.empty((0, 3), np.int32))
    cases = (some, np.array([1, 0], np.int32), only), (none, users[:0], only * 0), (design, users, has)
    for of_case, of_users, has_items in cases:
        parameters = start(of_case, factors=factors)
        losses = list(ranking_epochs(of_case, of_users, has_items, None, parameters, **settings(loss=loss)))
        assert np.isfinite(losses).all()
        assert np.isfinite(parameters.weights).all()


def test_mistakes_are_named(data):
    design, users, has = data
    good = {"design": design, "users": users, "user_items": has, "sample_weight": None}
    mistakes = {
        "items, the item block": {"user_items": has[:, :-1]},
        "users must name": {"users": users[:-1]},
        "rows of user_items": {"user_items": has[:-1]},
        "user_items is empty": {"user_items": sp.csr_matrix(has.shape)},
        "sample_weight must be": {"sample_weight": np.full(len(users), -1, np.float32)},
        "one for each sample": {"sample_weight": np.ones(3, np.float32)},
        "finite": {"sample_weight": np.full(len(users), np.nan, np.float32)},
    }
    for words, change in mistakes.items():
        with pytest.raises(DataError, match=words):
            next(ranking_epochs(**{**good, **change}, parameters=start(design), **settings()))
