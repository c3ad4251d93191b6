"""The rules of the gate one by one, on figures as they can come."""

import re
import time
from contextlib import nullcontext
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from nights import EVENTS, LOGS, Nights, events

from batch_jobs.config import EvaluateConfig, GateConfig
from batch_jobs.console import Screen
from batch_jobs.evaluate import Judgement
from batch_jobs.gate import _rule, gate, gate_metric
from batch_jobs.in_service import twins
from batch_jobs.log_checks import check_log, copied_users
from batch_jobs.publish import publish, roll_back
from batch_jobs.train import Fit
from recsys.data import Dataset, Split, clean, frozen_split, interactions_from_tuples
from recsys.errors import ConfigError, GateRefusedError, InsufficientDataError
from recsys.evaluation import Difference
from recsys.evaluation.result import EvaluationResult
from recsys.models import Popularity

CONFIG, METRIC = GateConfig(), "ndcg@20"


def result(ndcg, *, users=50, coverage=0.5):
    values = {"ndcg@20": np.full(users, ndcg), "recall@20": np.full(users, ndcg)}
    counts = MappingProxyType({"repeats": 0, "relevant": users})
    return EvaluationResult(tuple(f"u{n}" for n in range(users)), values, {"coverage@20": coverage}, counts)


def judgement(candidate, name="time 0.2", **others):
    raw = interactions_from_tuples([("u", "i", 1.0)])
    fitted = Fit(Popularity().fit(Dataset.from_interactions(raw)), clean(raw))
    return Judgement(fitted, Split(raw, raw, name), {"popularity": candidate, **others})


def alone(one, config=CONFIG):
    return gate(one, None, {}, config, METRIC).words


def test_the_first_model_passes_if_it_finds_anything():
    assert "nothing is in service yet" in alone(judgement(result(0.1)))
    for nothing in (0.0, np.nan):
        with pytest.raises(GateRefusedError, match="finds nothing"):
            alone(judgement(result(nothing)))


def test_too_few_users_are_no_judgement():
    with pytest.raises(InsufficientDataError, match="only 9 users"):
        alone(judgement(result(0.5, users=9)))


def test_coverage_has_a_floor_where_one_is_set():
    config = GateConfig(min_coverage=0.2)
    alone(judgement(result(0.5, coverage=0.2)), config)
    with pytest.raises(GateRefusedError, match=r"19\.0% of the catalogue"):
        alone(judgement(result(0.5, coverage=0.19)), config)


def test_the_metric_is_the_one_asked_for_or_ndcg_at_the_greatest_k():
    judged = EvaluateConfig(k=(5, 7))
    assert gate_metric(GateConfig(), judged) == "ndcg@7"
    assert gate_metric(GateConfig(metric="recall@5"), judged) == "recall@5"
    with pytest.raises(ConfigError, match=r"'ndcg@20' is not judged; choose one of precision@5, "):
        gate_metric(GateConfig(metric="ndcg@20"), judged)


def test_a_baseline_that_does_better_is_mentioned():
    one = judgement(result(0.1), als=result(0.2))
    popularity = replace(one, fitted=SimpleNamespace(model=SimpleNamespace(kind="als")))
    assert "popularity" not in alone(popularity)
    worse = replace(popularity, results={"als": result(0.05), "popularity": result(0.1)})
    assert alone(worse).endswith("popularity alone reaches 0.1000")


FIGURES = {
    "within the drop": (
        -0.019,
        -0.03,
        0.1,
        None,
        r"candidate reaches ndcg@20 0\.1810 and X 0\.2000 on the same events of 50",
    ),
    "a wide interval": (0.01, -0.0399, 0.1, None, r"a difference of \+0\.0100 \(-0\.0399 to \+0\.1000\)"),
    "worse": (-0.021, -0.022, 0.1, GateRefusedError, "and a drop of more than 10% is refused. Look"),
    "too few": (0.01, -0.041, 0.1, InsufficientDataError, "too few to rule out a drop of more than 20%. Wait"),
    "anything goes": (-0.2, -0.3, 1.0, None, ""),
    "nothing goes": (0.0, 0.0, 0.0, None, ""),
}


