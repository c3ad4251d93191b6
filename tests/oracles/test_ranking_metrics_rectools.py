"""Against values that RecTools gave, frozen with the versions it ran in; `freeze_rectools.py` made them.

Its NDCG takes an ideal list of k hits even for users with fewer relevant items, its MAP divides by all relevant items.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from recsys.evaluation.beyond_accuracy import list_means, self_information
from recsys.evaluation.ranking_metrics import RANKING_METRICS

FROZEN = json.loads(Path(__file__).with_name("rectools_values.json").read_text())
ROWS = np.array(FROZEN["rows"])
N_RELEVANT = np.array([len(one) for one in FROZEN["relevant"]])
HITS = np.array([np.isin(row, one) for row, one in zip(FROZEN["rows"], FROZEN["relevant"], strict=True)])


def ideal(n):
    return sum(1 / np.log2(rank + 1) for rank in range(1, n + 1))


def in_their_terms(name, values, k):
    fitting = np.minimum(k, N_RELEVANT)
    if name == "map":
        return values * fitting / N_RELEVANT
    if name == "ndcg":
        return values * [ideal(n) for n in fitting] / ideal(k)
    return values


@pytest.mark.parametrize("k", [1, 5, 12])
@pytest.mark.parametrize("name", RANKING_METRICS)
def test_same_lists_same_numbers(name, k):
    ours = RANKING_METRICS[name](HITS[:, :k], N_RELEVANT)
    expected = FROZEN["values"][f"{name}@{k}"]
    np.testing.assert_allclose(in_their_terms(name, ours, k), expected, rtol=0, atol=1e-9)
    if name in ("map", "ndcg") and k > 1:
        assert (np.abs(ours - expected) > 0.01).any()


@pytest.mark.parametrize("k", [1, 5, 12])
def test_same_novelty(k):
    popularity = np.bincount(np.concatenate(FROZEN["history"])).astype(float)
    information = self_information(popularity, len(ROWS))
    np.testing.assert_allclose(
        list_means(ROWS[:, :k], information), FROZEN["values"][f"novelty@{k}"], rtol=0, atol=1e-9
    )
