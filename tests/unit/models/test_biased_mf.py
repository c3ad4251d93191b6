"""The model around the gradient steps: what it finds, predicts, carries over, survives and refuses."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.data import Dataset, Interactions, interactions_from_tuples
from recsys.errors import ConfigError, TrainingDivergedError
from recsys.evaluation import rmse
from recsys.ids import IdMap
from recsys.models import BiasedMF
from recsys.models.sgd_mf_steps import Blocks, Epochs, Side

OPTIMIZERS = ("sgd", "momentum", "adagrad")


def planted(n_users=120, n_items=90, share=0.4, noise=0.05, seed=0, scale=1.0, shift=3.0):
    """Ratings with biases and two factors, a part to learn from and a part to predict, on shuffled ids."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(0, 0.5, (n_users, 1)) + rng.normal(0, 0.5, n_items)
    signal += rng.normal(0, 0.7, (n_users, 2)) @ rng.normal(0, 0.7, (2, n_items))
    user, item = (one.astype(np.int32) for one in np.nonzero(rng.random(signal.shape) < share))
    weight = shift + scale * (signal[user, item] + rng.normal(0, noise, len(user)))
    ids = [IdMap.from_ids(f"{prefix}{n}" for n in range(count)) for prefix, count in (("u", n_users), ("i", n_items))]
    every = Interactions(*ids, user, item, weight.astype(np.float32))
    test = rng.random(len(every)) < 0.1
    return Dataset.from_interactions(every.select(~test)), every.select(test)


@pytest.fixture(scope="module")
def parts():
    return planted()


def error(model, test):
    return rmse(model.predict(test.users.ids(test.user), test.items.ids(test.item)), test.weight)


def fitted(dataset, **settings):
    return BiasedMF(**{"factors": 8, "iterations": 40, "learning_rate": 0.03, "regularization": 0.02, **settings}).fit(
        dataset
    )


def small(**changes):
    return Dataset.from_interactions(
        interactions_from_tuples([("u", "i", 5.0), ("u", "j", 1.0), ("v", "i", 4.0), *changes.get("more", [])])
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 3.0), (1000.0, -70.0), (1e-3, 0.0)])
def test_planted_biases_and_factors_are_found_on_any_scale(optimizer, scale, shift):
    dataset, test = planted(scale=scale, shift=shift)
    model = fitted(dataset, optimizer=optimizer, iterations=60)
    by_bias = fitted(dataset, regularization=0.0, factors=1, learning_rate=0.01)
    assert error(model, test) < 0.3 * test.weight.std()
    assert error(model, test) < 0.6 * error(by_bias, test)
    assert model.loss[-1] < 0.1 * model.loss[0]


def test_a_prediction_is_mean_and_biases_and_product_within_the_range_seen(parts):
    dataset, _ = parts
    model = fitted(dataset)
    factors, ratings = model.export(), dataset.interactions.weight
    u, i = dataset.users.row("u3"), dataset.items.row("i5")
    expected = factors.item_bias[i] + factors.queries.user_bias[u] + factors.user_vectors[u] @ factors.item_vectors[i]
    answer = model.predict(["u3"], ["i5"])
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, [expected], rtol=1e-5)
    raw = factors.item_bias + factors.queries.user_bias[:, None] + factors.user_vectors @ factors.item_vectors.T
    every = model.predict(*zip(*((u, i) for u in dataset.users.ids() for i in dataset.items.ids()), strict=True))
    assert not ratings.min() <= raw.min() <= raw.max() <= ratings.max()
    np.testing.assert_allclose(every, raw.clip(ratings.min(), ratings.max()).ravel(), rtol=1e-4, atol=1e-5)


def test_strangers_are_average(parts):
    dataset, _ = parts
    model = fitted(dataset)
    factors, mean = model.export(), dataset.interactions.weight.mean(dtype=float)
    answer = model.predict(["nobody", "u3", "nobody"], ["nothing", "nothing", "i5"])
    expected = [
        mean,
        mean + factors.queries.user_bias[dataset.users.row("u3")],
        factors.item_bias[dataset.items.row("i5")],
    ]
    np.testing.assert_allclose(answer, expected, rtol=1e-5)
    assert model.predict([], []).shape == (0,)


def test_many_pairs_are_predicted_like_one():
    dataset = small()
    model = fitted(dataset)
    many = model.predict(["u", "v"] * 40_000, ["i", "j"] * 40_000)
    assert many.shape == (80_000,)
    assert set(many.tolist()) == set(model.predict(["u", "v"], ["i", "j"]).tolist())


@pytest.mark.parametrize(("users", "items"), [("u", "i"), (["u"], "i"), (["u"], ["i", "j"])])
def test_what_is_not_pairs_is_refused(users, items):
    with pytest.raises(ConfigError, match="equal length"):
        fitted(small()).predict(users, items)


