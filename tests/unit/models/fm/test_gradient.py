"""Epochs of gradient steps on pointwise losses: they learn what was planted, and never lose their numbers."""

import contextlib
import itertools

import numpy as np
import pytest

from recsys.data.features import FeatureMatrix
from recsys.errors import TrainingDivergedError
from recsys.models.fm import gradient
from recsys.models.fm.design import Design
from recsys.models.fm.gradient import Samples, gradient_epochs
from recsys.models.fm.parameters import Parameters, aligned

SIZES = (12, 9, 4)  # features of each field

SETTINGS = {
    "loss": "squared",
    "optimizer": "adagrad",
    "learning_rate": 0.1,
    "regularization": 0.0,
    "weight_regularization": 0.0,
    "momentum": 0.9,
    "iterations": 30,
    "asynchronous": False,
    "threads": 1,
    "train_field_weights": False,
}
RATES = {"sgd": 0.02, "momentum": 0.02, "adagrad": 0.3}


def one_hot(rng, n, sizes=SIZES, values=None):
    """Rows with one feature of each field."""
    starts = np.cumsum([0, *sizes])
    features = np.array([rng.integers(a, b, n) for a, b in itertools.pairwise(starts)]).reshape(len(sizes), n).T
    values = np.ones(features.size) if values is None else values
    fields = tuple(f"f{f}" for f in range(len(sizes)))
    indptr = np.arange(n + 1, dtype=np.int64) * len(sizes)
    return FeatureMatrix(indptr, features.astype(np.int32).ravel(), values.astype(np.float32), fields, starts)


def design(seed=0, n=6000, **changed):
    return Design.of_rows(one_hot(np.random.default_rng(seed), n, **changed))


def planted(of, factors=2, seed=1, fields=False):
    rng = np.random.default_rng(seed)
    truth = Parameters.random(of, factors, 1.2, rng)
    truth.bias[:] = 0.5
    truth.weights[:] = 0.5 * rng.standard_normal(of.n_features)
    if not fields:
        return truth
    r = np.triu(rng.choice([-1.0, 0.2, 1.5], (len(of.fields),) * 2))
    r = (r + np.triu(r, 1).T).astype(np.float32)
    return Parameters(truth.bias, truth.weights, truth.vectors, factors, truth.field_of, r)


def start(of, factors=4, seed=2, fields=False):
    p = Parameters.random(of, factors, 0.3, np.random.default_rng(seed))
    r = np.ones((len(of.fields),) * 2, np.float32) if fields else None
    return Parameters(p.bias, p.weights, p.vectors, factors, p.field_of, r)


def train(of, targets, parameters, sample_weight=None, seed=3, **changed):
    """Losses of the epochs."""
    targets = np.asarray(targets, np.float32)
    settings = {**SETTINGS, **changed}
    return list(gradient_epochs(of, targets, sample_weight, parameters, **settings, rng=np.random.default_rng(seed)))


@pytest.mark.parametrize("optimizer", RATES)
def test_a_planted_machine_is_found(optimizer):
    rows, unseen = design(), design(seed=9)
    truth, learned = planted(rows), start(rows)
    targets = truth.predict(rows) + 0.1 * np.random.default_rng(4).standard_normal(len(rows))
    losses = train(rows, targets, learned, optimizer=optimizer, learning_rate=RATES[optimizer])
    assert losses[-1] < 0.5 * 0.1**2 * 1.2 < losses[0]
    error = learned.predict(unseen) - truth.predict(unseen)
    assert np.sqrt(np.mean(error**2)) < 0.05 < truth.predict(unseen).std() / 10


@pytest.mark.parametrize("optimizer", RATES)
def test_planted_field_weights_are_found(optimizer):
    rows = design(sizes=(9, 8, 7))
    truth = planted(rows, fields=True)
    targets = truth.predict(rows)
    free, fixed = start(rows, 2, fields=True), start(rows, 2, fields=True)
    rates = {"optimizer": optimizer, "learning_rate": RATES[optimizer]}
    assert (
        train(rows, targets, free, **rates, train_field_weights=True)[-1]
        < 0.2 * train(rows, targets, fixed, **rates)[-1]
    )
    assert (fixed.field_weights == 1).all()
    np.testing.assert_array_equal(free.field_weights, free.field_weights.T)


def test_the_logistic_loss_separates():
    rows = design(n=3000)
    truth = planted(rows)
    targets = np.where(truth.predict(rows) > 0.5, 1, -1)
    learned = start(rows)
    losses = train(rows, targets, learned, loss="logistic")
    assert losses[-1] < 0.1 < losses[0] < np.log(2) * 1.1
    assert np.mean(np.sign(learned.predict(rows)) == targets) > 0.98


