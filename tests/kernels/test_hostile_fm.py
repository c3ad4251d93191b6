"""Bindings of factorization machines under numbers no caller of ours passes: refused, or done; the process lives."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys import kernels

sys.path.append(str(Path(__file__).parent))

from fm_rank_problems import problem as rank_problem
from fm_rank_problems import tables
from test_bpr import problem as bpr_problem
from test_bpr import tables as bpr_tables
from test_fm_sgd import OPTIMIZERS, machine, problem, run, settings
from test_fm_sweep import columns, stream

LARGEST = np.iinfo(np.int64).max
INT32 = np.iinfo(np.int32)
EXTREMES = (0, 1, -1, INT32.min, INT32.max, 2**40, -LARGEST - 1, LARGEST, np.nan, np.inf, -np.inf, 1e38, 1e-45)
KERNELS = {
    "fm_sgd": lambda: {**problem(n=16), **machine(), "threads": 1},
    "fm_sgd by adagrad": lambda: {**problem(n=16, ones=True, parts=1), **machine("adagrad"), "threads": 2},
    "fm_sgd by momentum": lambda: {**problem(n=16), **machine("momentum"), **settings("momentum"), "threads": 1},
    "fm_sgd with fields": lambda: {**problem(n=16), **machine("adagrad", n_fields=3), "threads": 1},
    "fm_stream": lambda: {**stream(), "threads": 2},
    "fm_solve": lambda: {**columns()},
    "fm_rank": lambda: {
        **rank_problem(n_users=4, n_items=5, n_contexts=1, density=1.0, rows="ids"),
        **tables(rank_problem(n_users=4, n_items=5, n_contexts=1, density=1.0, rows="ids"), width=8),
        "threads": 2,
    },
}


def hostile(rng, array):
    """Spoil an array: its type, its shape, or some of its numbers."""
    kind = rng.integers(8)
    if kind == 0:
        return array.astype(rng.choice([np.float64, np.float32, np.int32, np.int64, np.uint8]))
    if kind == 1:
        return array[: rng.integers(len(array) + 1)].copy()
    if kind == 2:
        return np.concatenate([array, array])
    if kind == 3:
        return np.repeat(array, 2, axis=-1)[..., ::2]  # not contiguous
    if kind == 4:
        return np.zeros((0, *array.shape[1:]), array.dtype)
    if kind == 5:
        return array.reshape(-1) if array.ndim > 1 else array[:, None].copy()
    spoiled = array.copy()
    for _ in range(rng.integers(1, 4) if array.size else 0):
        extreme = rng.choice(EXTREMES)
        if array.dtype.kind != "f":
            extreme = (
                0 if np.isnan(extreme) else min(max(extreme, np.iinfo(array.dtype).min), np.iinfo(array.dtype).max)
            )
            extreme = int(extreme) if abs(extreme) < 2**53 else int(np.sign(extreme)) * (np.iinfo(array.dtype).max - 1)
        spoiled.reshape(-1)[rng.integers(array.size)] = extreme
    return spoiled


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # casts of the spoiling itself
@pytest.mark.parametrize("name", KERNELS)
def test_spoiled_arrays_are_refused_or_worked_on(name):
    kernel, good, rng = getattr(kernels, name.partition(" ")[0]), KERNELS[name], np.random.default_rng(0)
    kernel(**good())
    refused = 0
    for _ in range(600):
        arguments = good()
        arrays = [key for key, value in arguments.items() if isinstance(value, np.ndarray)]
        for key in rng.choice(arrays, rng.integers(1, 3), replace=False):
            arguments[key] = None if rng.random() < 0.1 else hostile(rng, arguments[key])
        try:
            kernel(**arguments)
        except (TypeError, ValueError):
            refused += 1
    assert 200 < refused < 600


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("fm_sgd", {"block_size": LARGEST}),
        ("fm_sgd", {"block_size": 2**62, "blocks": np.array([4], np.int32)}),
        ("fm_sgd", {"block_size": -1}),
        ("fm_sgd by momentum", {"step": LARGEST}),
        ("fm_sgd by momentum", {"step": -1}),
        ("fm_sgd", {"momentum": np.nan}),
        ("fm_sgd", {"threads": -(2**31)}),
        ("fm_sgd", {"threads": 2**31}),
        ("fm_solve", {"first": LARGEST}),
        ("fm_solve", {"first": -LARGEST - 1}),
        ("fm_solve", {"begin": LARGEST, "end": LARGEST}),
        ("fm_solve", {"begin": 3, "end": 2}),
        ("fm_stream", {"threads": -1}),
        ("fm_rank", {"block_size": LARGEST}),
        ("fm_rank", {"block_size": 2**62, "blocks": np.array([4], np.int32)}),
        ("fm_rank", {"first_item": LARGEST}),
        ("fm_rank", {"first_item": -LARGEST - 1}),
        ("fm_rank", {"negatives": LARGEST}),
        ("fm_rank", {"key": -1}),
    ],
)
def test_numbers_beyond_all_bounds_are_refused(name, changes):
    with pytest.raises((TypeError, ValueError)):
        getattr(kernels, name.partition(" ")[0])(**{**KERNELS[name](), **changes})


def test_blocks_of_bpr_beyond_all_bounds_are_refused():
    good = bpr_problem()
    for changes in ({"block_size": LARGEST}, {"block_size": 2**62, "blocks": np.array([4], np.int32)}):
        with pytest.raises(ValueError, match="block_size"):
            kernels.bpr_blocks(**{**good, **bpr_tables(good), "threads": 1, **changes})


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_block_may_be_larger_than_the_samples(optimizer):
    arguments = problem(n=16, blocks=np.zeros(1, np.int32), block_size=INT32.max)
    exact = {**arguments, "block_size": 16}
    large, small = (
        run(kernels.fm_sgd, {**one, **settings(optimizer)}, machine(optimizer)) for one in (arguments, exact)
    )
    assert large[0] == small[0]
    assert large[1]["vectors"].tobytes() == small[1]["vectors"].tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize("what", ["targets", "sample_weight", "values", "vectors", "weights", "learning_rate"])
def test_numbers_that_are_none_end_in_a_loss_and_no_crash(what, bad):
    arguments = {**problem(n=16), **machine("adagrad", n_fields=3), "threads": 1}
    if what == "learning_rate":
        arguments[what] = bad
    else:
        arguments[what].reshape(-1)[0] = bad
    assert isinstance(kernels.fm_sgd(**arguments), float)


def test_one_user_who_has_everything_and_a_single_item():
    good = rank_problem(n_users=1, n_items=1, n_contexts=1, density=1.0, rows="ids")
    state = tables(good, width=8)
    assert kernels.fm_rank(**{**good, **state, "threads": 1}) == 0


THREADS = """
import resource
import numpy as np
from test_fm_sgd import machine, problem
from recsys import kernels
arguments = problem(n=3000, block_size=1, blocks=np.arange(3000, dtype=np.int32))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)  # room for the stacks of some threads
print(kernels.fm_sgd(**arguments, **machine("adagrad"), threads=10**6))
"""


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer needs all the room there is")
def test_a_million_threads_are_as_many_as_there_can_be():
    """Threads the system does not give ended in `std::terminate`."""
    done = subprocess.run(
        [sys.executable, "-c", THREADS], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert np.isfinite(float(done.stdout))
