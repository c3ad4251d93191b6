"""What the ranking losses of factorization machines refuse."""

import numpy as np
import pytest
from fm_rank_problems import problem, tables

from recsys import kernels


def refused():
    good = problem(n_users=4, n_items=5, n_contexts=1, density=1.0, rows="ids")
    state = tables(good, width=8)
    n, m = len(good["users"]), len(good["candidates"])
    changes = {
        "float64 vectors": {"vectors": state["vectors"].astype(float)},
        "vectors not contiguous": {"vectors": np.zeros((10, 16), np.float32)[:, ::2]},
        "width of no vector": {"vectors": np.zeros((10, 7), np.float32)},
        "weights too short": {"weights": state["weights"][:-1]},
        "sums too short": {"vector_sums": state["vector_sums"][:-1]},
        "sums of vectors alone": {"weight_sums": None},
        "int64 users": {"users": good["users"].astype(np.int64)},
        "user out of range": {"users": np.full(n, 4, np.int32)},
        "negative item": {"items": np.full(n, -1, np.int32)},
        "item out of range": {"items": np.full(n, 5, np.int32)},
        "items too short": {"items": good["items"][:-1]},
        "query out of range": {"query_rows": np.full((n, 1), 10, np.int32)},
        "negative query": {"query_rows": np.full((n, 1), -1, np.int32)},
        "query too short": {"query_rows": good["query_rows"][:-1]},
        "weight too short": {"sample_weight": np.ones(n - 1, np.float32)},
        "block beyond the positives": {"blocks": np.array([3], np.int32)},
        "negative block": {"blocks": np.array([-1], np.int32)},
        "empty blocks": {"block_size": 0},
        "feature out of range": {"features": np.full(10, 10, np.int32)},
        "negative feature": {"features": np.full(10, -1, np.int32)},
        "table beyond the end": {"indptr": np.arange(11) + (np.arange(11) > 9)},
        "table that falls": {"indptr": np.array([0, 9, 5, *range(3, 11)])},
        "no table": {"indptr": np.empty(0, np.int64)},
        "values too short": {"values": np.ones(9, np.float32)},
        "items beyond the table": {"first_item": 6},
        "items before the table": {"first_item": -1},
        "lists beyond the end": {"user_indptr": np.array([0, 5, 10, 15, 21])},
        "lists that fall": {"user_indptr": np.array([0, 9, 5, 15, 20])},
        "bits too short": {"user_bits": good["user_bits"][:-1]},
        "candidate out of range": {"candidates": np.full(m, 5, np.int32)},
        "negative candidate": {"candidates": np.full(m, -1, np.int32)},
        "no candidates": {"candidates": np.empty(0, np.int32), "threshold": None, "alias": None},
        "alias out of range": {"alias": np.full(m, m, np.int32)},
        "alias too short": {"alias": good["alias"][:-1]},
        "alias alone": {"threshold": None},
        "unknown loss": {"loss": "magic"},
        "no negatives": {"negatives": 0},
        "no thread": {"threads": 0},
    }
    return [pytest.param({**good, **state, "threads": 1, **change}, id=name) for name, change in changes.items()]


@pytest.mark.parametrize("arguments", refused())
def test_bad_arguments_are_refused_before_any_memory_is_touched(arguments):
    with pytest.raises((TypeError, ValueError)):
        kernels.fm_rank(**arguments)