def test_without_factors_hinge_is_a_linear_support_vector_machine():
    rng = np.random.default_rng(5)
    points = rng.standard_normal((400, 2))
    points = points[np.abs(points @ [1, -2] + 0.3) > 0.4][:200]
    targets = np.sign(points @ [1, -2] + 0.3)
    numbers = FeatureMatrix(
        np.arange(201) * 2,
        np.tile([0, 1], 200).astype(np.int32),
        points.ravel().astype(np.float32),
        ("x",),
        np.array([0, 2]),
    )
    rows, learned = Design.of_rows(numbers), Parameters.random(Design.of_rows(numbers), 0, 0.1, rng)
    penalty = 0.01
    train(rows, targets, learned, loss="hinge", learning_rate=0.5, weight_regularization=penalty, iterations=300)

    def objective(w0, w):
        return np.maximum(0, 1 - targets * (w0 + points @ w)).mean() + penalty / 2 * w @ w

    scan = (
        objective(w0, length * np.array([np.cos(a), np.sin(a)]))
        for w0 in np.linspace(-1, 2, 31) for length in np.linspace(0.5, 6, 23) for a in np.linspace(-1.4, -0.8, 25)
    )  # fmt: skip
    assert objective(learned.bias[0], learned.weights.astype(float)) < min(scan) * 1.02
    assert (np.sign(learned.predict(rows)) == targets).all()


def test_weights_of_samples_act_like_repeats():
    rows = design(n=500)
    targets = planted(rows).predict(rows) + np.random.default_rng(4).standard_normal(500)
    times = np.random.default_rng(6).integers(0, 4, 500)
    settings = {"optimizer": "sgd", "learning_rate": 0.001, "weight_regularization": 0.05, "iterations": 600}
    weighted, repeated, even = (start(rows, factors=0) for _ in range(3))  # one minimum only
    train(rows, targets, weighted, sample_weight=times.astype(np.float32), **settings)
    again = np.repeat(np.arange(500), times)
    settings["iterations"] = int(settings["iterations"] * (times > 0).sum() / times.sum())  # as many steps in all
    train(rows.take(again), targets[again], repeated, **settings)
    train(rows, targets, even, **settings)
    apart = np.abs(weighted.predict(rows) - repeated.predict(rows)).mean()
    assert apart < 0.1 * np.abs(weighted.predict(rows) - even.predict(rows)).mean()


def test_of_the_weights_of_samples_only_the_ratios_count():
    rows = design(n=300)
    targets = planted(rows).predict(rows)
    weight = np.random.default_rng(6).uniform(0.5, 2, 300).astype(np.float32)
    one, other = start(rows), start(rows)
    losses = [
        train(rows, targets, p, sample_weight=w, iterations=3) for p, w in ((one, weight), (other, weight * 1024))
    ]
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(one.vectors, other.vectors)


@pytest.mark.parametrize("loss", ["squared", "logistic", "hinge"])
def test_the_loss_is_the_weighted_mean_before_each_step(loss):
    rows = design(n=300)
    rng = np.random.default_rng(0)
    targets, weight = np.sign(rng.standard_normal(300)), rng.integers(0, 3, 300).astype(np.float32)
    learned = start(rows)
    t, y = targets, learned.predict(rows).astype(float)
    each = {"squared": 0.5 * (y - t) ** 2, "logistic": np.logaddexp(0, -t * y), "hinge": np.maximum(0, 1 - t * y)}[loss]
    for given in (weight, None):
        (first,) = train(rows, targets, learned, given, loss=loss, optimizer="sgd", learning_rate=1e-9, iterations=1)
        assert first == pytest.approx(np.average(each, weights=given), rel=1e-4)


def test_relation_blocks_and_rows_written_out_give_the_same():
    rng = np.random.default_rng(7)
    blocks = (one_hot(rng, 20, (5, 4)), one_hot(rng, 15, (6,), rng.uniform(0.5, 2, 15)))
    parts = np.column_stack([rng.integers(0, 20, 400), rng.integers(0, 15, 400)]).astype(np.int32)
    related = Design(blocks, parts)
    flat = Design.of_rows(related.flat())
    targets = planted(related).predict(related)
    one, other = start(related), start(flat)
    for optimizer in RATES:
        losses = [train(d, targets, p, optimizer=optimizer, iterations=4) for d, p in ((related, one), (flat, other))]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    np.testing.assert_allclose(one.vectors, other.vectors, rtol=1e-3, atol=1e-4)


def test_same_seed_same_bits_and_another_seed_others():
    rows = design()
    targets = planted(rows).predict(rows)
    runs = [start(rows) for _ in range(3)]
    for learned, seed in zip(runs, (3, 3, 4), strict=True):
        train(rows, targets, learned, seed=seed, iterations=3)
    np.testing.assert_array_equal(runs[0].vectors, runs[1].vectors)
    assert (runs[0].vectors != runs[2].vectors).any()


@pytest.mark.parametrize("optimizer", RATES)
def test_threads_without_locks_learn_about_as_well(optimizer):
    rows = design(n=48_000, sizes=(300, 200, 50))
    targets = planted(rows).predict(rows)
    settings = {"optimizer": optimizer, "learning_rate": RATES[optimizer], "iterations": 6}
    alone = train(rows, targets, start(rows), **settings)
    two = {"asynchronous": True, "threads": 2}
    # Five runs: a thread that the machine stops for long moves its rows by an old slope, early on a kick that helps.
    together = np.median([train(rows, targets, start(rows), **settings, **two)[-1] for _ in range(5)])
    assert together < alone[0] / 2
    assert together == pytest.approx(alone[-1], rel=0.15)


