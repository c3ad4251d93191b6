"""Gradient steps of factorization machines, by mathematics and against their numpy twin."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import kernels
from recsys.kernels import reference

LOSSES = ("squared", "logistic", "hinge")
OPTIMIZERS = ("sgd", "adagrad", "momentum")
LEARNED = ("bias", "weights", "vectors", "field_weights")
STATE = ("bias_state", "squares", "velocity", "weight_velocity", "touched", "field_state")


def problem(loss="squared", seed=0, n=40, parts=2, ones=False, weighted=True, n_features=30, longest=4, **changed):
    """Samples made of rows of a table, each part with features of its own; some rows are empty."""
    rng = np.random.default_rng(seed)
    of_part = [np.arange(p, n_features, parts) for p in range(parts)]
    table = [
        np.sort(rng.choice(of_part[p], min(rng.integers(0, longest + 1), len(of_part[p])), replace=False))
        for p in range(parts)
        for _ in range(6)
    ]
    features = np.concatenate([np.empty(0, int), *table]).astype(np.int32)
    return {
        "indptr": np.append(0, np.cumsum([len(row) for row in table])).astype(np.int64),
        "features": features,
        "values": None if ones else rng.uniform(-1.5, 1.5, len(features)).astype(np.float32),
        "rows": (rng.integers(0, 6, (n, parts)) + 6 * np.arange(parts)).astype(np.int32),
        "targets": (np.sign if loss != "squared" else np.asarray)(rng.standard_normal(n)).astype(np.float32),
        "sample_weight": rng.uniform(0.2, 2, n).astype(np.float32) if weighted else None,
        "blocks": rng.permutation(-(-n // 8)).astype(np.int32),
        "block_size": 8,
        "loss": loss,
        "limit": 0.8,
        "learning_rate": 0.1,
        "regularization": 0.05,
        "weight_regularization": 0.02,
        **changed,
    }


def machine(optimizer="sgd", seed=1, n_features=30, width=16, n_fields=0, trained=True, scale=0.3):
    rng = np.random.default_rng(seed)

    def normal(*shape, by=scale):
        return (by * rng.standard_normal(shape)).astype(np.float32)

    state = {"bias": normal(1), "weights": normal(n_features), "vectors": normal(n_features, width)}
    if optimizer == "adagrad":
        state["bias_state"] = rng.uniform(0.1, 1, 1).astype(np.float32)
        state["squares"] = rng.uniform(0.1, 1, (n_features, 2)).astype(np.float32)
    if optimizer == "momentum":
        state |= {"bias_state": normal(1, by=0.01), "velocity": normal(n_features, width, by=0.01)}
        state |= {"weight_velocity": normal(n_features, by=0.01), "touched": np.full(n_features, 3, np.int64)}
    if n_fields:
        r = normal(n_fields, n_fields, by=1)
        state |= {"field_weights": r + r.T, "field_of": rng.integers(0, n_fields, n_features, np.int32)}
        if trained:
            state["field_state"] = np.full((n_fields, n_fields), 0.3, np.float32)
    return state


def settings(optimizer):
    return {"momentum": 0.7, "step": 5} if optimizer == "momentum" else {}


def run(kernel, arguments, state, threads=1):
    """What the kernel returns, and copies of the parameters and of the state after it."""
    after = {name: table.copy() for name, table in state.items()}
    return kernel(**arguments, **after, threads=threads), after


def close(ours, theirs, rel=1e-3, absolute=1e-4):
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4, abs=1e-4)
    for name, table in theirs[1].items():
        np.testing.assert_allclose(ours[1][name], table, rtol=rel, atol=absolute, err_msg=name)


@given(
    st.sampled_from(LOSSES), st.sampled_from(OPTIMIZERS), st.integers(0, 10**6), st.integers(0, 40), st.integers(1, 3),
    st.booleans(), st.booleans(), st.sampled_from([0, 8, 16, 24, 32, 72]), st.sampled_from([0, 0, 1, 4]), st.booleans(),
)  # fmt: skip
def test_compiled_meets_reference(loss, optimizer, seed, n, parts, ones, weighted, width, n_fields, trained):
    arguments = problem(loss, seed, n, parts, ones, weighted) | settings(optimizer)
    state = machine(optimizer, seed, 30, width, n_fields, trained, scale=0.8 / max(width, 1) ** 0.5)
    close(*(run(module.fm_sgd, arguments, state) for module in (kernels, reference)))


def one(loss="squared", ones=False, weight=1.0, target=1.0, **changed):
    """One sample of two parts, five features."""
    values = None if ones else np.array([0.5, -1.2, 0.7, 1.5, 2.0], np.float32)
    table = {"indptr": np.array([0, 3, 5]), "features": np.array([0, 2, 5, 3, 7], np.int32), "values": values}
    sample = {"rows": np.array([[0, 1]], np.int32), "targets": np.array([target], np.float32)}
    plain = {"limit": 1e9, "learning_rate": 1.0, "regularization": 0.0, "weight_regularization": 0.0, "block_size": 4}
    weights = {"sample_weight": np.array([weight], np.float32), "blocks": np.zeros(1, np.int32)}
    return table | sample | weights | plain | {"loss": loss} | changed


def value(arguments, bias, weights, vectors, field_of, field_weights):
    """The loss of the only sample, written down pair by pair, in float64."""
    j = arguments["features"]
    x = np.ones(len(j)) if arguments["values"] is None else arguments["values"].astype(float)
    y = bias[0] + x @ weights[j]
    for a in range(len(j)):
        for b in range(a):
            r = field_weights[min(field_of[j[a]], field_of[j[b]]), max(field_of[j[a]], field_of[j[b]])]
            y += r * (vectors[j[a]] @ vectors[j[b]]) * x[a] * x[b]
    t = float(arguments["targets"][0])
    losses = {"squared": 0.5 * (y - t) ** 2, "logistic": np.log1p(np.exp(-t * y)), "hinge": max(0, 1 - t * y)}
    return losses[arguments["loss"]] * arguments["sample_weight"][0]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("ones", [True, False])
@pytest.mark.parametrize("n_fields", [0, 3])
@pytest.mark.parametrize("target", [1.0, -1.0])
def test_a_step_is_minus_the_gradient_by_finite_differences(loss, ones, n_fields, target):
    arguments = one(loss, ones, weight=0.7, target=target)
    state = machine(n_features=8, width=8, n_fields=n_fields)
    returned, after = run(kernels.fm_sgd, arguments, state)
    fixed = {"field_of": state.get("field_of", np.zeros(8, int)), "field_weights": np.ones((1, 1))}
    point = {name: state[name].astype(float) for name in LEARNED if name in state}

    def at(**moved):
        return value(arguments, **{**fixed, **point, **moved})

    assert returned == pytest.approx(at(), rel=1e-5)
    for name, table in point.items():
        gradient = np.zeros_like(table)
        for where in np.ndindex(table.shape):
            h = np.zeros_like(table)
            h[where] = 1e-5
            gradient[where] = (at(**{name: table + h}) - at(**{name: table - h})) / 2e-5
        moved = after[name] - table
        if name == "field_weights":  # the loss reads the upper half
            np.testing.assert_array_equal(after[name], after[name].T)
            moved = np.triu(moved)
        np.testing.assert_allclose(moved, -gradient, atol=3e-5, err_msg=name)


def test_the_penalty_shrinks_what_a_step_touches_and_nothing_else():
    state = machine(n_features=8)
    arguments = one(weight=0.5, learning_rate=0.2)
    free = run(kernels.fm_sgd, arguments, state)[1]
    shrunk = run(kernels.fm_sgd, arguments | {"regularization": 0.3, "weight_regularization": 0.4}, state)[1]
    touched = np.isin(np.arange(8), arguments["features"])
    np.testing.assert_allclose(
        shrunk["vectors"] - free["vectors"], -0.03 * touched[:, None] * state["vectors"], atol=1e-6
    )
    np.testing.assert_allclose(shrunk["weights"] - free["weights"], -0.04 * touched * state["weights"], atol=1e-6)
    np.testing.assert_array_equal(shrunk["bias"], free["bias"])


def test_an_adagrad_step_is_the_gradient_over_the_root_of_its_summed_squares():
    state = machine("adagrad", n_features=8)
    plain = {name: state[name] for name in ("bias", "weights", "vectors")}
    gradient = {name: plain[name] - after for name, after in run(kernels.fm_sgd, one(), plain)[1].items()}
    _, after = run(kernels.fm_sgd, one(learning_rate=0.1), state)
    sums = {
        "bias": state["bias_state"] + gradient["bias"] ** 2,
        "weights": state["squares"][:, 0] + gradient["weights"] ** 2,
        "vectors": state["squares"][:, 1:] + (gradient["vectors"] ** 2).sum(axis=1, keepdims=True),
    }
    np.testing.assert_allclose(after["squares"], np.column_stack([sums["weights"], sums["vectors"]]), rtol=1e-4)
    for name, squares in sums.items():
        expected = plain[name] - 0.1 / np.sqrt(squares) * gradient[name]
        np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_lazy_momentum_is_momentum_in_every_step():
    arguments = problem(
        n=64, regularization=0.0, weight_regularization=0.0, momentum=0.8, blocks=np.arange(8, dtype=np.int32)
    )
    state = machine("momentum")
    state["touched"][:] = 0
    _, lazy = run(kernels.fm_sgd, arguments, state)
    dense = {name: table.astype(float) for name, table in state.items()}
    for place in range(64):
        sample = arguments | {"rows": arguments["rows"][place : place + 1], "blocks": np.zeros(1, np.int32)}
        sample |= {name: arguments[name][place : place + 1] for name in ("targets", "sample_weight")}
        now = {name: dense[name].astype(np.float32) for name in ("bias", "weights", "vectors")}
        _, moved = run(kernels.fm_sgd, {**sample, "momentum": 0.0}, now)
        for name, velocity in (("bias", "bias_state"), ("weights", "weight_velocity"), ("vectors", "velocity")):
            dense[velocity] = 0.8 * dense[velocity] + 0.2 * (moved[name].astype(float) - now[name])
            dense[name] = dense[name] + dense[velocity]
    left = 0.8 ** (64 - lazy["touched"])
    lazy["vectors"] += (0.8 * (1 - left) / 0.2)[:, None] * lazy["velocity"]
    lazy["weights"] += 0.8 * (1 - left) / 0.2 * lazy["weight_velocity"]
    for name in ("bias", "weights", "vectors"):
        np.testing.assert_allclose(lazy[name], dense[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_the_slope_of_the_squared_loss_is_held_within_the_limit():
    state = machine(n_features=8)
    for target, limit, slope in ((50.0, 2.0, -2.0), (-50.0, 3.0, 3.0)):
        returned, after = run(kernels.fm_sgd, one(target=target, limit=limit), state)
        assert after["bias"][0] - state["bias"][0] == pytest.approx(-slope, rel=1e-5)
        assert returned > 1000


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("margin", [-1e4, -40.0, -29.0, 0.0, 29.0, 40.0, 1e4])
def test_the_logistic_loss_is_right_for_any_margin(margin, weighted):
    arguments = one("logistic", weight=0.5) | ({} if weighted else {"sample_weight": None})
    state = {"bias": np.array([margin]), "weights": np.zeros(8), "vectors": np.zeros((8, 0))}
    state = {name: table.astype(np.float32) for name, table in state.items()}
    returned, after = run(kernels.fm_sgd, arguments, state)
    share = 0.5 if weighted else 1.0
    assert returned == pytest.approx(share * np.logaddexp(0, -margin), rel=1e-6, abs=1e-12)
    assert after["bias"][0] == pytest.approx(margin + share / (1 + np.exp(min(margin, 30.0))), rel=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_field_for_all_of_weight_one_changes_nothing(optimizer):
    arguments = problem() | settings(optimizer)
    state = machine(optimizer)
    one_field = {"field_of": np.zeros(30, np.int32), "field_weights": np.ones((1, 1), np.float32)}
    plain = run(kernels.fm_sgd, arguments, state)
    fielded = run(kernels.fm_sgd, arguments, state | one_field)
    close((fielded[0], {name: fielded[1][name] for name in state}), plain)
    assert fielded[1]["field_weights"] == 1


def test_blocks_are_worked_on_in_their_order():
    arguments = problem(n=37)
    state = machine()
    one_by_one = state
    total = 0.0
    for block in arguments["blocks"]:
        returned, one_by_one = run(kernels.fm_sgd, {**arguments, "blocks": np.array([block], np.int32)}, one_by_one)
        total += returned
    together = run(kernels.fm_sgd, arguments, state)
    close(together, (total, one_by_one), 1e-5, 1e-6)
    swapped = run(kernels.fm_sgd, {**arguments, "blocks": arguments["blocks"][::-1].copy()}, state)
    assert (swapped[1]["vectors"] != together[1]["vectors"]).any()


def test_only_the_blocks_asked_for_are_worked_on():
    arguments = problem(n=40, parts=1, n_features=30)
    some = {**arguments, "blocks": np.array([2], np.int32)}
    state = machine()
    _, after = run(kernels.fm_sgd, some, state)
    rows = arguments["rows"][16:24, 0]
    touched = {
        j for row in rows for j in arguments["features"][arguments["indptr"][row] : arguments["indptr"][row + 1]]
    }
    assert set(np.flatnonzero((after["vectors"] != state["vectors"]).any(1))) == touched


@pytest.mark.parametrize("n_fields", [0, 3])
def test_no_samples_no_features_no_parts(n_fields):
    state = machine(n_fields=n_fields)
    nothing = problem(n=0)
    assert run(kernels.fm_sgd, nothing, state)[0] == 0
    without = problem(n=8, parts=1) | {"rows": np.empty((8, 0), np.int32), "sample_weight": None}
    returned, after = run(kernels.fm_sgd, without, state)
    close((returned, after), run(reference.fm_sgd, without, state))
    np.testing.assert_array_equal(after["weights"], state["weights"])
    assert after["bias"] != state["bias"]


def test_lost_numbers_show_in_the_loss():
    for name in ("bias", "weights", "vectors"):
        for loss in LOSSES:
            state = machine()
            state[name][:] = np.nan
            assert np.isnan(run(kernels.fm_sgd, problem(loss), state)[0]), (name, loss)


def digest():
    state = machine("adagrad", n_fields=3)
    returned, after = run(kernels.fm_sgd, problem("logistic", n=300), state)
    numbers = [np.float64(returned).tobytes(), *(table.tobytes() for table in after.values())]
    return hashlib.sha256(b"".join(numbers)).hexdigest()


def test_the_same_bits_twice_and_in_another_process(request):
    script = f"import sys; sys.path.insert(0, {str(request.path.parent)!r}); import test_fm_sgd as t; print(t.digest())"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert digest() == digest() == other.stdout.strip()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_threads_without_locks_do_every_block_once(optimizer):
    arguments = problem("logistic", seed=3, n=4000, n_features=400, block_size=100, learning_rate=0.01) | settings(
        optimizer
    )
    arguments["blocks"] = np.arange(40, dtype=np.int32)
    state = machine(optimizer, n_features=400)
    alone, together = (run(kernels.fm_sgd, arguments, state, threads) for threads in (1, 4))
    assert together[0] == pytest.approx(alone[0], rel=0.02)
    np.testing.assert_allclose(together[1]["vectors"], alone[1]["vectors"], atol=0.1)


def refused():
    good = problem(n=16)
    state = machine(n_fields=3)
    adagrad, momentum = machine("adagrad"), machine("momentum")
    changes = {
        "float64 vectors": {"vectors": state["vectors"].astype(float)},
        "vectors not contiguous": {"vectors": np.zeros((30, 32), np.float32)[:, ::2]},
        "width of no vector": {"vectors": np.zeros((30, 7), np.float32)},
        "weights too short": {"weights": state["weights"][:-1]},
        "two biases": {"bias": np.zeros(2, np.float32)},
        "int64 features": {"features": good["features"].astype(np.int64)},
        "feature out of range": {"features": np.full_like(good["features"], 30)},
        "negative feature": {"features": np.full_like(good["features"], -1)},
        "values too short": {"values": good["values"][:-1]},
        "row out of range": {"rows": np.full((16, 2), 12, np.int32)},
        "negative row": {"rows": np.full((16, 2), -1, np.int32)},
        "indptr that falls": {"indptr": good["indptr"][::-1].copy()},
        "indptr beyond the end": {"indptr": good["indptr"] + 1},
        "empty indptr": {"indptr": np.empty(0, np.int64)},
        "targets too short": {"targets": good["targets"][:-1]},
        "weights of samples too short": {"sample_weight": good["sample_weight"][:-1]},
        "block beyond the samples": {"blocks": np.array([2], np.int32)},
        "negative block": {"blocks": np.array([-1], np.int32)},
        "empty blocks": {"block_size": 0},
        "unknown loss": {"loss": "magic"},
        "momentum of 1": {"momentum": 1.0},
        "no thread": {"threads": 0},
        "squares without bias_state": {"squares": adagrad["squares"]},
        "bias_state alone": {"bias_state": adagrad["bias_state"]},
        "squares too short": {"squares": adagrad["squares"][:-1], "bias_state": adagrad["bias_state"]},
        "two optimizers": {name: {**adagrad, **momentum}[name] for name in STATE if name in {**adagrad, **momentum}},
        "velocity alone": {"velocity": momentum["velocity"], "bias_state": momentum["bias_state"]},
        "touched too short": {**momentum, "touched": momentum["touched"][:-1]},
        "fields without weights": {"field_weights": None, "field_state": None},
        "field out of range": {"field_of": np.full(30, 3, np.int32)},
        "negative field": {"field_of": np.full(30, -1, np.int32)},
        "field_of too short": {"field_of": state["field_of"][:-1]},
        "field weights not square": {"field_weights": np.ones((3, 2), np.float32)},
        "field state of another shape": {"field_state": np.ones((2, 2), np.float32)},
    }
    return [pytest.param({**good, **state, "threads": 1, **change}, id=name) for name, change in changes.items()]


@pytest.mark.parametrize("arguments", refused())
def test_bad_arguments_are_refused(arguments):
    with pytest.raises((TypeError, ValueError)):
        kernels.fm_sgd(**arguments)
