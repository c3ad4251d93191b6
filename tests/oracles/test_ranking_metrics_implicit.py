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


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 5, 20])
def test_same_lists_same_numbers(seed, k):
    rng = np.random.default_rng(seed)
    n_users, n_items = 200, 60
    relevant = rng.random((n_users, n_items)) < rng.choice([0.0, 0.02, 0.1, 0.6], n_users)[:, None]
    rows = np.argsort(rng.random((n_users, n_items)) - 0.4 * relevant, axis=1)[:, :k].astype(np.int32)
    # Its kernel takes 32-bit index arrays only.
    test = sp.csr_matrix(relevant.astype(np.float32))
    test.indptr, test.indices = test.indptr.astype(np.int32), test.indices.astype(np.int32)
    theirs = implicit_evaluation.ranking_metrics_at_k(
        Lists(rows), sp.csr_matrix(test.shape, dtype=np.float32), test, K=k, show_progress=False
    )

    judged = relevant.any(axis=1)
    hits = np.take_along_axis(relevant, rows, axis=1)[judged]
    n_relevant = relevant[judged].sum(axis=1)
    ours = {name: metric(hits, n_relevant) for name, metric in RANKING_METRICS.items()}
    assert 0 < judged.sum() < n_users
    assert ours["map"].mean() == pytest.approx(theirs["map"], rel=1e-12)
    assert ours["ndcg"].mean() == pytest.approx(theirs["ndcg"], rel=1e-12)
    assert ours["precision"].sum() * k / np.minimum(k, n_relevant).sum() == pytest.approx(
        theirs["precision"], rel=1e-12
    )
    many = n_relevant >= k
    assert ours["precision"][many] == pytest.approx(hits[many].sum(axis=1) / np.minimum(k, n_relevant[many]))
