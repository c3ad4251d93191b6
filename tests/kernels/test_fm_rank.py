"""Gradient steps of the ranking losses of factorization machines, by mathematics and against their numpy twin."""

import numpy as np
import pytest
from fm_rank_problems import LOSSES, first_alone, problem, run, tables
from hypothesis import given
from hypothesis import strategies as st

from recsys import kernels
from recsys.kernels import reference


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