@pytest.mark.parametrize("figures", FIGURES)
def test_the_mean_keeps_to_the_drop_and_the_interval_to_twice_the_drop(figures):
    difference, low, max_drop, error, words = FIGURES[figures]
    found = Difference(METRIC, 0.2 + difference, 0.2, difference, low, 0.1, 0.5, 0.5, 0.0, 50)
    with pytest.raises(error, match=words) if error else nullcontext():
        assert re.search(words, _rule(found, GateConfig(max_drop=max_drop), "the candidate", "X"))


def test_old_events_are_refused_where_an_age_is_set():
    newest = EVENTS.window[1]
    days = (time.time() - newest) / 86_400
    check_log(EVENTS, None, GateConfig(max_age_days=days + 1))
    with pytest.raises(GateRefusedError, match=r"the data are stale.*more than 30 days ago\. Look"):
        check_log(EVENTS, None, GateConfig(max_age_days=30))
    check_log(replace(EVENTS, timestamp=None), None, GateConfig(max_age_days=30))  # nobody knows how old they are


def test_copies_are_users_with_the_same_items_at_the_same_times():
    log = LOGS["duplicated user"]
    found = {log.users.id(int(row)) for row in copied_users(log)}
    assert len(found) == 61
    assert {f"copy{n}" for n in range(60)} < found
    assert not len(copied_users(EVENTS))
    rows = [(user, f"i{n}", 1.0) for user in ("anna", "bo") for n in range(5)]
    without_times = interactions_from_tuples([*rows, ("bo", "tea", 1.0), ("cy", "tea", 1.0), ("di", "tea", 1.0)])
    assert not len(copied_users(without_times))
    assert copied_users(without_times.select(without_times.item < 5)).tolist() == [0, 1]


@pytest.fixture
def nights(tmp_path, monkeypatch):
    return Nights(tmp_path, monkeypatch)


def test_what_was_judged_otherwise_or_not_at_all_is_not_compared_and_it_says_so(nights):
    for split, words in (
        ({"kind": "time"}, "nothing is in service yet"),
        ({}, "the model in service left nothing judged by frozen 0.1"),
        ({"kind": "time"}, "the model in service left nothing judged by time 0.2"),
        ({"kind": "time"}, "and the model in service 0."),
        ({}, "the model in service left nothing judged by frozen 0.1"),
    ):
        assert words in nights.run(EVENTS, split=split)["judge"]["gate"]
    publish(nights.stores, "default", nights.manifest.data["twin"], Screen(as_json=True))  # by hand
    assert "left nothing judged by frozen 0.1" in nights.run(EVENTS)["judge"]["gate"]


def test_a_candidate_meets_the_twin_of_what_is_in_service_after_a_rollback_too(nights):
    told = [nights.run(events(0.95)), nights.run(EVENTS)]
    twin = nights.manifest.data["twin"]
    assert twin == told[1]["judge"]["stored"]["version"] != nights.manifest.version
    roll_back(nights.stores, "default", Screen(as_json=True))
    split = frozen_split(EVENTS, 0.1)
    (now,) = twins(nights.stores, "default", split).values()
    assert now.manifest.version == told[0]["judge"]["stored"]["version"]
    held_out = split.test.user.astype(np.int64) * len(EVENTS.items) + split.test.item
    learned, _ = now.dataset.history.recode(split.test.users, split.test.items)
    assert not np.isin(held_out, learned.user.astype(np.int64) * len(EVENTS.items) + learned.item).any()


def test_with_a_file_of_test_events_what_is_judged_is_what_is_published(nights, tmp_path):
    split = frozen_split(EVENTS, 0.1)
    users, items = split.test.users.ids(split.test.user), split.test.items.ids(split.test.item)
    lines = [f"{user},{item}" for user, item in zip(users, items, strict=True)]
    (tmp_path / "test.csv").write_text("\n".join(["user,item", *lines]))
    for words in ("nothing is in service yet", "and the model in service 0."):
        told = nights.run(split.train, split={"kind": "given", "test": str(tmp_path / "test.csv")})
        assert words in told["judge"]["gate"]
        assert told["publish"]["in_service"] == told["judge"]["stored"]["version"]
