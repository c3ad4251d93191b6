"""Against `implicit.evaluation.ranking_metrics_at_k` of implicit 0.7.3.

MAP and NDCG mean the same there. Its precision is another number, all hits over the sum of min(k, n_rel): what we
report per user, hits / k, adds up to it. Recall, hit rate and MRR it does not have.
"""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.evaluation.ranking_metrics import RANKING_METRICS

implicit_evaluation = pytest.importorskip("implicit.evaluation")


class Lists:
    def __init__(self, rows):
        self.rows = rows

    def recommend(self, users, user_items, N):
        return self.rows[np.asarray(users), :N], None


def case(seed):
    """Relevance of every item and the lists of some users, many of whom have nothing relevant."""
    rng = np.random.default_rng(seed)
    n_users, n_items = int(rng.integers(2, 60)), int(rng.integers(2, 60))
    relevant = rng.random((n_users, n_items)) < rng.choice([0.0, 0.02, 0.1, 0.6], n_users)[:, None]
    relevant[0, 0] = True
    relevant[:, -1] = False  # it divides by the number of irrelevant items, for an AUC we do not take
    k = int(rng.integers(1, n_items + 1))
    return relevant, np.argsort(rng.random((n_users, n_items)) - 0.4 * relevant, axis=1)[:, :k].astype(np.int32)


def theirs(relevant, rows):
    # Its kernel takes 32-bit index arrays only.
    test = sp.csr_matrix(relevant.astype(np.float32))
    test.indptr, test.indices = test.indptr.astype(np.int32), test.indices.astype(np.int32)
    nobody = sp.csr_matrix(test.shape, dtype=np.float32)
    return implicit_evaluation.ranking_metrics_at_k(Lists(rows), nobody, test, K=rows.shape[1], show_progress=False)


def ours(relevant, rows):
    judged, k = relevant.any(axis=1), rows.shape[1]
    hits, n_relevant = np.take_along_axis(relevant, rows, axis=1)[judged], relevant[judged].sum(axis=1)
    values = {name: metric(hits, n_relevant) for name, metric in RANKING_METRICS.items()}
    pooled = values["precision"].sum() * k / np.minimum(k, n_relevant).sum()
    return {"map": values["map"].mean(), "ndcg": values["ndcg"].mean(), "precision": pooled}


def test_same_lists_same_numbers_in_1000_random_cases():
    for seed in range(1_000):
        relevant, rows = case(seed)
        expected = theirs(relevant, rows)
        for name, value in ours(relevant, rows).items():
            assert value == pytest.approx(expected[name], rel=0, abs=1e-9), (seed, name)


def test_another_discount_or_divisor_would_be_seen(monkeypatch):
    relevant, rows = case(3)
    monkeypatch.setattr("recsys.evaluation.ranking_metrics._ranks", lambda hits: np.arange(2.0, hits.shape[1] + 2))
    expected = theirs(relevant, rows)
    for name in ("map", "ndcg"):
        assert abs(ours(relevant, rows)[name] - expected[name]) > 1e-3
