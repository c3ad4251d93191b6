"""Steps of the ranking losses of factorization machines: what they leave alone, where they lead, and their bits."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from fm_rank_problems import LOSSES, first_alone, problem, run, tables

from recsys import kernels


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
    folders = [str(folder) for folder in request.path.parents[:2]]
    script = f"import sys; sys.path[:0] = {folders!r}; import test_fm_rank_steps as t; print(t.digest())"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert digest() == digest() == other.stdout.strip()


@pytest.mark.parametrize("loss", LOSSES)
def test_threads_without_locks_do_every_block_once(loss):
    arguments = problem(seed=3, n_users=400, n_items=300, loss=loss, learning_rate=0.01)
    state = tables(arguments, scale=0.2)
    alone, together = (run(kernels.fm_rank, arguments, state, threads) for threads in (1, 4))
    assert together[0] == pytest.approx(alone[0], rel=0.05)
    np.testing.assert_allclose(together[1]["vectors"], alone[1]["vectors"], atol=0.1)
