import json
from dataclasses import replace

import numpy as np
import pytest
import rich

from recsys.errors import ConfigError, InsufficientDataError
from recsys.evaluation import EvaluationResult, bca_interval, compare, compare_all, holm, sign_flip_test

RNG = np.random.default_rng(0)
USERS = [f"u{row}" for row in range(60)]
BASE = RNG.random((60, 2)) * (RNG.random((60, 2)) < 0.4)


def result(values, users=USERS, names=("ndcg@10", "recall@10")):
    return EvaluationResult(tuple(users), dict(zip(names, np.asarray(values, float).T, strict=True)), {}, {})


OURS, THEIRS = result(BASE + np.array([0.1, 0]) + RNG.normal(0, 0.05, (60, 2))), result(BASE)


def test_pairs_users_by_their_ids_whatever_the_order():
    order = RNG.permutation(60)
    shuffled = result(np.stack(list(THEIRS.values.values()), axis=1)[order], [USERS[row] for row in order])
    assert compare(OURS, shuffled) == compare(OURS, THEIRS)
    # Without pairing, the differences spread as widely as the values themselves.
    assert (
        compare(OURS, THEIRS)[0].effect_size > 3 * compare(OURS, replace(shuffled, users=THEIRS.users))[0].effect_size
    )


def test_is_made_of_its_pieces_over_the_common_users():
    comparison = compare(result(BASE[:50] * 2, USERS[:50]), result(BASE[10:], USERS[10:]), resamples=2_000, seed=3)
    assert [one.metric for one in comparison] == ["ndcg@10", "recall@10"]
    assert len(comparison) == 2
    for column, one in enumerate(comparison):
        differences = BASE[10:50, column]
        assert (one.n_users, one.ours, one.theirs) == (40, 2 * one.theirs, pytest.approx(differences.mean()))
        assert one.difference == pytest.approx(differences.mean())
        assert (one.low, one.high) == pytest.approx(bca_interval(differences, resamples=2_000, seed=3))
        assert one.p_value == sign_flip_test(differences, resamples=2_000, seed=3)
        assert one.effect_size == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert [one.adjusted_p for one in comparison] == holm([one.p_value for one in comparison]).tolist()


def test_a_model_does_not_differ_from_itself():
    for one in compare(OURS, OURS):
        assert (one.difference, one.low, one.high, one.p_value, one.adjusted_p, one.effect_size) == (0, 0, 0, 1, 1, 0)


def test_holm_charges_for_all_models_and_metrics_together():
    results = {"base": THEIRS, "ours": OURS, "same": THEIRS}
    family = compare_all(results, "base")
    assert list(family) == ["ours", "same"]
    assert family["ours"][0].p_value == compare(OURS, THEIRS)[0].p_value
    assert family["ours"][0].adjusted_p == pytest.approx(4 * family["ours"][0].p_value)
    assert compare(OURS, THEIRS)[0].adjusted_p == pytest.approx(2 * family["ours"][0].p_value)
    for wrong in ({}, {"base": THEIRS}, {"ours": OURS}):
        with pytest.raises(ConfigError, match="nothing to compare with 'base'"):
            compare_all(wrong, "base")


def test_users_without_a_value_are_left_out_of_that_metric_alone():
    values = BASE.copy()
    values[:7, 1] = np.nan
    full, holes = compare(OURS, THEIRS), compare(result(values), OURS)
    assert [one.n_users for one in holes] == [60, 53]
    assert holes[0].p_value == full[0].p_value
    assert holes[1].ours == pytest.approx(BASE[7:, 1].mean())


def test_refuses_what_cannot_be_compared():
    with pytest.raises(InsufficientDataError, match=r"0 users have ndcg@10, recall@10 .* same test part"):
        compare(OURS, result(BASE[:2], ["a", "b"]))
    with pytest.raises(InsufficientDataError, match="1 users have"):
        compare(OURS, result(BASE[:1], USERS[:1]))
    with pytest.raises(ConfigError, match=r"no metric 'map@5'"):
        compare(OURS, THEIRS, metrics=["map@5"])
    for nothing in ({"metrics": []}, {}):
        with pytest.raises(ConfigError, match="no metric to compare"):
            compare(OURS, result(BASE, names=("a", "b")), **nothing)


def test_shows_and_stores_everything(monkeypatch, capsys):
    comparison = compare(OURS, THEIRS, metrics=["ndcg@10"])
    stored = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert (stored["resamples"], stored["confidence"], stored["seed"]) == (10_000, 0.95, 0)
    assert stored["differences"][0]["adjusted_p"] == comparison[0].adjusted_p
    monkeypatch.setenv("COLUMNS", "80")
    rich.print(comparison.table())
    text = capsys.readouterr().out
    assert f"{comparison[0].difference:+.4f} ({comparison[0].low:+.4f} {comparison[0].high:+.4f})" in text
    assert "95 % interval" in text
    assert f"{comparison[0].adjusted_p:.4f}*" in text
    assert "paired over 60 users" in text
