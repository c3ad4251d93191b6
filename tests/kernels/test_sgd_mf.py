"""The gradient steps of biased matrix factorization, by mathematics and against their numpy twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import kernels
from recsys.kernels import reference

OPTIMIZERS = ("sgd", "adagrad", "momentum")
IN_PLACE = ("factors", "bias", "squares", "velocity", "bias_velocity", "touched")


def problem(optimizer="sgd", seed=0, side=2, n_users=9, n_items=7, width=16, density=0.4):
    """Ratings in a grid of side x side blocks, everything the kernel takes."""
    rng = np.random.default_rng(seed)
    u, i = np.nonzero(rng.random((n_users, n_items)) < density)
    block = u * side // n_users * side + i * side // n_items
    by_block = np.argsort(block, kind="stable")
    starts = np.append(0, np.cumsum(np.bincount(block, minlength=side * side))).astype(np.int64)
    order = np.array([[a * side + (a + s) % side for a in range(side)] for s in range(side)], np.int32)
    sizes = np.diff(starts)[order]
    arguments = {
        "users": u[by_block].astype(np.int32),
        "items": i[by_block].astype(np.int32),
        "ratings": rng.standard_normal(len(u)).astype(np.float32),
        "starts": starts,
        "order": order,
        "learning_rate": 0.05,
        "bias_rate": 0.5,
        "regularization": 0.1,
        "limit": 2.0,
        "loss": np.full(side * side, np.nan),
    }
    for name, n in (("user", n_users), ("item", n_items)):
        arguments[f"{name}_factors"] = rng.standard_normal((n, width)).astype(np.float32) / 2
        arguments[f"{name}_bias"] = rng.standard_normal(n).astype(np.float32)
        if optimizer == "adagrad":
            arguments[f"{name}_squares"] = rng.uniform(0.1, 1, (n, 2)).astype(np.float32)
        if optimizer == "momentum":
            arguments[f"{name}_velocity"] = rng.standard_normal((n, width)).astype(np.float32) / 20
            arguments[f"{name}_bias_velocity"] = rng.standard_normal(n).astype(np.float32) / 20
            arguments[f"{name}_touched"] = np.zeros(n, np.int64)
    if optimizer == "momentum":
        arguments |= {"momentum": 0.8, "steps": (np.cumsum(sizes).reshape(sizes.shape) - sizes).astype(np.int64)}
    return arguments


def run(kernel, arguments, *, asynchronous=False, threads=1):
    """Everything the kernel changed, by name; the arguments stay as they are."""
    out = {
        name: value.copy() for name, value in arguments.items() if name == "loss" or name.split("_", 1)[-1] in IN_PLACE
    }
    kernel(**{**arguments, **out}, asynchronous=asynchronous, threads=threads)
    return out


def single(width=8, rating=1.0, **changes):
    """One rating of one user and one item."""
    return problem(side=1, n_users=1, n_items=1, width=width, density=1.0) | changes | {
        "ratings": np.array([rating], np.float32)
    }  # fmt: skip


PROBLEMS = st.builds(
    problem,
    optimizer=st.sampled_from(OPTIMIZERS),
    seed=st.integers(0, 10**6),
    side=st.integers(1, 4),
    n_users=st.integers(1, 12),
    n_items=st.integers(1, 12),
    width=st.sampled_from([8, 24, 40, 72]),
    density=st.sampled_from([0.0, 0.2, 1.0]),
)


@given(PROBLEMS)
def test_compiled_meets_reference(arguments):
    compiled, readable = (run(one.sgd_mf, arguments) for one in (kernels, reference))
    for name in compiled:
        np.testing.assert_allclose(compiled[name], readable[name], rtol=1e-3, atol=1e-4, err_msg=name)


def objective(parameters, rating, regularization):
    p, q, b_u, b_i = parameters[:8], parameters[8:16], parameters[16], parameters[17]
    return ((rating - b_u - b_i - p @ q) ** 2 + regularization * (parameters @ parameters)) / 2


def flat(tables):
    names = ("user_factors", "item_factors", "user_bias", "item_bias")
    return np.concatenate([tables[name].ravel() for name in names]).astype(float)


@pytest.mark.parametrize("kernel", [kernels.sgd_mf, reference.sgd_mf])
def test_a_step_goes_down_the_gradient_of_the_objective(kernel):
    arguments = single(rating=0.7, learning_rate=1e-2, bias_rate=1.0, limit=100.0)
    before, after = flat(arguments), flat(run(kernel, arguments))
    h = 1e-5
    gradient = [
        (objective(before + h * axis, 0.7, 0.1) - objective(before - h * axis, 0.7, 0.1)) / (2 * h)
        for axis in np.eye(18)
    ]
    np.testing.assert_allclose((before - after) / 1e-2, gradient, atol=1e-4)


def test_the_biases_have_a_rate_of_their_own():
    slow, fast = (run(kernels.sgd_mf, single(bias_rate=rate)) for rate in (0.25, 1.0))
    start = single()["user_bias"]
    np.testing.assert_allclose(4 * (slow["user_bias"] - start), fast["user_bias"] - start, rtol=1e-5)
    np.testing.assert_array_equal(slow["user_factors"], fast["user_factors"])


@pytest.mark.parametrize("rating", [1000.0, -1000.0])
def test_an_error_beyond_the_limit_moves_no_further_but_counts_in_full(rating):
    far, limit = run(kernels.sgd_mf, single(rating=rating)), 2.0 * np.sign(rating)
    start = single()
    product = flat(start)[:8] @ flat(start)[8:16] + start["user_bias"][0] + start["item_bias"][0]
    expected = start["user_bias"] + 0.05 * 0.5 * (limit - 0.1 * start["user_bias"])
    np.testing.assert_allclose(far["user_bias"], expected, rtol=1e-5)
    assert far["loss"][0] == pytest.approx((rating - product) ** 2, rel=1e-4)


def test_lazy_momentum_is_momentum_that_steps_every_row_every_time():
    arguments = problem("momentum", n_users=20, n_items=15, density=0.3)
    lazy = run(kernels.sgd_mf, arguments)
    tables = {name: arguments[name].astype(float) for name in lazy if name.endswith(("factors", "bias", "velocity"))}
    n_steps = 0
    for block in arguments["order"].ravel():
        for at in range(arguments["starts"][block], arguments["starts"][block + 1]):
            n_steps += 1
            u, i = arguments["users"][at], arguments["items"][at]
            p, q = tables["user_factors"][u].copy(), tables["item_factors"][i].copy()
            e = np.clip(arguments["ratings"][at] - (tables["user_bias"][u] + tables["item_bias"][i] + p @ q), -2, 2)
            for name, row, own, other in (("user", u, p, q), ("item", i, q, p)):
                factors, bias = tables[f"{name}_factors"], tables[f"{name}_bias"]
                velocity, bias_velocity = tables[f"{name}_velocity"], tables[f"{name}_bias_velocity"]
                velocity *= 0.8
                bias_velocity *= 0.8
                velocity[row] += 0.2 * 0.05 * (e * other - 0.1 * own)
                bias_velocity[row] += 0.2 * 0.05 * 0.5 * (e - 0.1 * bias[row])
                factors += velocity
                bias += bias_velocity
    for name in ("user", "item"):
        left = 0.8 ** (n_steps - lazy[f"{name}_touched"])
        caught_up = lazy[f"{name}_factors"] + lazy[f"{name}_velocity"] * (0.8 * (1 - left) / 0.2)[:, None]
        np.testing.assert_allclose(caught_up, tables[f"{name}_factors"], atol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_strata_give_the_same_bits_on_any_number_of_threads(optimizer):
    arguments = problem(optimizer, side=8, n_users=200, n_items=150)
    one = run(kernels.sgd_mf, arguments)
    for threads in (2, 5):
        many = run(kernels.sgd_mf, arguments, threads=threads)
        assert all(one[name].tobytes() == many[name].tobytes() for name in one)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_loss_falls_and_asynchronous_threads_come_as_far(optimizer):
    losses = {}
    for asynchronous in (False, True):
        arguments = problem(optimizer, side=4, n_users=60, n_items=50, density=0.5)
        losses[asynchronous] = []
        for _ in range(20):
            out = run(kernels.sgd_mf, arguments, asynchronous=asynchronous, threads=4 if asynchronous else 1)
            arguments |= out
            for name in ("user", "item"):
                arguments |= {f"{name}_touched": np.zeros_like(out[f"{name}_touched"])} if "steps" in arguments else {}
            losses[asynchronous].append(out["loss"].sum())
    assert losses[False][-1] < 0.7 * losses[False][0]
    assert losses[True][-1] == pytest.approx(losses[False][-1], rel=0.05)


def test_only_the_blocks_asked_for_are_worked_on():
    arguments = problem(side=2, n_users=8, n_items=8, density=1.0)
    arguments["order"] = arguments["order"][:1, :1].copy()  # block 0: the first half of users and items
    out = run(kernels.sgd_mf, arguments)
    np.testing.assert_array_equal(out["user_factors"][4:], arguments["user_factors"][4:])
    assert (out["user_factors"][:4] != arguments["user_factors"][:4]).any(axis=1).all()
    assert np.isnan(out["loss"]).tolist() == [False, True, True, True]


def refused():
    good, moving, ones = problem(side=1), problem("momentum", side=1), np.ones((9, 1), np.float32)
    changes = {
        "float64 factors": {"user_factors": good["user_factors"].astype(np.float64)},
        "float64 ratings": {"ratings": good["ratings"].astype(np.float64)},
        "int64 users": {"users": good["users"].astype(np.int64)},
        "factors not contiguous": {"item_factors": np.zeros((7, 32), np.float32)[:, ::2]},
        "user beyond the factors": {"users": np.full_like(good["users"], 9)},
        "negative item": {"items": np.full_like(good["items"], -1)},
        "items too short": {"items": good["items"][1:].copy()},
        "starts beyond the end": {"starts": good["starts"] + [0, 1]},
        "starts that fall": {"starts": np.array([0, 9, 5, len(good["users"])]), "loss": np.zeros(3)},
        "too few losses": {"loss": np.zeros(2)},
        "no such block": {"order": np.array([[1]], np.int32)},
        "negative block": {"order": np.array([[-1]], np.int32)},
        "width of no vector": {name: good[name][:, :7].copy() for name in ("user_factors", "item_factors")},
        "two widths": {"user_factors": np.zeros((9, 8), np.float32)},
        "bias too short": {"user_bias": np.zeros(8, np.float32)},
        "squares of one side": {"user_squares": np.ones((9, 2), np.float32)},
        "squares of one column": {"user_squares": ones[:9], "item_squares": ones[:7]},
        "velocity without steps": {**moving, "steps": None},
        "velocity without touched": {**moving, "user_touched": None},
        "steps of another shape": {**moving, "steps": np.zeros((1, 2), np.int64)},
        "momentum of 1": {**moving, "momentum": 1.0},
    }  # fmt: skip
    return [pytest.param({**good, **change}, id=name) for name, change in changes.items()]


@pytest.mark.parametrize("arguments", refused())
def test_bad_arguments_are_refused_before_any_memory_is_touched(arguments):
    with pytest.raises((TypeError, ValueError)):
        kernels.sgd_mf(**arguments, asynchronous=False, threads=1)


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="threads"):
        kernels.sgd_mf(**problem(), asynchronous=False, threads=0)
