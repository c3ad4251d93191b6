"""The compiled top-K against a full sort, against its numpy twin, and against itself in every arrangement."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import kernels
from recsys.codes import Codes
from recsys.index import Exclusions, ItemIndex, top_k
from recsys.kernels import reference


@st.composite
def problems(draw):
    """Small integers as floats: every product and sum is exact, and ties abound."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_queries, n_items = draw(st.integers(1, 40)), draw(st.integers(0, 600))
    width, k = draw(st.integers(0, 37)), draw(st.integers(1, 30))

    def whole(*shape):
        return rng.integers(-3, 4, shape).astype(np.float32)

    exclude = allowed = None
    if draw(st.booleans()):
        lists = [np.unique(rng.integers(0, max(n_items, 1), rng.integers(0, 50))) for _ in range(n_queries)]
        indptr = np.cumsum([0, *map(len, lists)]).astype(np.int64)
        exclude = Exclusions(indptr, np.concatenate(lists).astype(np.int32))
    if draw(st.booleans()):
        allowed = rng.random(n_items) < draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    bias = whole(n_items) if draw(st.booleans()) else None
    scale = np.exp2(whole(n_items)) if draw(st.booleans()) else None
    return whole(n_queries, width), whole(n_items, width), bias, scale, k, exclude, allowed


def full_sort(queries, items, bias, scale, k, exclude, allowed):
    """What top-K means, without any of its tricks."""
    lists = []
    for q, query in enumerate(queries.astype(np.float64)):
        scores = items.astype(np.float64) @ query
        scores = scores * (1 if scale is None else scale) + (0 if bias is None else bias)
        banned = set() if exclude is None else set(exclude.rows[exclude.indptr[q] : exclude.indptr[q + 1]].tolist())
        free = [i for i in range(len(items)) if i not in banned and (allowed is None or allowed[i])]
        best = sorted(free, key=lambda i: (-scores[i], i))[:k]
        lists.append(([*best, *[-1] * (k - len(best))], [*scores[best], *[-np.inf] * (k - len(best))]))
    return [rows for rows, _ in lists], [scores for _, scores in lists]


def searched(problem, search=kernels.search):
    queries, items, bias, scale, k, exclude, allowed = problem
    rows, scores = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32)
    indptr, excluded = (None, None) if exclude is None else (exclude.indptr, exclude.rows)
    bits = None if allowed is None else np.packbits(allowed, bitorder="little")
    search(queries, items, bias, scale, None, None, indptr, excluded, bits, rows, scores, 1)
    return rows, scores


@given(problems())
def test_search_equals_a_full_sort(problem):
    rows, scores = searched(problem)
    expected_rows, expected_scores = full_sort(*problem)
    assert rows.tolist() == expected_rows
    assert scores.tolist() == expected_scores


@given(problems())
def test_reference_gives_the_compiled_answer(problem):
    compiled, (rows, scores) = searched(problem), searched(problem, reference.search)
    np.testing.assert_array_equal(rows, compiled[0])
    np.testing.assert_array_equal(scores, compiled[1])


@given(problems())
def test_many_queries_stop_early_and_find_the_same(problem):
    queries, items, bias, _, k, exclude, allowed = problem
    queries = np.repeat(queries, 9, axis=0)[: len(queries) + 8]  # enough for the copy in order of length
    exclude = None if exclude is None else Exclusions(*repeated(exclude, len(queries)))
    rows, scores = ItemIndex(items, bias).search(queries, k, exclude=exclude, allowed=allowed)
    expected_rows, expected_scores = full_sort(queries, items, bias, None, k, exclude, allowed)
    assert rows.tolist() == expected_rows
    assert scores.tolist() == expected_scores


def repeated(exclude, n_queries):
    """Indptr and rows of as many queries, the lists in turn."""
    lists = [exclude.of(q % (len(exclude.indptr) - 1)) for q in range(n_queries)]
    return np.cumsum([0, *map(len, lists)]).astype(np.int64), np.concatenate(lists)


