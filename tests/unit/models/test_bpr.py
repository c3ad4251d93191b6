"""The model around the ranking losses: what it learns, its starts, its stops, its seeds, its mistakes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from recsys.data import Dataset, interactions_from_tuples
from recsys.data.synthetic import generate
from recsys.errors import ConfigError, DataError, TrainingDivergedError
from recsys.models import BPR, ImplicitALS
from recsys.models.negatives import Negatives

LOSSES = ("bpr", "warp", "softmax")


@pytest.fixture(scope="module")
def made():
    return generate(users=400, items=250, mean_history=15, categories=5, seed=2)


@pytest.fixture(scope="module")
def dataset(made):
    return Dataset.from_interactions(made.interactions)


def own_taste(model, made, k=10):
    """Mean taste of the users for the categories of what they are recommended: 0.2 for lists drawn blindly."""
    data = model.dataset
    lists = model.recommend(data.users.ids(), k=k).rows
    rows = made.interactions.users.encode(data.users.ids())
    category = made.category[made.interactions.items.encode(data.items.ids())]
    return np.mean(made.taste[rows[:, None], category[lists]])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", ["adagrad", "sgd"])
def test_planted_tastes_are_found(loss, optimizer, made, dataset):
    rate = {"learning_rate": 0.05} if optimizer == "sgd" else {}
    model = BPR(factors=16, loss=loss, optimizer=optimizer, **rate).fit(dataset)
    assert own_taste(model, made) > 0.42
    assert len(model.loss) == model.iterations
    assert model.loss[-1] < 0.8 * model.loss[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_it_reports_is_the_mean_over_the_pairs(loss, dataset):
    """With a vanishing rate and start nothing moves, all scores are equal, and the loss is known."""
    model = BPR(factors=8, loss=loss, learning_rate=1e-9, iterations=1).fit(dataset)
    known = {"bpr": np.log(2), "warp": 1.0, "softmax": np.log(251)}  # warp: the first draw is within the margin
    assert model.loss[0] == pytest.approx(known[loss], rel=2e-2)


def test_negatives_follow_the_power_of_popularity():
    counts = np.array([0, 1, 10, 100, 1000, 5, 5], np.float32)
    for exponent in (0.0, 0.5, 1.0, 2.0):
        drawn = Negatives.of(counts, exponent)
        weight = np.maximum(counts, 1) ** exponent
        np.testing.assert_allclose(np.exp(drawn.log_q), weight / weight.sum(), rtol=1e-5)
        if exponent:
            share = drawn.threshold / 2**32
            in_table = (share + np.bincount(drawn.alias, 1 - share, 7)) / 7
            np.testing.assert_allclose(in_table, weight / weight.sum(), atol=1e-8)


@pytest.mark.parametrize("n", [1, 2, 3, 1000])
def test_any_distribution_fits_into_an_alias_table(n):
    rng = np.random.default_rng(n)
    for counts in (np.ones(n), rng.integers(0, 5, n), rng.pareto(0.5, n)):
        drawn = Negatives.of(counts.astype(np.float32), 0.7)
        share = drawn.threshold / 2**32
        np.testing.assert_allclose((share + np.bincount(drawn.alias, 1 - share, n)) / n, np.exp(drawn.log_q), atol=1e-6)


def test_it_goes_on_where_an_earlier_model_ended_also_with_other_ids(dataset):
    settings = {"factors": 8, "negatives": 1}
    first = BPR(**settings, iterations=20).fit(dataset)
    known = dataset.interactions
    users, items = known.users.ids()[::-1], ["new", *known.items.ids()[::-1]]
    other = interactions_from_tuples([(u, i, 1.0) for u, i in zip(users, items, strict=False)])
    moved, _ = known.recode(other.users.extend(["nobody", *users]), other.items.extend(items))
    again = BPR(**settings, iterations=1).fit(Dataset.from_interactions(moved), start=first)
    cold = BPR(**settings, iterations=1).fit(Dataset.from_interactions(moved))
    assert again.loss[0] < 1.05 * first.loss[-1] < 0.5 * cold.loss[0]
    before, after = first.export(), again.export()
    rows = again.dataset.items.encode(known.items.ids())
    assert np.corrcoef(before.item_bias, after.item_bias[rows])[0, 1] > 0.97
    assert not after.user_vectors[again.dataset.users.row("nobody")].any()


def test_it_may_start_from_another_kind_of_model(dataset):
    als = ImplicitALS(factors=8).fit(dataset)
    settings = {"factors": 8, "negatives": 1, "iterations": 1, "learning_rate": 0.01}
    assert BPR(**settings).fit(dataset, start=als).loss[0] < 0.9 * BPR(**settings).fit(dataset).loss[0]
    with pytest.raises(ConfigError, match="8 factors, more than"):
        BPR(factors=4).fit(dataset, start=als)


def test_scores_stop_the_training_and_choose_the_epoch(dataset):
    scores = iter([0.1, 0.3, 0.2, 0.25, 0.9])
    model = BPR(factors=8, patience=2).fit(dataset, on_epoch=lambda _: next(scores))
    assert model.scores == [0.1, 0.3, 0.2, 0.25]
    assert model.best_epoch == 2
    short = BPR(factors=8, iterations=2).fit(dataset)
    assert model.loss[:2] == short.loss
    np.testing.assert_array_equal(model.export().item_vectors, short.export().item_vectors)


def test_training_ends_early_when_little_is_gained(dataset):
    model = BPR(factors=8, iterations=50, tolerance=0.05).fit(dataset)
    assert 2 < len(model.loss) < 50


def test_a_rate_far_too_large_is_halved_until_it_works_or_named(dataset):
    halved = BPR(factors=8, optimizer="sgd", learning_rate=30.0, negatives=1, iterations=3).fit(dataset)
    assert np.isfinite(halved.loss).all()
    model = BPR(factors=8, iterations=2).fit(dataset)
    loss = model.loss
    model.optimizer, model.learning_rate = "sgd", 1e9
    with pytest.raises(TrainingDivergedError, match="Lower learning_rate"):
        model.fit(dataset)
    assert model.loss == loss
    model.export().check_finite()


@pytest.mark.parametrize("loss", LOSSES)
def test_without_locks_two_threads_reach_the_loss_of_one(loss, made, dataset):
    settings = {"factors": 16, "loss": loss, "iterations": 15}
    alone = BPR(**settings).fit(dataset)
    together = BPR(**settings, asynchronous=True, threads=2).fit(dataset)
    assert together.loss[-1] == pytest.approx(alone.loss[-1], rel=0.05)
    assert own_taste(together, made) == pytest.approx(own_taste(alone, made), abs=0.05)


SCRIPT = """
import hashlib, sys
from recsys.data import Dataset
from recsys.data.synthetic import generate
from recsys.models import BPR
data = Dataset.from_interactions(generate(users=2000, items=900, mean_history=15, categories=5, seed=2).interactions)
factors = BPR(factors=20, iterations=3, negatives=4, threads=int(sys.argv[1]), seed=7).fit(data).export()
print(hashlib.sha256(b"".join(table.tobytes() for table in (factors.user_vectors, factors.item_vectors,
                                                            factors.item_bias))).hexdigest())
