"""The scan over codes against the whole search: the same rows and the same bits, whatever the items are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys import kernels
from recsys.codes import GROUP, Codes
from recsys.index import Exclusions, ItemIndex
from recsys.kernels import reference

KINDS = ("normal", "whole", "decaying", "one length", "duplicates", "denormal", "huge", "zero", "spread", "one axis")


def made(kind, rng, n, d):
    """Vectors of a kind that could mislead a bound."""
    vectors = rng.standard_normal((n, d))
    if kind == "whole":  # every product and sum is exact, and ties abound
        vectors = rng.integers(-3, 4, (n, d)).astype(np.float64)
    elif kind == "decaying":  # as factors are: few coordinates say most
        vectors *= 0.8 ** np.arange(d) * rng.pareto(2, (n, 1))
    elif kind == "one length":
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    elif kind == "duplicates":
        vectors = vectors[rng.integers(0, max(1, n // 20), n)] if n else vectors
    elif kind == "denormal":
        vectors *= 1e-40
    elif kind == "huge":
        vectors *= 1e15 / 6
    elif kind == "zero":
        vectors *= rng.random((n, 1)) < 0.1
    elif kind == "spread":
        vectors *= 10.0 ** rng.integers(-30, 15, (n, 1))
    elif kind == "one axis":
        vectors[:, 1:] = 0
    return np.clip(vectors, -1e15, 1e15).astype(np.float32)


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(1, 900)), draw(st.integers(1, 70))
    items, query = made(draw(st.sampled_from(KINDS)), rng, n, d), made(draw(st.sampled_from(KINDS)), rng, 1, d)
    size = np.abs(items).max(initial=0) * draw(st.sampled_from([0.0, 0.0, 1.0, 10.0]))
    bias = (rng.standard_normal(n) * size).astype(np.float32)
    exclude = Exclusions.of_one(rng.integers(-2, n + 2, rng.integers(0, 60))) if draw(st.booleans()) else None
    allowed = rng.random(n) < draw(st.sampled_from([0.0, 0.01, 0.1, 0.5])) if draw(st.booleans()) else None
    boost = (rng.standard_normal(n) * (size + 1e-3)).astype(np.float32) if draw(st.booleans()) else None
    return items, bias, query, draw(st.integers(1, 40)), exclude, allowed, boost


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.tobytes() == other.tobytes()


def both(problem, codes):
    items, bias, query, k, exclude, allowed, boost = problem
    asked = {"exclude": exclude, "allowed": allowed, "boost": boost}
    return ItemIndex(items, bias, codes).search(query, k, **asked), ItemIndex(items, bias).search(query, k, **asked)


@given(problems())
def test_the_scan_gives_the_lists_of_the_whole_search(problem):
    assert_same(*both(problem, Codes.of(problem[0], problem[1])))


@given(problems())
def test_lists_over_codes_equal_a_full_sort(problem):
    items, bias, query, k, exclude, allowed, boost = problem
    n = len(items)
    rows, scores = ItemIndex(items, bias, Codes.of(items, bias)).search(
        query, k, exclude=exclude, allowed=allowed, boost=boost
    )
    of_all = np.array([ItemIndex(items[i : i + 1], bias[i : i + 1]).search(
        query, 1, boost=None if boost is None else boost[i : i + 1])[1][0, 0] for i in range(n)])  # fmt: skip
    free = np.ones(n, bool) if allowed is None else allowed.copy()
    if exclude is not None:
        free[exclude.rows[(exclude.rows >= 0) & (exclude.rows < n)]] = False
    wanted = sorted(np.flatnonzero(free).tolist(), key=lambda row: (-of_all[row], row))[:k]
    assert rows[0].tolist() == wanted + [-1] * (k - len(wanted))
    assert scores[0, : len(wanted)].tolist() == of_all[wanted].tolist()


@given(problems())
def test_similar_items_over_codes(problem):
    items, bias, _, k, *_ = problem
    codes = Codes.of(items, bias)
    for row in (0, len(items) // 2, len(items) - 1):
        assert_same(
            ItemIndex(items, bias, codes).cosine().similar(row, k), ItemIndex(items, bias).cosine().similar(row, k)
        )


@given(problems())
def test_codes_are_within_their_bounds(problem):
    items, bias, *_ = problem
    codes, d = Codes.of(items, bias), items.shape[1]
    assert sorted(codes.row_of.tolist()) == list(range(len(items)))
    items, bias = items[codes.row_of], bias[codes.row_of]
    assert codes.biases.tobytes() == bias.tobytes()
    head = codes.heads.shape[1] // 16
    parts = [one.view(np.int8).reshape(len(one), -1, 16, 2).transpose(0, 2, 1, 3) for one in (codes.heads, codes.tails)]
    whole = np.concatenate([one.reshape(len(one) * 16, -1) for one in parts], axis=1)
    assert not whole[len(items) :].any()
    coded = whole[: len(items)] * codes.scales.astype(np.float64)[:, None]
    length, error, peak = np.repeat(codes.bounds.astype(np.float64), GROUP, axis=0)[: len(items)].T
    y = items.astype(np.float64)
    assert (np.linalg.norm(y, axis=1) <= length).all()
    assert (np.linalg.norm(coded, axis=1) <= length).all()
    assert (np.linalg.norm(y - coded[:, :d] @ codes.rotation.astype(np.float64).T, axis=1) <= error).all()
    assert (np.linalg.norm(coded[:, head:], axis=1) <= codes.tail_lengths).all()
    assert (bias <= peak).all()


def random_problem(seed, n=5000, d=48, k=20, kind="decaying", biased=0.0):
    rng = np.random.default_rng(seed)
    items, bias = made(kind, rng, n, d), (biased * rng.standard_normal(n)).astype(np.float32)
    return items, bias, made("normal", rng, 1, d), k, None, None, None


def lowered(codes, planted):
    """Codes one of whose bounds is too low."""
    bounds = codes.bounds.copy()
    if planted == "error":
        bounds[:, 1] *= -1
    elif planted == "length":
        bounds[:, 0] /= 4
    elif planted == "peak":
        bounds[:, 2] -= 1000
    return replace(codes, bounds=bounds, tail_lengths=codes.tail_lengths * (planted != "tail"))


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("k", [5, 400])
def test_more_items_that_no_bound_tells_apart_than_are_kept_at_a_time(size, k):
    items, bias, *rest = random_problem(k, n=9000, d=3, k=k)
    items[:] = size
    assert_same(*both((items, bias, *rest), Codes.of(items, bias)))


@pytest.mark.parametrize("planted", ["error", "length", "tail", "peak"])
def test_a_bound_that_is_too_low_is_caught(planted):
    wrong = 0
    for seed in range(20):
        # With biases this large the first groups hold the best 100, but not the best 400.
        biased = {"k": 400, "biased": 100.0} if planted == "peak" else {}
        problem = random_problem(seed, kind="normal", **biased)
        found, expected = both(problem, lowered(Codes.of(*problem[:2]), planted))
        wrong += found[0].tobytes() != expected[0].tobytes()
    assert wrong


@given(problems())
@settings(max_examples=30)
def test_the_reference_gives_the_compiled_answer_on_whole_numbers(problem):
    items, bias, query, k, exclude, allowed, _ = problem
    items, bias, query = (np.clip(np.rint(one), -3, 3).astype(np.float32) for one in (items, bias, query))
    codes = Codes.of(items, bias)
    bits = None if allowed is None else np.packbits(allowed, bitorder="little")
    answers = []
    for scan in (kernels.scan, reference.scan):
        rows, scores = np.empty(k, np.int32), np.empty(k, np.float32)
        scan(
            query[0], items, codes.rotation, codes.row_of, codes.biases, None, codes.heads, codes.tails,
            codes.scales, codes.tail_lengths, codes.bounds, None if exclude is None else exclude.rows, bits, rows,
            scores,
        )  # fmt: skip
        answers.append((rows.tolist(), scores.tolist()))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("d", [1, 2, 3, 16, 17, 31, 32, 33, 64, 100, 512, 1030])
def test_widths(d):
    items, bias, *rest = random_problem(d, n=700, d=d)
    assert_same(*both((items, bias, *rest), Codes.of(items, bias)))


def test_a_query_without_a_number_finds_nothing_and_ends():
    items, bias, query, *rest = random_problem(0, n=600)
    for bad in (np.nan, np.inf):
        query[0, 3] = bad
        assert_same(*both((items, bias, query, *rest), Codes.of(items, bias)))


def refused_calls():
    items, bias, query, *_ = random_problem(0, n=40, d=20)
    codes = Codes.of(items, bias)
    good = {
        "query": query[0], "item_vectors": items, "rotation": codes.rotation, "row_of": codes.row_of,
        "biases": codes.biases, "factor": None, "heads": codes.heads,
        "tails": codes.tails, "scales": codes.scales, "tail_lengths": codes.tail_lengths,
        "bounds": codes.bounds, "exclude_rows": None, "allowed": None,
        "rows": np.zeros(5, np.int32), "scores": np.zeros(5, np.float32),
    }  # fmt: skip
    bad = {
        "short query": {"query": query[0, :19]},
        "float64": {"query": query[0].astype(np.float64)},
        "short biases": {"biases": bias[:9]},
        "short factor": {"factor": bias[:9]},
        "short rotation": {"rotation": codes.rotation[:9]},
        "short row_of": {"row_of": codes.row_of[:9]},
        "short heads": {"heads": codes.heads[:1]},
        "narrow heads": {"heads": np.ascontiguousarray(codes.heads[:, :24])},
        "short tails": {"tails": codes.tails[:1]},
        "narrow tails": {"tails": np.ascontiguousarray(codes.tails[:, :32])},
        "no tails": {"tails": np.ascontiguousarray(codes.tails[:, :0])},
        "short scales": {"scales": codes.scales[:9]},
        "short lengths": {"tail_lengths": codes.tail_lengths[:9]},
        "short bounds": {"bounds": codes.bounds[:0]},
        "short bitmap": {"allowed": np.zeros(4, np.uint8)},
        "k of 0": {"rows": np.zeros(0, np.int32), "scores": np.zeros(0, np.float32)},
        "short scores": {"scores": np.zeros(4, np.float32)},
    }
    kernels.scan(**good)
    return [pytest.param({**good, **change}, id=name) for name, change in bad.items()]


@pytest.mark.parametrize("arguments", refused_calls())
def test_bad_arguments_are_refused_before_any_memory_is_touched(arguments):
    with pytest.raises((TypeError, ValueError)):
        kernels.scan(**arguments)
