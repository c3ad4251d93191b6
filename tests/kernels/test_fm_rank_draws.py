"""What the ranking losses of factorization machines draw, and how often."""

import numpy as np
import pytest
from fm_rank_problems import problem, run, tables

from recsys import kernels
from recsys.kernels.reference.bpr import draws
from recsys.models.fm.ranking import user_bits


def counted(n_items, own, n, **changed):
    """How often each item is drawn for a user with some items: at equal scores each draw adds 1/4 to its sum."""
    arguments = problem(
        n_users=1, n_items=n_items, n_contexts=1, rows="ids", negatives=1, learning_rate=0.0, **changed,
    ) | {
        "users": np.zeros(n, np.int32), "query_rows": np.zeros((n, 1), np.int32), "blocks": np.zeros(1, np.int32),
        "block_size": n, "user_indptr": np.array([0, len(own)]), "user_items": np.array(own, np.int32),
        "user_bits": user_bits(np.array([0, len(own)]), np.array(own, np.int32)),
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


def test_the_bits_of_a_user_know_all_they_have_and_little_else():
    rng = np.random.default_rng(2)
    lists = [np.sort(rng.choice(10**6, n, replace=False)).astype(np.int32) for n in (0, 1, 5, 300, 4000)]
    indptr = np.cumsum([0, *map(len, lists)])
    bits = user_bits(indptr, np.concatenate(lists))
    for n, own, first in zip(map(len, lists), lists, indptr, strict=False):
        items = np.append(own, np.arange(10_000))
        bit = (items.astype(np.uint32) * np.uint32(0x9E3779B1)).astype(np.uint64) * np.uint64(n) >> np.uint64(28)
        known = bits[first:][(bit // 16).astype(int)] >> (bit % 16).astype(int) & 1 if n else np.zeros(10_000)
        assert known[:n].all()
        assert known[n:].mean() < 0.1


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


def by_hand(scores, positive, drawn, has, negatives):
    """The loss of WARP, one draw after the other."""
    place, n = 0, len(scores)
    for item in drawn:
        hinge = 1 - scores[positive] + scores[item]
        if hinge > 0 and item in has:
            continue
        place += 1
        if hinge > 0:
            return np.log(1 + (n - 1) // place) / np.log(n) * hinge, item
        if place == negatives:
            break
    return 0.0, None


@pytest.mark.parametrize("key", range(40))
def test_warp_does_not_count_what_the_user_has_within_the_margin_and_counts_it_below(key):
    n, negatives = 20, 6
    rng = np.random.default_rng(key)
    arguments = problem(n_users=1, n_items=n, n_contexts=1, rows="ids", uniform=True, loss="warp") | {
        "users": np.zeros(1, np.int32), "items": np.zeros(1, np.int32), "query_rows": np.zeros((1, 1), np.int32),
        "blocks": np.zeros(1, np.int32), "block_size": 1, "user_indptr": np.array([0, 12]),
        "user_items": np.arange(12, dtype=np.int32), "user_bits": user_bits(np.array([0, 12]), np.arange(12)),
        "candidates": np.arange(n, dtype=np.int32),
        "negatives": negatives, "key": key,
    }  # fmt: skip
    state = tables(arguments, scale=0.0, width=8)
    scores = rng.choice([-3.0, 0.0, 0.5], n, p=[0.8, 0.1, 0.1]).astype(np.float32)
    scores[0] = 0
    state["weights"][1 : 1 + n] = scores
    loss, item = by_hand(scores, 0, draws(key, 0, negatives, n, None, None), range(12), negatives)
    returned, after = run(kernels.fm_rank, arguments, state)
    assert returned == pytest.approx(loss, rel=1e-5)
    moved = np.flatnonzero(after["weights"][1 : 1 + n] != scores)
    assert moved.tolist() == ([] if item is None else [0, item])