def test_a_list_ranks_by_predicted_rating(parts):
    dataset, _ = parts
    model = fitted(dataset)
    items = [item for item, _ in model.recommend(["u7"], k=10).lists()[0]]
    rated = model.predict(["u7"] * 10, items)
    assert (np.diff(rated) <= 1e-5).all()


def test_zeros_and_repeated_pairs_are_ratings():
    dataset = small(more=[("v", "j", 0.0), ("v", "j", 0.0), ("w", "j", -1.0)])
    model = fitted(dataset, regularization=0.0, iterations=500)
    np.testing.assert_allclose(model.predict(["v", "w", "u"], ["j", "j", "i"]), [0.0, -1.0, 5.0], atol=0.2)


def test_a_warm_start_goes_on_from_where_it_was_with_other_ids(parts):
    dataset, test = parts
    first = fitted(dataset)
    names = np.random.default_rng(1).permutation(len(dataset.users))
    users = IdMap.from_ids(dataset.users.ids(names)).extend(["new"])
    inner = dataset.interactions.recode(users, dataset.items)[0]
    columns = zip((inner.user, inner.item, inner.weight), (users.row("new"), 0, 3.0), strict=True)
    more = Interactions(users, inner.items, *(np.append(old, new).astype(old.dtype) for old, new in columns))
    warm = BiasedMF(factors=8, iterations=1, learning_rate=1e-9).fit(Dataset.from_interactions(more), start=first)
    pairs = test.users.ids(test.user), test.items.ids(test.item)
    np.testing.assert_allclose(warm.predict(*pairs), first.predict(*pairs), atol=2e-3)
    assert np.isfinite(warm.predict(["new"], ["i4"])).all()
    with pytest.raises(ConfigError, match="more than this one"):
        BiasedMF(factors=4).fit(dataset, start=BiasedMF(factors=16, iterations=1).fit(dataset))


def test_the_best_epoch_is_kept_with_its_biases(parts):
    dataset, _ = parts
    scores, seen = iter([1.0, 5.0, 2.0, 3.0]), []

    def on_epoch(model):
        seen.append(model.predict(["u1", "nobody", "u1"], ["i1", "i1", "nothing"]))
        return next(scores)

    model = BiasedMF(factors=8, iterations=50, patience=2)
    model.fit(dataset, on_epoch=on_epoch)
    assert (model.best_epoch, len(model.loss)) == (2, 4)
    np.testing.assert_array_equal(model.predict(["u1", "nobody", "u1"], ["i1", "i1", "nothing"]), seen[1])
    assert not np.array_equal(seen[0], seen[1])


def test_a_learning_rate_far_too_high_is_halved_until_it_works(parts):
    dataset, test = parts
    model = fitted(dataset, learning_rate=3.0)
    assert np.isfinite(model.loss).all()
    assert error(model, test) < 1.5 * test.weight.std()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_where_halving_does_not_help_the_error_says_what_would_and_the_model_stays(parts, optimizer):
    dataset, _ = parts
    model = fitted(dataset, optimizer=optimizer, iterations=3)
    before, losses = model.predict(["u1"], ["i1"]), model.loss
    model.learning_rate = 1e30
    with pytest.raises(TrainingDivergedError, match=r"1e\+30.*Lower learning_rate, raise regularization"):
        model.fit(dataset)
    np.testing.assert_array_equal(model.predict(["u1"], ["i1"]), before)
    assert model.loss is losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_asynchronous_threads_reach_the_loss_of_one(parts, optimizer):
    dataset, _ = parts
    one = fitted(dataset, optimizer=optimizer)
    many = fitted(dataset, optimizer=optimizer, asynchronous=True, threads=4)
    assert many.loss[-1] == pytest.approx(one.loss[-1], rel=0.05)