@given(problems())
def test_select_equals_search_on_the_same_scores(problem):
    queries, items, _, _, k, exclude, _ = problem
    dense = queries @ items.T
    for got, expected in zip(
        top_k(dense, k, exclude=exclude), ItemIndex(items).search(queries, k, exclude=exclude), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("width", [1, 7, 8, 50, 64, 129])
def test_one_query_alone_gives_the_bits_of_the_batch_on_any_number_of_threads(width):
    rng = np.random.default_rng(width)
    queries, items = (rng.standard_normal((n, width), np.float32) for n in (101, 3000))
    index = ItemIndex(items, rng.standard_normal(3000, np.float32))
    batch = index.search(queries, 25)
    for threads in (2, 5):
        for got, expected in zip(index.search(queries, 25, threads=threads), batch, strict=True):
            assert got.tobytes() == expected.tobytes()
    for q in range(len(queries)):
        rows, scores = index.search(queries[q : q + 1], 25)
        assert rows.tobytes() == batch[0][q].tobytes()
        assert scores.tobytes() == batch[1][q].tobytes()


def test_nan_scores_are_never_returned():
    rows, _ = top_k(np.array([[np.nan, 1, np.nan, 2]], np.float32), 3)
    assert rows.tolist() == [[3, 1, -1]]


def test_similar_leaves_the_item_out_and_zero_vectors_do_not_divide_by_zero():
    vectors = np.array([[1, 0], [2, 0.1], [0, 1], [0, 0]], np.float32)
    for index in (ItemIndex(vectors), ItemIndex(vectors, None, Codes.of(vectors, np.zeros(4, np.float32)))):
        rows, scores = index.cosine().similar(0, 4)
        assert rows.tolist() == [[1, 2, 3, -1]]
        assert scores[0, 0] == pytest.approx(2 / np.hypot(2, 0.1))


SCRIPT = """
import json, sys, numpy as np
from recsys import kernels
from recsys.index import ItemIndex
rng = np.random.default_rng(3)
queries, items = (rng.integers(-9, 10, (n, 41)).astype(np.float32) for n in (33, 2000))
rows, scores = ItemIndex(items).search(queries, 50, threads=2)
json.dump([kernels.instruction_set(), rows.tolist(), scores.tolist()], sys.stdout)
"""


def run_with(instruction_set):
    environment = {**os.environ, "RECSYS_INSTRUCTION_SET": instruction_set}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_every_instruction_set_of_this_machine_gives_the_same_lists():
    answers = [json.loads(run_with(name).stdout) for name in kernels.instruction_sets()]
    assert [name for name, *_ in answers] == kernels.instruction_sets()
    assert all(answer[1:] == answers[0][1:] for answer in answers)


def test_an_unknown_instruction_set_is_refused_by_name():
    assert "RECSYS_INSTRUCTION_SET=abacus is not supported here" in run_with("abacus").stderr


def refused_calls():
    f32, i32 = np.zeros((2, 8), np.float32), np.zeros((2, 3), np.int32)
    good = {
        "queries": f32, "item_vectors": np.zeros((5, 8), np.float32), "item_bias": None, "item_scale": None,
        "row_of": None, "reach": None, "exclude_indptr": None, "exclude_rows": None, "allowed": None,
        "rows": i32, "scores": np.zeros((2, 3), np.float32), "threads": 1,
    }  # fmt: skip
    rows = np.array([3, 1], np.int32)
    bad = {
        "float64": {"queries": f32.astype(np.float64)},
        "not contiguous": {"queries": np.zeros((2, 16), np.float32)[:, ::2]},
        "another width": {"queries": np.zeros((2, 7), np.float32)},
        "short bias": {"item_bias": np.zeros(4, np.float32)},
        "short row_of": {"row_of": np.zeros(4, np.int32)},
        "row_of beyond the items": {"row_of": np.arange(1, 6, dtype=np.int32)},
        "short reach": {"reach": np.zeros((0, 2), np.float32)},
        "reach beside scale": {"reach": np.zeros((1, 2), np.float32), "item_scale": np.ones(5, np.float32)},
        "short output": {"rows": np.zeros((1, 3), np.int32)},
        "k of 0": {"rows": np.zeros((2, 0), np.int32), "scores": np.zeros((2, 0), np.float32)},
        "indptr alone": {"exclude_indptr": np.zeros(3, np.int64)},
        "indptr beyond rows": {"exclude_indptr": np.array([0, 1, 9], np.int64), "exclude_rows": rows},
        "indptr of int32": {"exclude_indptr": np.array([0, 1, 2], np.int32), "exclude_rows": rows},
        "unsorted rows": {"exclude_indptr": np.array([0, 2, 2], np.int64), "exclude_rows": rows},
        "short bitmap": {"allowed": np.zeros(0, np.uint8)},
        "no threads": {"threads": 0},
    }
    return [pytest.param({**good, **change}, id=name) for name, change in bad.items()]


@pytest.mark.parametrize("arguments", refused_calls())
def test_bad_arguments_are_refused_before_any_memory_is_touched(arguments):
    with pytest.raises((TypeError, ValueError)):
        kernels.search(**arguments)
