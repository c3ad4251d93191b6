"""Offsets beyond 2^31, in tables of zeros the system holds no memory for: only what is written costs any.

The rows solved stand at the end, so that a 32-bit offset anywhere before them would read or write elsewhere.
"""

import mmap

import numpy as np
import pytest

from recsys import kernels
from recsys.kernels import reference

LIMIT = 2**31
KERNELS = [("als_cg", {"steps": 3, "relaxation": 1.0}), ("als_exact", {})]


def zeros(shape, dtype):
    """Zeros without a promise of memory, which a machine smaller than the table would refuse."""
    dtype, no_reserve = np.dtype(dtype), 0x4000  # MAP_NORESERVE of Linux
    memory = mmap.mmap(-1, int(np.prod(shape)) * dtype.itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype).reshape(shape)


def small_problem(width, entries=1003, columns=30):
    rng = np.random.default_rng(width)
    return {
        "indptr": np.array([0, 400, 400, entries]),
        "indices": (np.arange(entries) % columns).astype(np.int32),
        "weights": None,
        "weight": 1.5,
        "shift": 0.0,
        "factors": rng.standard_normal((columns, width), np.float32),
        "dense": np.ones(width, np.float32),
        "penalty": np.ones(3, np.float32),
        "order": np.array([2, 0, 1], np.int32),
    }


def solved(kernel, cg, arguments):
    x, loss = np.zeros((3, arguments["factors"].shape[1]), np.float32), np.zeros(3)
    kernel(**arguments, **cg, x=x, loss=loss, threads=1)
    return x, loss


@pytest.mark.parametrize(("name", "cg"), KERNELS)
def test_entries_beyond_the_limit_are_found(name, cg):
    small = small_problem(8)
    indices = zeros(LIMIT + 600, np.int32)
    indices[-1003:] = small["indices"]
    indptr = small["indptr"] + (len(indices) - 1003)  # the first row straddles the limit
    indptr[0], order = 0, np.array([2, 1], np.int32)
    large = {**small, "indices": indices, "indptr": indptr, "order": order}
    for got, expected in zip(
        solved(getattr(kernels, name), cg, large), solved(getattr(kernels, name), cg, small), strict=True
    ):
        np.testing.assert_array_equal(got[1:], expected[1:])


@pytest.mark.parametrize(("name", "cg"), KERNELS)
def test_columns_beyond_the_limit_are_found(name, cg):
    small = small_problem(512)
    factors = zeros((LIMIT // 512 + 30, 512), np.float32)
    factors[-30:] = small["factors"]
    large = {**small, "factors": factors, "indices": small["indices"] + np.int32(len(factors) - 30)}
    for got, expected in zip(
        solved(getattr(kernels, name), cg, large), solved(getattr(kernels, name), cg, small), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("name", "cg"), KERNELS)
def test_rows_beyond_the_limit_are_written(name, cg):
    small = small_problem(512)
    expected = solved(getattr(kernels, name), cg, small)
    before = LIMIT // 512
    x, loss = zeros((before + 3, 512), np.float32), np.zeros(before + 3)
    large = {
        **small,
        "indptr": np.concatenate([np.zeros(before, np.int64), small["indptr"]]),
        "penalty": np.ones(len(x), np.float32),
        "order": small["order"] + np.int32(before),
    }
    getattr(kernels, name)(**large, **cg, x=x, loss=loss, threads=1)
    np.testing.assert_array_equal(x[before:], expected[0])
    np.testing.assert_array_equal(loss[before:], expected[1])
    assert not loss[:before].any()
    assert not x[[0, 1, 2, before - 1]].any()


def test_the_search_finds_items_beyond_the_limit():
    items = zeros((LIMIT // 2048 + 30, 2048), np.float32)
    items[-30:] = np.random.default_rng(0).random((30, 2048), np.float32)
    query, rows, scores = np.ones((1, 2048), np.float32), np.zeros((1, 5), np.int32), np.zeros((1, 5), np.float32)
    kernels.search(query, items, None, None, None, None, None, None, None, rows, scores, 1)
    expected = np.zeros((1, 5), np.int32)
    reference.search(query, items[-30:].copy(), None, None, None, None, None, None, None, expected, scores, 1)
    np.testing.assert_array_equal(rows, expected + len(items) - 30)
