"""Gradient steps of the ranking losses, by mathematics and against their numpy twin."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import kernels
from recsys.kernels import reference
from recsys.kernels.reference.bpr import draws

LOSSES = ("bpr", "warp", "softmax")
SUMS = ("x_sum", "y_sum", "bias_sum")


def problem(seed=0, n_users=12, n_items=30, width=16, density=0.2, uniform=False, loss="bpr", **changed):
    rng = np.random.default_rng(seed)
    has = rng.random((n_users, n_items)) < density
    users, items = (rows.astype(np.int32) for rows in np.nonzero(has))
    order = rng.permutation(len(users))
    alias = {"threshold": None, "alias": None}
    if not uniform:
        alias["threshold"] = rng.integers(0, 2**32, n_items, np.uint32)
        alias["alias"] = rng.integers(0, n_items, n_items, np.int32)
    return {
        "users": users[order],
        "items": items[order],
        "blocks": rng.permutation(-(-len(users) // 8)).astype(np.int32),
        "block_size": 8,
        "indptr": np.append(0, np.cumsum(has.sum(1))).astype(np.int64),
        "indices": items,
        **alias,
        "log_q": np.log(rng.dirichlet(np.ones(n_items))).astype(np.float32),
        "loss": loss,
        "negatives": 5,
        "key": int(rng.integers(2**64, dtype=np.uint64)),
        "learning_rate": 0.1,
        "regularization": 0.05,
        **changed,
    }


def tables(arguments, seed=1, width=16, adagrad=True, scale=0.5):
    rng = np.random.default_rng(seed)
    n_users, n_items = len(arguments["indptr"]) - 1, len(arguments["log_q"])
    state = {
        name: (scale * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in (("x", (n_users, width)), ("y", (n_items, width)), ("bias", n_items))
    }
    sums = {name: np.full(n, 0.1, np.float32) for name, n in zip(SUMS, (n_users, n_items, n_items), strict=True)}
    return state | (sums if adagrad else dict.fromkeys(SUMS))


def run(kernel, arguments, state, threads=1):
    """What the kernel returns, and copies of the tables after it."""
    after = {name: None if table is None else table.copy() for name, table in state.items()}
    return kernel(**arguments, **after, threads=threads), after


def single(loss="bpr", n_items=20, own=(3, 7), **changed):
    """One user with one positive to be worked on: item 3."""
    return problem(
        n_users=1, n_items=n_items, loss=loss, users=np.zeros(1, np.int32), items=np.array([3], np.int32),
        blocks=np.zeros(1, np.int32), indptr=np.array([0, len(own)]), indices=np.array(own, np.int32), **changed,
    )  # fmt: skip


def negatives_of(arguments):
    """Negatives of the only positive, in the order drawn."""
    names = ("key", "negatives", "threshold", "alias")
    drawn = draws(place=0, n_items=len(arguments["log_q"]), **{name: arguments[name] for name in names})
    return drawn[~np.isin(drawn, arguments["indices"])][: arguments["negatives"]]


@given(
    st.sampled_from(LOSSES), st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 30),
    st.sampled_from([8, 16, 40]), st.sampled_from([0.0, 0.1, 0.6, 1.0]), st.booleans(), st.booleans(),
    st.sampled_from([1, 7, 20]),
)  # fmt: skip
def test_compiled_meets_reference(loss, seed, n_users, n_items, width, density, uniform, adagrad, negatives):
    arguments = problem(seed, n_users, n_items, width, density, uniform, loss, negatives=negatives)
    state = tables(arguments, seed, width, adagrad, scale=width**-0.5)
    compiled, readable = (run(module.bpr_blocks, arguments, state) for module in (kernels, reference))
    assert compiled[0] == pytest.approx(readable[0], rel=1e-4, abs=1e-4)
    for name, table in readable[1].items():
        if table is not None:
            np.testing.assert_allclose(compiled[1][name], table, rtol=1e-3, atol=1e-4, err_msg=name)


def value(arguments, negatives, x, y, bias):
    """The loss of one positive, written down from its definition, in float64."""
    s = y @ x + bias
    margins = s[3] - s[negatives]
    if arguments["loss"] == "bpr":
        return np.log1p(np.exp(-margins.min()))
    if arguments["loss"] == "warp":
        first = np.flatnonzero(margins < 1)[0]
        return np.log(1 + (len(y) - 1) // (first + 1)) / np.log(len(y)) * (1 - margins[first])
    counted = np.exp(s[negatives]) / (len(negatives) * np.exp(arguments["log_q"][negatives].astype(float)))
    return np.log(1 + counted.sum() / np.exp(s[3]))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("key", [1, 6, 7])
def test_a_step_is_minus_the_gradient_by_finite_differences(loss, key):
    arguments = single(loss, n_items=50, key=key, uniform=True, learning_rate=1.0, regularization=0.0)
    negatives = negatives_of(arguments)
    assert len(set(negatives)) == 5, "an item drawn twice moves twice: choose another key"
    state = tables(arguments, seed=key, adagrad=False)
    returned, after = run(kernels.bpr_blocks, arguments, state)
    point = {name: state[name].astype(float) for name in ("x", "y", "bias")}

    def at(**moved):
        now = point | moved
        return value(arguments, negatives, now["x"][0], now["y"], now["bias"])

    assert returned == pytest.approx(at(), rel=1e-5)
    for name, table in point.items():
        gradient = np.zeros_like(table)
        for where in np.ndindex(table.shape):
            h = np.zeros_like(table)
            h[where] = 1e-5
            gradient[where] = (at(**{name: table + h}) - at(**{name: table - h})) / 2e-5
        np.testing.assert_allclose(after[name] - table, -gradient, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_penalty_shrinks_what_a_step_touches_and_nothing_else(loss):
    arguments = single(loss, n_items=50, key=2, learning_rate=0.5, regularization=0.0)
    state = tables(arguments, adagrad=False)
    free, shrunk = (run(kernels.bpr_blocks, {**arguments, "regularization": r}, state)[1] for r in (0.0, 0.1))
    touched = (free["y"] != state["y"]).any(1)
    assert touched.sum() == {"bpr": 2, "warp": 2, "softmax": 6}[loss]
    for name, rows in (("x", [True]), ("y", touched), ("bias", touched)):
        expected = free[name] - 0.05 * state[name] * np.reshape(rows, (-1,) + (1,) * (state[name].ndim - 1))
        np.testing.assert_allclose(shrunk[name], expected, atol=1e-6, err_msg=name)


def counted(n_items, own, n, negatives=1, **changed):
    """How often each item is drawn for a user with some items: at equal scores each draw adds 1/4 to its sum."""
    arguments = single(
        n_items=n_items, own=own, negatives=negatives, learning_rate=0.0, **changed,
    ) | {
        "users": np.zeros(n, np.int32), "items": np.full(n, own[0], np.int32), "block_size": n,
    }  # fmt: skip
    state = tables(arguments, scale=0.0, width=8)
    state["bias_sum"][:] = 0
    _, after = run(kernels.bpr_blocks, arguments, state)
    counts = (after["bias_sum"] / 0.25).astype(int)
    assert counts[own[0]] == counts.sum() - counts[own[0]]  # one negative for each positive; none is the positive
    return np.delete(counts, own[0])


@pytest.mark.parametrize("n_own", [1, 2, 20, 33, 300])
@pytest.mark.parametrize("uniform", [True, False])
def test_a_negative_is_never_an_item_of_the_user(n_own, uniform):
    n_items = 2 * n_own + 1
    own = tuple(range(1, n_items, 2))
    counts = counted(n_items, own, 20_000, uniform=uniform)
    others = np.delete(np.arange(n_items), own[0])
    assert not counts[np.isin(others, own)].any()
    assert counts.sum() > 19_000
    assert (counts[~np.isin(others, own)] > 0).all() or not uniform


def test_draws_follow_the_alias_table():
    rng = np.random.default_rng(0)
    threshold, alias = rng.integers(0, 2**32, 40, np.uint32), rng.integers(0, 40, 40, np.int32)
    q = threshold / 2**32 + np.bincount(alias, 1 - threshold / 2**32, 40)
    for changed, weight in (({"uniform": True}, np.ones(40)), ({"threshold": threshold, "alias": alias}, q)):
        counts = counted(40, (5,), 100_000, **changed)
        expected = np.delete(weight, 5) / np.delete(weight, 5).sum() * counts.sum()
        assert ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum() < 73  # chi-square, 38 degrees: p = .0005


@pytest.mark.parametrize("loss", LOSSES)
def test_a_user_who_has_everything_is_left_alone(loss):
    arguments = single(loss, n_items=6, own=range(6))
    state = tables(arguments)
    returned, after = run(kernels.bpr_blocks, arguments, state)
    assert returned == 0
    assert all((after[name] == state[name]).all() for name in state)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("adagrad", [True, False])
def test_the_loss_falls(loss, adagrad):
    settings = {"learning_rate": 0.3, "regularization": 0.0}
    arguments = problem(n_users=40, n_items=60, density=0.1, uniform=True, loss=loss, **settings)
    state, losses = tables(arguments, adagrad=adagrad, scale=0.05), []
    for _ in range(30):
        returned, state = run(kernels.bpr_blocks, arguments, state)
        losses.append(returned)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_one_item_one_user_and_nothing_at_all(loss):
    nothing = np.empty(0, np.int32)
    none = {"users": nothing, "items": nothing, "indices": nothing, "blocks": nothing}
    lonely = single(loss, n_items=1, own=(0,)) | {"items": np.zeros(1, np.int32)}
    for arguments in (lonely, problem(loss=loss, **none) | {"indptr": np.zeros(13, np.int64)}):
        state = tables(arguments)
        returned, after = run(kernels.bpr_blocks, arguments, state)
        assert returned == 0
        assert all((after[name] == state[name]).all() for name in state)


def test_only_the_blocks_asked_for_are_worked_on():
    arguments = problem(n_users=12, density=0.4)
    some = arguments["blocks"][:1]
    place = slice(8 * some[0], 8 * some[0] + 8)
    state = tables(arguments)
    _, after = run(kernels.bpr_blocks, {**arguments, "blocks": some}, state)
    moved = np.flatnonzero((after["x"] != state["x"]).any(1))
    assert moved.tolist() == np.unique(arguments["users"][place]).tolist()


def test_lost_numbers_show_in_the_loss():
    for name in ("x", "y", "bias"):
        arguments = problem()
        state = tables(arguments)
        state[name][:] = np.nan
        assert np.isnan(run(kernels.bpr_blocks, arguments, state)[0])


def digest():
    arguments = problem(seed=3, n_users=200, n_items=90, loss="softmax")
    returned, after = run(kernels.bpr_blocks, arguments, tables(arguments))
    return hashlib.sha256(
        b"".join([np.float64(returned).tobytes(), *(a.tobytes() for a in after.values())])
    ).hexdigest()


def test_the_same_bits_twice_and_in_another_process(request):
    script = f"import sys; sys.path.insert(0, {str(request.path.parent)!r}); import test_bpr; print(test_bpr.digest())"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert digest() == digest() == other.stdout.strip()


@pytest.mark.parametrize("loss", LOSSES)
def test_threads_without_locks_do_every_block_once(loss):
    arguments = problem(seed=3, n_users=400, n_items=300, loss=loss, learning_rate=0.01)
    state = tables(arguments)
    alone, together = (run(kernels.bpr_blocks, arguments, state, threads) for threads in (1, 4))
    assert together[0] == pytest.approx(alone[0], rel=0.02)
    np.testing.assert_allclose(together[1]["x"], alone[1]["x"], atol=0.1)


def refused():
    good = problem(n_users=4, n_items=5, density=1.0)
    state = tables(good, width=8)
    changes = {
        "float64 x": {"x": state["x"].astype(float)},
        "x not contiguous": {"x": np.zeros((4, 16), np.float32)[:, ::2]},
        "width of no vector": {"x": np.zeros((4, 7), np.float32), "y": np.zeros((5, 7), np.float32)},
        "two widths": {"y": np.zeros((5, 16), np.float32)},
        "int64 users": {"users": good["users"].astype(np.int64)},
        "user out of range": {"users": np.full(20, 4, np.int32)},
        "negative item": {"items": np.full(20, -1, np.int32)},
        "items too short": {"items": good["items"][:-1]},
        "block beyond the positives": {"blocks": np.array([3], np.int32)},
        "negative block": {"blocks": np.array([-1], np.int32)},
        "empty blocks": {"block_size": 0},
        "indptr beyond the end": {"indptr": np.array([0, 5, 10, 15, 21])},
        "indptr that falls": {"indptr": np.array([0, 9, 5, 15, 20])},
        "indptr too short": {"indptr": np.array([0, 5, 10, 20])},
        "alias out of range": {"alias": np.full(5, 5, np.int32)},
        "alias too short": {"alias": np.zeros(4, np.int32)},
        "alias alone": {"threshold": None},
        "log_q too short": {"log_q": good["log_q"][:-1]},
        "bias too short": {"bias": state["bias"][:-1]},
        "sums too short": {"y_sum": state["y_sum"][:-1]},
        "sums of users alone": {"y_sum": None, "bias_sum": None},
        "unknown loss": {"loss": "magic"},
        "no negatives": {"negatives": 0},
        "no thread": {"threads": 0},
    }
    return [pytest.param({**good, **state, "threads": 1, **change}, id=name) for name, change in changes.items()]


@pytest.mark.parametrize("arguments", refused())
def test_bad_arguments_are_refused_before_any_memory_is_touched(arguments):
    with pytest.raises((TypeError, ValueError)):
        kernels.bpr_blocks(**arguments)
