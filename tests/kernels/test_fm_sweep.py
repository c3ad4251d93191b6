"""Coordinate descent passes of factorization machines, by mathematics and against their numpy twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import kernels
from recsys.kernels import reference

GROUP = 4


def stream(seed=0, n=60, n_rows=7, n_moved=5, factors=True, weighted=True):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    return {
        "q": normal(n, GROUP) if factors else None,
        "e": normal(n),
        "sample_weight": rng.random(n, np.float32) if weighted else None,
        "moved": rng.integers(0, n_moved, n, np.int32),
        "moves": normal(n_moved, 8 if factors else 1),
        "rows": rng.integers(0, n_rows, n, np.int32),
        "sums": normal(n_rows, GROUP) if factors else None,
        "statistics": rng.standard_normal((n_rows, 20 if factors else 2)),
    }


def run(kernel, arguments, **more):
    """Copies of all arrays after the call."""
    after = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in arguments.items()}
    kernel(**after, **more)
    return after


def close(compiled, readable, atol=1e-5):
    for name, value in readable.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(compiled[name], value, rtol=1e-4, atol=atol, err_msg=name)


@given(
    st.integers(0, 10**6), st.integers(0, 80), st.integers(1, 9), st.booleans(), st.booleans(),
    st.sampled_from(["follow", "count", "both"]),
)  # fmt: skip
def test_compiled_stream_meets_reference(seed, n, n_rows, factors, weighted, what):
    arguments = stream(seed, n, n_rows, 5, factors, weighted)
    if what == "follow":
        arguments |= dict.fromkeys(["rows", "sums", "statistics"])
    if what == "count":
        arguments |= dict.fromkeys(["moved", "moves"])
    compiled, readable = (run(module.fm_stream, arguments, threads=2) for module in (kernels, reference))
    close(compiled, readable)


def columns(seed=0, n_rows=9, n_features=6, factors=True, ones=False, noisy=True, width=16, density=0.5):
    """A block of random statistics of real samples, so that they are positive semidefinite."""
    rng = np.random.default_rng(seed)
    has = rng.random((n_features, n_rows)) < density
    group = GROUP if factors else 1

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    counted = stream(seed, 4 * n_rows, n_rows, factors=factors)
    reference.fm_stream(**{**counted, "statistics": (zeros := 0 * counted["statistics"])}, threads=1)
    return {
        "indptr": np.append(0, np.cumsum(has.sum(1))).astype(np.int64),
        "rows": np.nonzero(has)[1].astype(np.int32),
        "values": None if ones else normal(has.sum()),
        "field_of": np.sort(rng.integers(0, 2, n_features)).astype(np.int32),
        "begin": 0,
        "end": n_features,
        "noise_precision": 1.7,
        "precision": rng.random((2, group), np.float32) + np.float32(0.3),
        "mean": normal(2, group),
        "noise": normal(n_features, group) if noisy else None,
        "factors": normal(n_features, width if factors else 1),
        "first": 8 if factors else 0,
        "sums": counted["sums"],
        "statistics": zeros,
        "moves": np.zeros((n_rows, 8 if factors else 1), np.float32),
    }


@given(
    st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 8), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 0.3, 1.0]),
)  # fmt: skip
def test_compiled_solve_meets_reference(seed, n_rows, n_features, factors, ones, noisy, density):
    arguments = columns(seed, n_rows, n_features, factors, ones, noisy, density=density)
    compiled, readable = (run(module.fm_solve, arguments) for module in (kernels, reference))
    close(compiled, readable, atol=2e-4)


@pytest.mark.parametrize("factors", [True, False])
def test_threads_change_no_bit(factors):
    arguments = stream(n=300_000, n_rows=50, factors=factors)
    one, three = (run(kernels.fm_stream, arguments, threads=threads) for threads in (1, 3))
    for name in ("q", "e", "statistics"):
        assert one[name] is None or np.array_equal(one[name], three[name])


def test_statistics_of_popular_rows_are_as_good_as_in_float64():
    arguments = stream(n=400_000, n_rows=1, weighted=False)
    arguments |= {"moved": None, "moves": None, "statistics": np.zeros((1, 20))}
    arguments["q"] += 3
    compiled, readable = (run(module.fm_stream, arguments, threads=1)["statistics"] for module in (kernels, reference))
    np.testing.assert_allclose(compiled[0, :15], readable[0, :15], rtol=2e-5)


def test_a_direction_that_nothing_decides_is_left_alone():
    arguments = columns(noisy=False, n_features=3, n_rows=2, density=1.0)
    arguments["precision"][:] = 0
    arguments["statistics"][:] = 0
    after = run(kernels.fm_solve, arguments)
    assert np.array_equal(after["factors"], arguments["factors"])
    one_sample = stream(n=1, n_rows=2, weighted=False) | {"moved": None, "moves": None}
    kernels.fm_stream(**{**one_sample, "statistics": arguments["statistics"], "sums": arguments["sums"]}, threads=1)
    assert np.isfinite(run(kernels.fm_solve, arguments)["factors"]).all()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"rows": np.array([0, 7] * 30, np.int32)}, "rows must be rows"),
        ({"rows": np.array([0, -1] * 30, np.int32)}, "rows must be rows"),
        ({"moved": np.array([0, 5] * 30, np.int32)}, "moved must be rows"),
        ({"moved": np.full(60, np.iinfo(np.int32).min, np.int32)}, "moved must be rows"),
        ({"rows": np.zeros(59, np.int32)}, "rows must be rows"),
        ({"moves": None}, "come together"),
        ({"statistics": None}, "come together"),
        ({"sums": None}, "sums come with"),
        ({"moves": np.zeros((5, 4), np.float32)}, "8 wide"),
        ({"statistics": np.zeros((7, 2))}, "20 wide"),
        ({"sums": np.zeros((6, 4), np.float32)}, "for each row"),
        ({"q": np.zeros((60, 8), np.float32)}, "group of factors"),
        ({"sample_weight": np.zeros(3, np.float32)}, "sample_weight"),
        (dict.fromkeys(["moved", "moves", "rows", "sums", "statistics"]), "either"),
        ({"threads": 0}, "threads"),
    ],
)
def test_a_broken_stream_is_refused(broken, message):
    with pytest.raises(ValueError, match=message):
        kernels.fm_stream(**{**stream(), "threads": 1, **broken})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"indptr": np.zeros(3, np.int64)}, "indptr"),
        ({"indptr": np.array([0, 4, 2, 5, 5, 5, 5])}, "not fall"),
        ({"indptr": np.arange(7) * 10**6}, "within rows"),
        ({"indptr": np.arange(7) - 3}, "within rows"),
        ({"end": 7}, "range of features"),
        ({"begin": -1}, "range of features"),
        ({"first": 13}, "within their width"),
        ({"first": -4}, "within their width"),
        ({"field_of": np.full(6, 2, np.int32)}, "field_of"),
        ({"values": np.zeros(1, np.float32)}, "values"),
        ({"mean": np.zeros((3, 4), np.float32)}, "alike"),
        ({"noise": np.zeros((6, 3), np.float32)}, "noise"),
        ({"statistics": np.zeros((9, 2))}, "statistics"),
        ({"statistics": np.zeros((1, 20))}, "rows must be rows"),
        ({"moves": np.zeros((8, 8), np.float32)}, "moves"),
        ({"sums": None}, "alike"),
    ],
)
def test_a_broken_block_is_refused(broken, message):
    with pytest.raises(ValueError, match=message):
        kernels.fm_solve(**{**columns(), **broken})