@given(
    side=st.integers(1, 6), n_users=st.integers(1, 30), n_items=st.integers(1, 30), n=st.integers(1, 200),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_blocks_of_a_stratum_share_no_row_and_all_strata_hold_every_rating_once(side, n_users, n_items, n, seed):
    rng = np.random.default_rng(seed)
    ids = [IdMap.from_ids(f"{prefix}{k}" for k in range(count)) for prefix, count in (("u", n_users), ("i", n_items))]
    user, item = (np.minimum(rng.geometric(0.2, n) - 1, count - 1).astype(np.int32) for count in (n_users, n_items))
    interactions = Interactions(*ids, user, item, np.arange(n, dtype=np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.models.sgd_mf_steps._BLOCK", n / side**2)
        blocks = Blocks.of(interactions, interactions.weight)
    strata = blocks.strata(rng)
    side = len(strata)
    assert sorted(strata.ravel().tolist()) == list(range(side * side))
    assert sorted(blocks.ratings.tolist()) == list(range(n))
    assert (user[blocks.ratings.astype(int)] == blocks.users).all()
    assert (item[blocks.ratings.astype(int)] == blocks.items).all()
    for stratum in strata:
        for rows in (blocks.users, blocks.items):
            held = [set(rows[blocks.starts[b] : blocks.starts[b + 1]].tolist()) for b in stratum]
            assert sum(map(len, held)) == len(set().union(*held))


def test_an_epoch_in_many_calls_is_one_in_a_single_call(monkeypatch):
    dataset, _ = planted(300, 200, 0.4)
    whole = fitted(dataset, iterations=2).export()
    calls, run = [], Epochs._steps
    monkeypatch.setattr("recsys.models.sgd_mf_steps._WORK", 2**16)
    monkeypatch.setattr(Epochs, "_steps", lambda self, *rest: (calls.append(1), run(self, *rest)))
    parts = fitted(dataset, iterations=2).export()
    assert len(calls) > 2
    assert parts.user_vectors.tobytes() == whole.user_vectors.tobytes()


def test_an_epoch_of_momentum_ends_with_every_row_where_stepping_it_every_time_would_have_left_it():
    users = Side.of(np.ones((2, 8), np.float32), np.ones(2, np.float32), "momentum")
    items = Side.of(np.zeros((1, 8), np.float32), np.zeros(1, np.float32), "momentum")
    users.velocity[1], users.bias_velocity[1] = 1.0, 2.0  # a user without a rating in this epoch
    zeros = np.zeros(3, np.int32)
    blocks = Blocks(zeros, zeros, np.ones(3, np.float32), np.array([0, 3]))
    Epochs(blocks, users, items, 0.0, 4.0, 0.5, False, 1).run(0.1, np.zeros((1, 1), np.int32))
    np.testing.assert_allclose(users.factors[1], 1 + 0.5 + 0.25 + 0.125)
    np.testing.assert_allclose(users.bias[1], 1 + 2 * (0.5 + 0.25 + 0.125))
    np.testing.assert_allclose(users.velocity[1], 0.125)
    assert not users.touched.any()
    assert not items.touched.any()


@given(
    ratings=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.floats(-(2.0**100), 2.0**100, width=32)),
        min_size=1, max_size=8,
    ),
    optimizer=st.sampled_from(OPTIMIZERS),
)  # fmt: skip
@example(ratings=[("a", "x", 0.0), ("a", "x", 2.0**-149)], optimizer="sgd")
@example(ratings=[("a", "x", 0.0), ("b", "y", 2.0**-125)], optimizer="adagrad")
@settings(max_examples=40)
def test_any_finite_ratings_give_finite_predictions(ratings, optimizer):
    dataset = Dataset.from_interactions(interactions_from_tuples(ratings))
    model = BiasedMF(factors=3, iterations=3, optimizer=optimizer).fit(dataset)
    weights = np.array([weight for _, _, weight in ratings], np.float32)
    answer = model.predict(["a", "b", "c"], ["x", "y", "q"])
    assert np.isfinite(answer).all()
    assert weights.min() <= answer.min() <= answer.max() <= weights.max()


SCRIPT = """
import hashlib, sys
import numpy as np
from recsys.data import Dataset, Interactions
from recsys.data.synthetic import generate
from recsys.models import BiasedMF
made = generate(users=3000, items=900, mean_history=15, categories=5, seed=2).interactions
weight = np.random.default_rng(0).integers(1, 6, len(made)).astype(np.float32)
data = Dataset.from_interactions(Interactions(made.users, made.items, made.user, made.item, weight))
for optimizer in ("sgd", "momentum", "adagrad"):
    model = BiasedMF(factors=20, iterations=3, threads=int(sys.argv[1]), optimizer=optimizer, seed=7).fit(data)
    factors = model.export()
    arrays = (factors.user_vectors, factors.item_vectors, factors.queries.user_bias, factors.item_bias)
    print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""


def test_same_seed_same_bits_on_one_and_two_threads_and_in_another_process():
    answers = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, threads], capture_output=True, text=True, check=True
        ).stdout.split()
        for threads in ("1", "2")
    ]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 3


def test_ctrl_c_ends_training_within_a_second_and_leaves_no_half_model():
    script = SCRIPT.replace("iterations=3", "iterations=1000000").replace("for opt", "print('on', flush=True)\nfor opt")
    process = subprocess.Popen(
        [sys.executable, "-c", script, "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout.readline() == "on\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - sent < 3  # a second, on a machine that others use too
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0


@pytest.mark.parametrize(
    "settings",
    [
        {"factors": 0}, {"iterations": 0}, {"threads": 0}, {"patience": 0}, {"learning_rate": 0.0},
        {"learning_rate": float("nan")}, {"regularization": -0.1}, {"regularization": float("inf")}, {"momentum": 1.0},
        {"momentum": -0.1}, {"tolerance": 1.0}, {"optimizer": "adam"}, {"seed": -1},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigError):
        BiasedMF(**settings)
