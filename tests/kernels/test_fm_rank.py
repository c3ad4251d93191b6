"""Gradient steps of the ranking losses of factorization machines, by mathematics and against their numpy twin."""

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
SUMS = ("vector_sums", "weight_sums")


def ids(sizes):
    """A table of one-hot rows, one block below the other."""
    n = sum(sizes)
    return {"indptr": np.arange(n + 1), "features": np.arange(n, dtype=np.int32), "values": None}


def attributed(rng, sizes, n_attributes=4, most=3, values=True):
    """The same, but each row may have no id, and has some attributes that rows of its block share."""
    indptr, features, first = [0], [], 0
    for size in sizes:
        for row in range(size):
            own = [first + row] if rng.random() < 0.8 else []
            shared = rng.permutation(n_attributes)[: rng.integers(0, most + 1)]
            features += own + sorted(first + size + shared)
            indptr.append(len(features))
        first += size + n_attributes
    x = (0.5 + rng.random(len(features))).astype(np.float32)
    return {
        "indptr": np.array(indptr),
        "features": np.array(features, np.int32),
        "values": x if values else None,
    }


def problem(
    seed=0, n_users=12, n_items=30, n_contexts=3, density=0.2, rows="attributed", uniform=False, weighted=False,
    **changed,
):  # fmt: skip
    rng = np.random.default_rng(seed)
    has = rng.random((n_users, n_items)) < density
    users, items = (rows.astype(np.int32) for rows in np.nonzero(has))
    order = rng.permutation(len(users))
    contexts = rng.integers(0, n_contexts, len(users)) + n_users + n_items
    sizes = (n_users, n_items, n_contexts)
    table = ids(sizes) if rows == "ids" else attributed(rng, sizes, values=rows == "attributed")
    candidates = np.flatnonzero(rng.random(n_items) < 0.8).astype(np.int32)
    if not len(candidates):
        candidates = np.arange(n_items, dtype=np.int32)
    alias = {"threshold": None, "alias": None}
    if not uniform:
        alias["threshold"] = rng.integers(0, 2**32, len(candidates), np.uint32)
        alias["alias"] = rng.integers(0, len(candidates), len(candidates), np.int32)
    return {
        "users": users[order],
        "query_rows": np.stack([users[order], contexts], axis=1).astype(np.int32),
        "items": items[order],
        "sample_weight": rng.random(len(users)).astype(np.float32) if weighted else None,
        "blocks": rng.permutation(-(-len(users) // 8)).astype(np.int32),
        "block_size": 8,
        **table,
        "first_item": n_users,
        "user_indptr": np.append(0, np.cumsum(has.sum(1))).astype(np.int64),
        "user_items": items,
        "candidates": candidates,
        **alias,
        "log_q": np.log(rng.dirichlet(np.ones(n_items))).astype(np.float32),
        "in_batch": False,
        "loss": "bpr",
        "negatives": 5,
        "key": int(rng.integers(2**64, dtype=np.uint64)),
        "learning_rate": 0.1,
        "regularization": 0.05,
        "weight_regularization": 0.03,
        **changed,
    }


def tables(arguments, seed=1, width=16, adagrad=True, scale=0.5, dtype=np.float32):
    rng = np.random.default_rng(seed)
    n = max(int(arguments["features"].max(initial=0)) + 1, 1)
    state = {
        "vectors": (scale * rng.standard_normal((n, width))).astype(dtype),
        "weights": (scale * rng.standard_normal(n)).astype(dtype),
    }
    return state | {name: np.full(n, 0.1, dtype) if adagrad else None for name in SUMS}


def run(kernel, arguments, state, threads=1):
    """What the kernel returns, and copies of the tables after it."""
    after = {name: None if table is None else table.copy() for name, table in state.items()}
    return kernel(**arguments, **after, threads=threads), after


@given(
    st.sampled_from(LOSSES), st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 30),
    st.sampled_from([0, 8, 16, 40]), st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    st.sampled_from(["ids", "attributed", "without values"]), st.sampled_from(["uniform", "popularity", "in_batch"]),
    st.booleans(), st.booleans(), st.sampled_from([1, 3, 7, 20]),
)  # fmt: skip
def test_compiled_meets_reference(
    loss, seed, n_users, n_items, width, density, rows, sampling, adagrad, weighted, negatives
):
    arguments = problem(
        seed, n_users, n_items, density=density, rows=rows, uniform=sampling == "uniform",
        in_batch=sampling == "in_batch", weighted=weighted, loss=loss, negatives=negatives,
    )  # fmt: skip
    state = tables(arguments, seed, width, adagrad, scale=0.3 * max(width, 1) ** -0.5)
    compiled, readable = (run(module.fm_rank, arguments, state) for module in (kernels, reference))
    assert compiled[0] == pytest.approx(readable[0], rel=1e-4, abs=1e-4)
    for name, table in readable[1].items():
        if table is not None:
            np.testing.assert_allclose(compiled[1][name], table, rtol=1e-3, atol=1e-4, err_msg=name)


def dense(arguments, row, n_features):
    """A row of the table, written out."""
    entries = slice(*arguments["indptr"][row : row + 2])
    x = np.zeros(n_features)
    x[arguments["features"][entries]] = 1 if arguments["values"] is None else arguments["values"][entries]
    return x


def prediction(x, vectors, weights):
    """The sum over all pairs of features."""
    products = vectors @ vectors.T
    return weights @ x + x @ np.triu(products, 1) @ x


def value(arguments, chosen, vectors, weights):
    """The loss of the first positive against these negatives, from whole predictions, in float64."""
    query = sum(dense(arguments, row, len(weights)) for row in arguments["query_rows"][0])
    first = arguments["first_item"]
    s = np.array([prediction(query + dense(arguments, first + i, len(weights)), vectors, weights) for i in chosen])
    margins = s[0] - s[1:]
    if arguments["loss"] == "bpr":
        return np.log1p(np.exp(-margins.min()))
    if arguments["loss"] == "warp":
        place = np.flatnonzero(margins < 1)[0]
        n = len(arguments["candidates"])
        return np.log(1 + (n - 1) // (place + 1)) / np.log(n) * (1 - margins[place])
    counted = np.exp(s[1:]) / (len(margins) * np.exp(arguments["log_q"][chosen[1:]].astype(float)))
    return np.log(1 + counted.sum() / np.exp(s[0]))


def first_alone(key, **changed):
    """A problem whose only positive to be worked on is at place 0, and it with its negatives."""
    arguments = problem(key, key=key, block_size=1, blocks=np.zeros(1, np.int32), uniform=True, **changed)
    u = arguments["users"][0]
    has = arguments["user_items"][slice(*arguments["user_indptr"][u : u + 2])]
    drawn = arguments["candidates"][draws(key, 0, 5, len(arguments["candidates"]), None, None)]
    return arguments, np.append(arguments["items"][0], drawn[~np.isin(drawn, has)][:5])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("key", [1, 4, 6])
def test_a_small_step_goes_along_the_gradient_by_finite_differences(loss, key):
    rate = 1e-6  # features of two candidates move one after the other: equal to first order
    arguments, chosen = first_alone(
        key, loss=loss, learning_rate=rate, regularization=0.0, weight_regularization=0.0, weighted=True
    )
    state = tables(arguments, seed=key, width=8, adagrad=False, scale=0.3, dtype=np.float64)
    returned, after = run(reference.fm_rank, arguments, state)
    point = {name: state[name] for name in ("vectors", "weights")}
    weight = float(arguments["sample_weight"][0])

    def at(**moved):
        return weight * value(arguments, chosen, **(point | moved))

    assert returned == pytest.approx(at(), rel=1e-6)
    queried = sum(dense(arguments, row, len(point["weights"])) for row in arguments["query_rows"][0]) != 0
    for name, table in point.items():
        gradient = np.zeros_like(table)
        for where in np.ndindex(table.shape):
            h = np.zeros_like(table)
            h[where] = 1e-5
            gradient[where] = (at(**{name: table + h}) - at(**{name: table - h})) / 2e-5
        np.testing.assert_allclose((after[name] - table) / rate, -gradient, atol=1e-5, err_msg=name)
        assert np.abs(gradient[queried]).max() > (1e-3 if name == "vectors" else -1)


@pytest.mark.parametrize("loss", LOSSES)
def test_users_and_items_alone_are_bpr(loss):
    n_users, n_items = 12, 4000  # so many that no item is drawn twice for one positive: there the two differ
    settings = {"candidates": np.arange(n_items, dtype=np.int32), "uniform": True, "loss": loss}
    arguments = problem(n_items=n_items, density=0.002, rows="ids", **settings)
    arguments |= {"weight_regularization": arguments["regularization"], "query_rows": arguments["users"][:, None]}
    state = tables(arguments)
    returned, after = run(kernels.fm_rank, arguments, state)
    x, y = state["vectors"][:n_users].copy(), state["vectors"][n_users : n_users + n_items].copy()
    bias = state["weights"][n_users : n_users + n_items].copy()
    sums = [np.full(n, 0.1, np.float32) for n in (n_users, n_items, n_items)]
    shared = (
        "users", "items", "blocks", "block_size", "threshold", "alias", "log_q", "loss", "negatives", "key",
        "learning_rate", "regularization",
    )  # fmt: skip
    expected = kernels.bpr_blocks(
        **{name: arguments[name] for name in shared}, indptr=arguments["user_indptr"],
        indices=arguments["user_items"], x=x, y=y, bias=bias, x_sum=sums[0], y_sum=sums[1], bias_sum=sums[2], threads=1,
    )  # fmt: skip
    assert returned == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(after["vectors"][: n_users + n_items], np.concatenate([x, y]), atol=1e-5)
    np.testing.assert_allclose(after["weights"][n_users : n_users + n_items], bias, atol=1e-5)
    assert (after["weights"][:n_users] == state["weights"][:n_users]).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_penalties_shrink_what_a_step_touches_and_nothing_else(loss):
    free = {"regularization": 0.0, "weight_regularization": 0.0, "learning_rate": 0.5}
    arguments, chosen = first_alone(4, loss=loss, rows="ids", **free)
    assert len(set(chosen)) == 6, "an item drawn twice shrinks twice: choose another key"
    state = tables(arguments, adagrad=False)
    plain = run(kernels.fm_rank, arguments, state)[1]
    shrunk = run(kernels.fm_rank, {**arguments, "regularization": 0.1, "weight_regularization": 0.2}, state)[1]
    items = np.flatnonzero(plain["weights"] != state["weights"])
    assert set(items) <= set(arguments["first_item"] + chosen)
    assert len(items) == {"bpr": 2, "warp": 2, "softmax": 6}[loss]
    touched = np.append(items, arguments["query_rows"][0])
    for name, rows, share in (("vectors", touched, 0.05), ("weights", items, 0.1)):
        expected = plain[name].copy()
        expected[rows] -= share * state[name][rows]
        np.testing.assert_allclose(shrunk[name], expected, atol=1e-6, err_msg=name)


def counted(n_items, own, n, **changed):
    """How often each item is drawn for a user with some items: at equal scores each draw adds 1/4 to its sum."""
    arguments = problem(
        n_users=1, n_items=n_items, n_contexts=1, rows="ids", negatives=1, learning_rate=0.0, **changed,
    ) | {
        "users": np.zeros(n, np.int32), "query_rows": np.zeros((n, 1), np.int32), "blocks": np.zeros(1, np.int32),
        "block_size": n, "user_indptr": np.array([0, len(own)]), "user_items": np.array(own, np.int32),
    }  # fmt: skip
    items = np.random.default_rng(0).choice(np.array(own), n).astype(np.int32)
    arguments |= {"items": items} if "items" not in changed else {}
    state = tables(arguments, scale=0.0, width=8)
    state["weight_sums"][:] = 0
    _, after = run(kernels.fm_rank, arguments, state)
    counts = np.rint(after["weight_sums"][1 : 1 + n_items] / 0.25).astype(int)
    return arguments, counts - np.bincount(arguments["items"], minlength=n_items)


@pytest.mark.parametrize("n_own", [1, 2, 7, 8, 20, 33, 300])
@pytest.mark.parametrize("uniform", [True, False])
def test_a_negative_is_a_candidate_and_never_an_item_of_the_user(n_own, uniform):
    own = range(1, 2 * n_own + 1, 2)
    arguments, counts = counted(2 * n_own + 5, own, 20_000, uniform=uniform)
    allowed = np.isin(np.arange(2 * n_own + 5), arguments["candidates"])
    allowed[list(own)] = False
    assert counts.sum() > 19_000
    assert not counts[~allowed].any()
    assert (counts[allowed] > 0).all() or not uniform


def test_draws_follow_the_alias_table_over_the_candidates():
    arguments, counts = counted(40, (5,), 100_000)
    threshold, alias, candidates = (arguments[name] for name in ("threshold", "alias", "candidates"))
    q = np.zeros(40)
    q[candidates] = threshold / 2**32 + np.bincount(alias, 1 - threshold / 2**32, len(candidates))
    q[5] = 0
    expected = q / q.sum() * counts.sum()
    assert ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum() < 73  # chi-square, at most 38 degrees


def test_draws_in_the_batch_follow_its_items():
    items = np.random.default_rng(1).choice(12, 20_000, p=np.arange(1, 13) / 78).astype(np.int32)
    _, counts = counted(40, (3,), 20_000, in_batch=True, items=items)
    expected = np.bincount(items, minlength=40).astype(float)
    expected[3] = 0
    expected *= counts.sum() / expected.sum()
    assert counts.sum() > 19_000
    assert not counts[expected == 0].any()
    assert ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum() < 33  # 10 degrees: p = .0003


@pytest.mark.parametrize("loss", LOSSES)
def test_a_user_who_has_everything_is_left_alone(loss):
    arguments = problem(density=1.0, loss=loss)
    state = tables(arguments)
    returned, after = run(kernels.fm_rank, arguments, state)
    assert returned == 0
    assert all((after[name] == state[name]).all() for name in state)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_weight_of_nothing_moves_nothing_and_double_weight_is_a_double_rate(loss):
    arguments, _ = first_alone(4, loss=loss)
    state = tables(arguments, adagrad=False)
    n = len(arguments["users"])
    none, double = (
        run(kernels.fm_rank, {**arguments, "sample_weight": np.full(n, w, np.float32)}, state) for w in (0, 2)
    )
    assert none[0] == 0
    assert all((none[1][name] == state[name]).all() for name in ("vectors", "weights"))
    halved = {"learning_rate": 0.2, "regularization": 0.025, "weight_regularization": 0.015}
    expected = run(kernels.fm_rank, {**arguments, **halved}, state)
    assert double[0] == pytest.approx(2 * expected[0], rel=1e-5)
    np.testing.assert_allclose(double[1]["vectors"], expected[1]["vectors"], atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("adagrad", [True, False])
def test_the_loss_falls(loss, adagrad):
    settings = {"learning_rate": 0.3 if adagrad else 0.05, "loss": loss}
    arguments = problem(n_users=40, n_items=60, density=0.1, uniform=True, **settings)
    state, losses = tables(arguments, adagrad=adagrad, scale=0.05), []
    for _ in range(60):
        returned, state = run(kernels.fm_rank, arguments, state)
        losses.append(returned)
    assert losses[-1] < 0.7 * losses[0]


def test_only_the_blocks_asked_for_are_worked_on():
    arguments = problem(rows="ids", density=0.4)
    some = arguments["blocks"][:1]
    state = tables(arguments)
    _, after = run(kernels.fm_rank, {**arguments, "blocks": some}, state)
    moved = np.flatnonzero((after["vectors"] != state["vectors"]).any(1))
    place = slice(8 * some[0], 8 * some[0] + 8)
    assert moved[moved < 12].tolist() == np.unique(arguments["users"][place]).tolist()


@pytest.mark.parametrize("loss", LOSSES)
def test_lost_numbers_show_in_the_loss(loss):
    for name in ("vectors", "weights"):
        arguments = problem(loss=loss)
        state = tables(arguments)
        state[name][:] = np.nan
        assert np.isnan(run(kernels.fm_rank, arguments, state)[0])


def digest():
    arguments = problem(seed=3, n_users=200, n_items=90, loss="softmax")
    returned, after = run(kernels.fm_rank, arguments, tables(arguments))
    return hashlib.sha256(
        b"".join([np.float64(returned).tobytes(), *(a.tobytes() for a in after.values())])
    ).hexdigest()


def test_the_same_bits_twice_and_in_another_process(request):
    script = (
        f"import sys; sys.path.insert(0, {str(request.path.parent)!r}); import test_fm_rank as t; print(t.digest())"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert digest() == digest() == other.stdout.strip()


@pytest.mark.parametrize("loss", LOSSES)
def test_threads_without_locks_do_every_block_once(loss):
    arguments = problem(seed=3, n_users=400, n_items=300, loss=loss, learning_rate=0.01)
    state = tables(arguments, scale=0.2)
    alone, together = (run(kernels.fm_rank, arguments, state, threads) for threads in (1, 4))
    assert together[0] == pytest.approx(alone[0], rel=0.05)
    np.testing.assert_allclose(together[1]["vectors"], alone[1]["vectors"], atol=0.1)


def refused():
    good = problem(n_users=4, n_items=5, n_contexts=1, density=1.0, rows="ids")
    state = tables(good, width=8)
    n, m = len(good["users"]), len(good["candidates"])
    changes = {
        "float64 vectors": {"vectors": state["vectors"].astype(float)},
        "vectors not contiguous": {"vectors": np.zeros((10, 16), np.float32)[:, ::2]},
        "width of no vector": {"vectors": np.zeros((10, 7), np.float32)},
        "weights too short": {"weights": state["weights"][:-1]},
        "sums too short": {"vector_sums": state["vector_sums"][:-1]},
        "sums of vectors alone": {"weight_sums": None},
        "int64 users": {"users": good["users"].astype(np.int64)},
        "user out of range": {"users": np.full(n, 4, np.int32)},
        "negative item": {"items": np.full(n, -1, np.int32)},
        "item out of range": {"items": np.full(n, 5, np.int32)},
        "items too short": {"items": good["items"][:-1]},
        "query out of range": {"query_rows": np.full((n, 1), 10, np.int32)},
        "negative query": {"query_rows": np.full((n, 1), -1, np.int32)},
        "query too short": {"query_rows": good["query_rows"][:-1]},
        "weight too short": {"sample_weight": np.ones(n - 1, np.float32)},
        "block beyond the positives": {"blocks": np.array([3], np.int32)},
        "negative block": {"blocks": np.array([-1], np.int32)},
        "empty blocks": {"block_size": 0},
        "feature out of range": {"features": np.full(10, 10, np.int32)},
        "negative feature": {"features": np.full(10, -1, np.int32)},
        "table beyond the end": {"indptr": np.arange(11) + (np.arange(11) > 9)},
        "table that falls": {"indptr": np.array([0, 9, 5, *range(3, 11)])},
        "no table": {"indptr": np.empty(0, np.int64)},
        "values too short": {"values": np.ones(9, np.float32)},
        "items beyond the table": {"first_item": 6},
        "items before the table": {"first_item": -1},
        "lists beyond the end": {"user_indptr": np.array([0, 5, 10, 15, 21])},
        "lists that fall": {"user_indptr": np.array([0, 9, 5, 15, 20])},
        "candidate out of range": {"candidates": np.full(m, 5, np.int32)},
        "negative candidate": {"candidates": np.full(m, -1, np.int32)},
        "no candidates": {"candidates": np.empty(0, np.int32), "threshold": None, "alias": None},
        "alias out of range": {"alias": np.full(m, m, np.int32)},
        "alias too short": {"alias": good["alias"][:-1]},
        "alias alone": {"threshold": None},
        "unknown loss": {"loss": "magic"},
        "no negatives": {"negatives": 0},
        "no thread": {"threads": 0},
    }
    return [pytest.param({**good, **state, "threads": 1, **change}, id=name) for name, change in changes.items()]


@pytest.mark.parametrize("arguments", refused())
def test_bad_arguments_are_refused_before_any_memory_is_touched(arguments):
    with pytest.raises((TypeError, ValueError)):
        kernels.fm_rank(**arguments)
