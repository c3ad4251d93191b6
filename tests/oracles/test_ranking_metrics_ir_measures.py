"""Against `ir_measures`, which asks trec_eval: 1,000 random lists, user by user.

Precision, recall, success (our hit rate), reciprocal rank and NDCG mean the same there. Its average precision divides
by all relevant items, ours by those that fit into the list, min(k, n_rel).
"""

import numpy as np
import pytest

from recsys.evaluation.ranking_metrics import RANKING_METRICS

ir_measures = pytest.importorskip("ir_measures")
AP, P, R, RR, Success, nDCG = (getattr(ir_measures, name) for name in ("AP", "P", "R", "RR", "Success", "nDCG"))
SAME = {"precision": P, "recall": R, "hit_rate": Success, "ndcg": nDCG}


def lists(seed, users=50, n_items=60):
    """Relevance of every item and distinct items in a random order, relevant ones earlier than others."""
    rng = np.random.default_rng(seed)
    relevant = rng.random((users, n_items)) < rng.choice([0.02, 0.1, 0.6], users)[:, None]
    relevant[np.arange(users), rng.integers(0, n_items, users)] = True
    return relevant, np.argsort(rng.random((users, n_items)) - 0.4 * relevant, axis=1)


def theirs(relevant, rows, k):
    qrels = [ir_measures.Qrel(str(user), str(item), 1) for user, item in np.argwhere(relevant)]
    run = [
        ir_measures.ScoredDoc(str(user), str(item), float(-rank))
        for user, one in enumerate(rows[:, :k])
        for rank, item in enumerate(one)
    ]
    measures = {**{name: measure @ k for name, measure in SAME.items()}, "mrr": RR, "map": AP}
    values = {name: np.full(len(rows), np.nan) for name in measures}
    names = {measure: name for name, measure in measures.items()}
    for one in ir_measures.iter_calc(list(measures.values()), qrels, run):
        values[names[one.measure]][int(one.query_id)] = one.value
    return values


@pytest.mark.parametrize("k", [*range(1, 18), 25, 40, 60])
def test_same_lists_same_numbers(k):
    relevant, rows = lists(seed=k)
    hits, n_relevant = np.take_along_axis(relevant, rows, axis=1)[:, :k], relevant.sum(axis=1)
    expected = theirs(relevant, rows, k)
    expected["map"] *= n_relevant / np.minimum(k, n_relevant)
    for name, metric in RANKING_METRICS.items():
        np.testing.assert_allclose(metric(hits, n_relevant), expected[name], rtol=0, atol=1e-9, err_msg=name)
    # The measures of ranks tell one item further down apart.
    later = np.roll(hits, 1, axis=1) & (np.arange(k) > 0)
    assert (np.abs(RANKING_METRICS["ndcg"](later, n_relevant) - expected["ndcg"]) > 1e-9).any()
