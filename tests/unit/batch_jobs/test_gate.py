"""The gate on real judgements of small planted data: sabotage is refused with its figures, honest models pass."""

from dataclasses import replace
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest

from batch_jobs.config import EvaluateConfig, GateConfig
from batch_jobs.evaluate import IN_SERVICE, Judgement
from batch_jobs.gate import gate, gate_metric
from batch_jobs.train import Fit
from recsys.artifacts import describe
from recsys.data import Dataset, Split, clean, interactions_from_tuples
from recsys.errors import ConfigError, GateRefusedError, InsufficientDataError
from recsys.evaluation import evaluate
from recsys.evaluation.result import EvaluationResult
from recsys.models import Popularity


def result(ndcg, *, users=50, coverage=0.5):
    values = {"ndcg@20": np.full(users, ndcg), "recall@20": np.full(users, ndcg)}
    return EvaluationResult(
        tuple(f"u{n}" for n in range(users)), values, {"coverage@20": coverage}, MappingProxyType({})
    )


def judgement(candidate, name="time 0.2", **others):
    raw = interactions_from_tuples([("u", "i", 1.0)])
    fitted = Fit(Popularity().fit(Dataset.from_interactions(raw)), clean(raw))
    return Judgement(fitted, Split(raw, raw, name), {"popularity": candidate, **others})


def current(judged_by="time 0.2", **metrics):
    return describe("shop", "als", {}, config={}, data={"judged_by": judged_by}, metrics=metrics)


CONFIG, METRIC = GateConfig(), "ndcg@20"


def test_the_first_model_passes_if_it_finds_anything():
    assert "nothing is in service yet" in gate(judgement(result(0.1)), None, CONFIG, METRIC)
    with pytest.raises(GateRefusedError, match="finds nothing"):
        gate(judgement(result(0.0)), None, CONFIG, METRIC)
    with pytest.raises(GateRefusedError, match="finds nothing"):
        gate(judgement(result(np.nan)), None, CONFIG, METRIC)


def test_too_few_users_are_no_judgement():
    with pytest.raises(InsufficientDataError, match="only 9 users"):
        gate(judgement(result(0.5, users=9)), None, CONFIG, METRIC)


def test_coverage_has_a_floor_where_one_is_set():
    config = GateConfig(min_coverage=0.2)
    gate(judgement(result(0.5, coverage=0.2)), None, config, METRIC)
    with pytest.raises(GateRefusedError, match=r"19\.0% of the catalogue"):
        gate(judgement(result(0.5, coverage=0.19)), None, config, METRIC)


@pytest.mark.parametrize(("reached", "passes"), [(0.1799, False), (0.1801, True), (0.3, True)])
def test_the_model_in_service_sets_the_bar(reached, passes):
    on_the_same_events = judgement(result(reached), **{IN_SERVICE: result(0.2)})
    as_recorded = judgement(result(reached))
    for one, now in ((on_the_same_events, current(**{"ndcg@20": 9.0})), (as_recorded, current(**{"ndcg@20": 0.2}))):
        if passes:
            assert "0.2000" in gate(one, now, CONFIG, METRIC)
        else:
            with pytest.raises(GateRefusedError, match=r"0\.1799.*0\.2000.*more than 10% is refused"):
                gate(one, now, CONFIG, METRIC)


def test_means_are_taken_over_the_users_both_results_have():
    # The candidate knows ten more users, who are hard: judged on them too, it would look worse than it is.
    wider = result(0.2, users=60)
    wider.values[METRIC][50:] = 0.0
    assert wider.mean(METRIC) < 0.18
    words = gate(judgement(wider, **{IN_SERVICE: result(0.2, users=50)}), current(), CONFIG, METRIC)
    assert words == "ndcg@20 0.2000; the model in service reached 0.2000 on the same test events of 50 users"
    strangers = replace(result(0.2), users=tuple(f"v{n}" for n in range(50)))
    assert "no test user is known to" in gate(judgement(wider, **{IN_SERVICE: strangers}), current(), CONFIG, METRIC)


def test_figures_of_another_protocol_are_not_compared():
    words = gate(judgement(result(0.01)), current("leave-last 1", **{"ndcg@20": 0.9}), CONFIG, METRIC)
    assert "never judged by time 0.2" in words


def test_the_metric_is_the_one_asked_for_or_ndcg_at_the_greatest_k():
    judged = EvaluateConfig(k=(5, 7))
    assert gate_metric(GateConfig(), judged) == "ndcg@7"
    assert gate_metric(GateConfig(metric="recall@5"), judged) == "recall@5"
    with pytest.raises(ConfigError, match=r"'ndcg@20' is not judged; choose one of precision@5, "):
        gate_metric(GateConfig(metric="ndcg@20"), judged)


def test_a_baseline_that_does_better_is_mentioned():
    one = judgement(result(0.1), als=result(0.2))
    popularity = replace(one, fitted=SimpleNamespace(model=SimpleNamespace(kind="als")))
    assert "popularity" not in gate(popularity, None, CONFIG, METRIC)
    worse = replace(popularity, results={"als": result(0.05), "popularity": result(0.1)})
    assert gate(worse, None, CONFIG, METRIC).endswith("popularity alone reaches 0.1000")


def test_a_model_of_shuffled_items_is_refused_where_the_honest_one_passes():
    rng = np.random.default_rng(0)
    pairs = [(f"u{u}", f"i{int(i)}", 1.0) for u in range(80) for i in rng.choice(60, 9, replace=False, p=_zipf(60))]
    train = interactions_from_tuples([one for n, one in enumerate(pairs) if n % 3])
    test = interactions_from_tuples([one for n, one in enumerate(pairs) if n % 3 == 0])
    honest = Popularity().fit(Dataset.from_interactions(train))
    sabotaged = Popularity().fit(Dataset.from_interactions(train))
    factors = sabotaged.export()
    factors.item_bias[:] = rng.permutation(factors.item_bias)
    good, bad = evaluate(honest, test, k=(20,)), evaluate(sabotaged, test, k=(20,))
    assert gate(judgement(good, **{IN_SERVICE: good}), current(), CONFIG, METRIC)
    with pytest.raises(GateRefusedError):
        gate(judgement(bad, **{IN_SERVICE: good}), current(), CONFIG, METRIC)


def _zipf(n):
    share = 1 / np.arange(1, n + 1)
    return share / share.sum()