"""


def test_same_seed_same_bits_in_another_process():
    digests = {
        subprocess.run([sys.executable, "-c", SCRIPT, threads], capture_output=True, text=True, check=True).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1


def test_another_seed_is_another_model(dataset):
    first, second = (BPR(factors=8, iterations=1, seed=seed).fit(dataset).export() for seed in (0, 1))
    assert not np.allclose(first.item_vectors, second.item_vectors, atol=0.01)


def test_ctrl_c_ends_training_within_a_second():
    script = SCRIPT.replace("iterations=3", "iterations=100000").replace(
        "factors = ", "print('on', flush=True); factors = "
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout.readline() == "on\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - sent < 3  # a second, on a machine that others use too
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0


def test_an_interrupted_fit_leaves_the_model_as_it_was(dataset):
    def interrupt(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    fresh = BPR(factors=8)
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(dataset, progress=interrupt)
    with pytest.raises(ConfigError, match="call fit"):
        fresh.export()
    fitted = BPR(factors=8, iterations=3).fit(dataset)
    before, loss = fitted.export(), fitted.loss
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(dataset, progress=interrupt)
    assert fitted.export() is before
    assert fitted.loss == loss


def test_a_long_epoch_is_many_calls_and_the_same_bits(dataset, monkeypatch):
    whole = BPR(factors=8, iterations=2).fit(dataset)
    monkeypatch.setattr("recsys.models.bpr_steps._WORK", 1)
    parts = BPR(factors=8, iterations=2).fit(dataset)
    np.testing.assert_array_equal(whole.export().item_vectors, parts.export().item_vectors)
    assert whole.loss == pytest.approx(parts.loss)


def test_negative_weights_are_refused_and_zero_is_not_observed(dataset):
    with pytest.raises(DataError, match=r"no negative weights.*min_weight"):
        BPR().fit(Dataset.from_interactions(interactions_from_tuples([("u", "i", -1.0)])))
    pairs = [("u", "i", 1.0), ("v", "j", 2.0), ("v", "i", 1.0)]
    without = BPR(factors=4).fit(Dataset.from_interactions(interactions_from_tuples(pairs)))
    having = BPR(factors=4).fit(Dataset.from_interactions(interactions_from_tuples([*pairs, ("u", "j", 0.0)])))
    np.testing.assert_array_equal(without.export().item_vectors, having.export().item_vectors)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_user_one_item_and_a_user_with_everything(loss):
    for pairs in ([("u", "i", 1.0)], [("u", "i", 0.0)], [("u", "i", 1.0), ("u", "j", 1.0), ("v", "j", 1.0)]):
        model = BPR(factors=32, loss=loss).fit(Dataset.from_interactions(interactions_from_tuples(pairs)))
        assert np.isfinite(model.loss).all()
        assert model.recommend(["u"], k=3, exclude_seen=False).rows[0, 0] >= 0


@pytest.mark.parametrize(
    "settings",
    [
        {"factors": 0}, {"iterations": 0}, {"threads": 0}, {"negatives": 0}, {"patience": 0}, {"regularization": -0.1},
        {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"regularization": float("inf")},
        {"popularity_exponent": -0.1}, {"tolerance": 1.0}, {"loss": "magic"}, {"optimizer": "magic"}, {"seed": -1},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigError):
        BPR(**settings)