def test_kernel_calls_are_bounded_and_change_nothing(monkeypatch):
    rows = design(n=9000)
    targets = planted(rows).predict(rows)
    whole, cut = start(rows), start(rows)
    for learned, work in ((whole, gradient._WORK), (cut, 1)):
        monkeypatch.setattr(gradient, "_WORK", work)
        train(rows, targets, learned, optimizer="momentum", iterations=2)
    np.testing.assert_allclose(cut.vectors, whole.vectors, rtol=1e-4, atol=1e-5)


def test_padding_stays_zero():
    rows = design(n=300)
    for optimizer in RATES:
        learned = start(rows, factors=3)
        train(rows, planted(rows).predict(rows), learned, optimizer=optimizer, iterations=3)
        assert not learned.vectors[:, 3:].any()


def test_samples_without_weight_are_left_out():
    rows = design(n=100)
    weight = (np.arange(100) % 2).astype(np.float32)
    samples = Samples.shuffled(rows, np.arange(100, dtype=np.float32), weight, np.random.default_rng(0))
    assert sorted(samples.targets) == list(range(1, 100, 2))
    assert samples.sample_weight is None


HOSTILE = {
    "rate of a million": {"learning_rate": 1e6},
    "rate of a million, logistic": {"learning_rate": 1e6, "loss": "logistic"},
    "rate of a million, hinge": {"learning_rate": 1e6, "loss": "hinge"},
    "rate of next to nothing": {"learning_rate": 1e-30},
    "rate of 1e30": {"learning_rate": 1e30},
    "penalty of a million": {"regularization": 1e6, "weight_regularization": 1e6},
    "penalty of 1e30": {"regularization": 1e30, "weight_regularization": 1e30},
    "momentum near 1": {"momentum": 0.999999},
    "no momentum": {"momentum": 0.0},
    "targets of 1e30": {"targets": 1e30},
    "targets of 1e-30": {"targets": 1e-30},
    "targets of 3e38": {"targets": 3e38},
    "one target far away": {"targets": np.append(np.zeros(63), 1e15)},
    "targets all zero": {"targets": 0.0},
    "targets all alike": {"targets": np.full(64, 7.0)},
    "targets of one class": {"targets": np.ones(64), "loss": "logistic"},
    "values of 1e15": {"values": 1e15},
    "values of 1e30": {"values": 1e30},
    "values of 1e-30": {"values": 1e-30},
    "values all zero": {"values": 0.0},
    "vectors of 1e15": {"length": 1e15},
    "vectors of 1e30": {"length": 1e30},
    "no vectors": {"factors": 0},
    "one factor": {"factors": 1},
    "one sample": {"n": 1},
    "no sample": {"n": 0},
    "no weight": {"sample_weight": np.zeros(64, np.float32)},
    "one weight": {"sample_weight": np.append(np.zeros(63), 1e30).astype(np.float32)},
    "weights of 1e-30 and 1e30": {"sample_weight": np.repeat([1e-30, 1e30], 32).astype(np.float32)},
    "constant features": {"sizes": (1, 1, 1)},
    "empty rows": {"sizes": ()},
    "field weights": {"fields": True, "train_field_weights": True},
    "field weights, rate of a million": {"fields": True, "train_field_weights": True, "learning_rate": 1e6},
    "field weights, values of 1e15": {"fields": True, "train_field_weights": True, "values": 1e15},
}


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("changed", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_settings_end_finite_or_in_a_clear_error(changed, optimizer):
    settings = {"n": 64, "sizes": SIZES, "values": 1.0, "targets": 1.0, "length": 0.3, "factors": 4} | changed
    n, sizes = settings.pop("n"), settings.pop("sizes")
    rng = np.random.default_rng(0)
    values = np.full(n * len(sizes), settings.pop("values"))
    rows = Design.of_rows(one_hot(rng, n, sizes, values))
    targets = np.broadcast_to(settings.pop("targets") * rng.choice([-1.0, 1.0], n), n)
    if isinstance(changed.get("targets"), np.ndarray):
        targets = changed["targets"]
    p = Parameters.random(rows, settings.pop("factors"), settings.pop("length"), rng)
    r = np.ones((len(sizes),) * 2, np.float32) if settings.pop("fields", False) else None
    learned = Parameters(p.bias, p.weights, p.vectors, p.factors, p.field_of, r)
    losses = []
    with contextlib.suppress(TrainingDivergedError):
        losses = train(rows, targets, learned, optimizer=optimizer, iterations=5, **settings)
    assert np.isfinite(losses).all()
    for table in (learned.bias, learned.weights, learned.vectors, *([] if r is None else [r])):
        assert np.isfinite(table).all()


def test_a_rate_too_high_is_halved():
    rows = design(n=1000)
    targets = planted(rows).predict(rows)
    losses = train(rows, targets, start(rows), optimizer="sgd", learning_rate=5.0)
    assert losses[-1] < 0.1


def test_vectors_begin_with_a_cache_line():
    assert aligned(5, 16).ctypes.data % 64 == 0
