"""The row solvers of implicit ALS, by mathematics and against their numpy twins."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys import kernels
from recsys.kernels import reference


def problem(seed=0, n_rows=40, n_columns=30, width=16, density=0.2, constant=False, shift=0.0):
    rng = np.random.default_rng(seed)
    counts = rng.binomial(n_columns, density, n_rows)
    columns = [np.sort(rng.choice(n_columns, n, replace=False)) for n in counts]
    indices = np.concatenate([*columns, np.empty(0, int)]).astype(np.int32)
    weights = None if constant else rng.uniform(0.1, 5, len(indices)).astype(np.float32)
    factors = rng.standard_normal((n_columns, width), np.float32) / 3
    values, vectors = np.linalg.eigh(factors.T.astype(float) @ factors)
    return {
        "indptr": np.append(0, np.cumsum(counts)).astype(np.int64),
        "indices": indices,
        "weights": weights,
        "weight": 2.5,
        "shift": shift,
        "factors": np.ascontiguousarray(factors @ vectors.astype(np.float32)),
        "dense": (0.3 * np.maximum(values, 0)).astype(np.float32),
        "penalty": rng.uniform(0.05, 1, n_rows).astype(np.float32),
        "order": rng.permutation(n_rows).astype(np.int32),
    }


def solve(kernel, arguments, start=None, *, threads=1, **cg):
    n_rows, width = len(arguments["penalty"]), arguments["factors"].shape[1]
    x = np.zeros((n_rows, width), np.float32) if start is None else start.copy()
    loss = np.full(n_rows, np.nan)
    kernel(**arguments, **cg, x=x, loss=loss, threads=threads)
    return x, loss


def row_problem(arguments, u):
    entries = slice(arguments["indptr"][u], arguments["indptr"][u + 1])
    y = arguments["factors"][arguments["indices"][entries]].astype(float)
    c = np.full(len(y), arguments["weight"]) if arguments["weights"] is None else arguments["weights"][entries]
    return y, c.astype(float), arguments["dense"].astype(float) + arguments["penalty"][u]


def value(arguments, u, x):
    """The objective of one row, written down from its definition."""
    y, c, diagonal = row_problem(arguments, u)
    s = y @ x
    return (c * (1 - s) ** 2 + arguments["shift"] * (1 - 2 * s)).sum() + (diagonal * x * x).sum()


PROBLEMS = st.builds(
    problem,
    seed=st.integers(0, 10**6),
    n_rows=st.integers(1, 40),
    n_columns=st.integers(1, 30),
    width=st.sampled_from([8, 16, 40]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    constant=st.booleans(),
    shift=st.sampled_from([0.0, 1.0]),
)


@given(PROBLEMS)
def test_the_gradient_is_zero_at_the_exact_solution(arguments):
    x, _ = solve(kernels.als_exact, arguments)
    for u in range(len(x)):
        y, c, diagonal = row_problem(arguments, u)
        gradient = diagonal * x[u] - y.T @ (c * (1 - y @ x[u]) + arguments["shift"])
        assert np.abs(gradient).max(initial=0) < 1e-4 * (1 + np.abs(c).sum())


@given(PROBLEMS)
@example(problem(seed=228, n_rows=10, n_columns=16, width=40, density=1.0))  # steps beyond convergence blew up here
def test_conjugate_gradients_meet_cholesky(arguments):
    exact, exact_loss = solve(kernels.als_exact, arguments)
    cg, cg_loss = solve(kernels.als_cg, arguments, steps=200, relaxation=1.0)
    np.testing.assert_allclose(cg, exact, atol=2e-4)
    np.testing.assert_allclose(cg_loss, exact_loss, rtol=1e-4, atol=1e-3)


@given(PROBLEMS, st.integers(1, 4), st.sampled_from([1.0, 1.3]))
def test_the_free_loss_is_the_objective_and_never_rises(arguments, steps, relaxation):
    rng = np.random.default_rng(1)
    start = rng.standard_normal((len(arguments["penalty"]), arguments["factors"].shape[1]), np.float32) / 3
    x, loss = solve(kernels.als_cg, arguments, start, steps=steps, relaxation=relaxation)
    for u in range(len(x)):
        assert loss[u] == pytest.approx(value(arguments, u, x[u].astype(float)), rel=1e-4, abs=1e-3)
        if arguments["indptr"][u] < arguments["indptr"][u + 1]:
            assert loss[u] <= value(arguments, u, start[u].astype(float)) * (1 + 1e-5) + 1e-3


@given(PROBLEMS, st.integers(1, 4))
def test_compiled_meets_reference(arguments, steps):
    for name, cg in (("als_cg", {"steps": steps, "relaxation": 1.2}), ("als_exact", {})):
        compiled = solve(getattr(kernels, name), arguments, **cg)
        readable = solve(getattr(reference, name), arguments, **cg)
        np.testing.assert_allclose(compiled[0], readable[0], atol=1e-3)
        np.testing.assert_allclose(compiled[1], readable[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("name", "cg"), [("als_cg", {"steps": 3, "relaxation": 1.0}), ("als_exact", {})])
def test_one_thread_gives_the_bits_of_many(name, cg):
    arguments = problem(n_rows=333, n_columns=200, width=24)
    one = solve(getattr(kernels, name), arguments, **cg)
    for threads in (2, 7):
        many = solve(getattr(kernels, name), arguments, threads=threads, **cg)
        assert one[0].tobytes() == many[0].tobytes()
        assert one[1].tobytes() == many[1].tobytes()


@pytest.mark.parametrize(("name", "cg"), [("als_cg", {"steps": 3, "relaxation": 1.0}), ("als_exact", {})])
def test_only_the_rows_asked_for_are_solved(name, cg):
    arguments = problem()
    every = solve(getattr(kernels, name), arguments, **cg)[0]
    some = arguments["order"][:7]
    x, loss = solve(getattr(kernels, name), {**arguments, "order": some}, **cg)
    others = np.setdiff1d(np.arange(40), some)
    np.testing.assert_array_equal(x[some], every[some])
    assert not x[others].any()
    assert np.isnan(loss[others]).all()


def test_rows_without_entries_become_zero():
    arguments = problem(density=0.0)
    start = np.ones((40, 16), np.float32)
    for kernel, cg in ((kernels.als_cg, {"steps": 3, "relaxation": 1.3}), (kernels.als_exact, {})):
        x, loss = solve(kernel, arguments, start, **cg)
        assert not x.any()
        assert not loss.any()


def test_a_singular_system_stays_finite():
    """No penalty, and columns that span less than the whole space: directions nothing decides stay where they are."""
    arguments = problem(n_rows=5, n_columns=3, width=8, density=1.0)
    arguments["factors"][:, 4:] = 0
    arguments["penalty"][:] = 0
    arguments["dense"][4:] = 0
    arguments["dense"][:4] = 0.1
    x, loss = solve(kernels.als_exact, arguments)
    assert np.isfinite(x).all()
    assert np.isfinite(loss).all()
    assert not x[:, 4:].any()


def refused():
    good = problem(n_rows=4, n_columns=5, width=8, density=1.0)
    changes = {
        "float64 factors": {"factors": good["factors"].astype(np.float64)},
        "factors not contiguous": {"factors": np.zeros((5, 16), np.float32)[:, ::2]},
        "int32 indptr": {"indptr": good["indptr"].astype(np.int32)},
        "indptr that falls": {"indptr": np.array([0, 9, 5, 15, 20])},
        "indptr beyond the end": {"indptr": np.array([0, 5, 10, 15, 21])},
        "index out of range": {"indices": np.full(20, 5, np.int32)},
        "negative index": {"indices": np.full(20, -1, np.int32)},
        "weights too short": {"weights": np.ones(19, np.float32)},
        "width of no vector": {"factors": np.zeros((5, 7), np.float32)},
        "dense too short": {"dense": np.zeros(7, np.float32)},
        "penalty too short": {"penalty": np.zeros(3, np.float32)},
        "order beyond the rows": {"order": np.array([0, 1, 2, 4], np.int32)},
    }
    return [pytest.param({**good, **change}, id=name) for name, change in changes.items()]


@pytest.mark.parametrize("arguments", refused())
def test_bad_arguments_are_refused_before_any_memory_is_touched(arguments):
    x, loss = np.zeros((4, 8), np.float32), np.zeros(4)
    with pytest.raises((TypeError, ValueError)):
        kernels.als_cg(**arguments, steps=3, relaxation=1.0, x=x, loss=loss, threads=1)
    with pytest.raises((TypeError, ValueError)):
        kernels.als_exact(**arguments, x=x, loss=loss, threads=1)


SCRIPT = """
import json, sys
sys.path.insert(0, {folder!r})
from test_als import kernels, problem, solve
x, loss = solve(kernels.als_cg, problem(), steps=3, relaxation=1.0)
json.dump([kernels.instruction_set(), x.tolist(), loss.tolist()], sys.stdout)
"""


def test_every_instruction_set_agrees():
    script = SCRIPT.format(folder=os.path.dirname(__file__))  # noqa: PTH120
    answers = []
    for name in kernels.instruction_sets():
        environment = {**os.environ, "RECSYS_INSTRUCTION_SET": name}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        answers.append(json.loads(done.stdout))
    assert [name for name, *_ in answers] == kernels.instruction_sets()
    for _, x, loss in answers[1:]:
        np.testing.assert_allclose(x, answers[0][1], atol=1e-4)
        np.testing.assert_allclose(loss, answers[0][2], rtol=1e-4)
