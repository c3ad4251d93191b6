"""Lifts of simulated users with a known lift: intervals cover it, and equal variants are seldom told apart."""

import os

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare, ttest_ind

from recsys.errors import DataError, InsufficientDataError
from recsys.evaluation import ab_test
from recsys.evaluation.ab_test import MISMATCH, Ratio, lifts, sample_ratio_p

WORLDS = int(os.environ.get("RECSYS_AB_WORLDS", "400"))
USERS = 1_000


def users(rng, lift):
    """What some users do: each has an own taste, sees some items, acts on a share of them, and pays for each."""
    taste, shown = rng.beta(2, 4, USERS) / 2 * (1 + lift), rng.poisson(10, USERS) + 1.0
    acted = rng.binomial(shown.astype(int), taste).astype(float)
    paid = acted * rng.lognormal(0, 0.5, USERS)
    one = np.ones(USERS)
    return {"click_through": (acted, shown), "conversions": (acted, one), "value": (paid, one)}


def simulated(lift, seed=0):
    """Lifts of many worlds by metric: (estimate, low, high, p)."""
    rng = np.random.default_rng(seed)
    found = [lifts({"a": users(rng, 0), "b": users(rng, lift)})[1] for _ in range(WORLDS)]
    told = [[(one.lift, one.low, one.high, one.p_value) for one in world] for world in found]
    return dict(zip([one.metric for one in found[0]], zip(*told, strict=True), strict=True))


def likely(count, share):
    return binomtest(int(count), WORLDS, share).pvalue > 1e-3


@pytest.mark.parametrize("true", [0.0, 0.2])
def test_intervals_cover_the_lift_and_equal_variants_are_told_apart_in_one_of_twenty_worlds(true):
    for metric, worlds in simulated(true).items():
        lift, low, high, p = np.array(worlds).T
        covered = ((low <= true) & (true <= high)).sum()
        print(f"{metric}, lift {true}: {covered / WORLDS:.4f} of {WORLDS} covered, {np.mean(p < 0.05):.4f} rejected")
        assert likely(covered, 0.95), metric
        assert abs(lift.mean() - true) < 0.01
        assert np.array_equal(p < 0.05, (low > 0) | (high < 0))


def test_items_taken_for_independent_would_be_found(monkeypatch):
    """The planted bug: the error of a click-through as of so many independent items, whatever users they are of."""

    def naive(metric):
        x, y = metric
        share = x.sum() / y.sum()
        return Ratio(share, np.sqrt(share / y.sum()), len(x))

    monkeypatch.setattr(ab_test.Ratio, "of", naive)
    with pytest.raises(AssertionError):
        test_intervals_cover_the_lift_and_equal_variants_are_told_apart_in_one_of_twenty_worlds(0.0)


def test_of_plain_means_the_error_is_that_of_welch():
    rng = np.random.default_rng(1)
    a, b = rng.exponential(1, 500), rng.exponential(1.1, 700)
    ratios = [Ratio.of((one, np.ones(len(one)))) for one in (a, b)]
    z = (ratios[1].value - ratios[0].value) / np.hypot(ratios[0].error, ratios[1].error)
    assert np.isclose(z, -ttest_ind(a, b, equal_var=False).statistic)


def test_many_variants_are_corrected_and_the_first_is_compared_with():
    rng = np.random.default_rng(3)
    ratios, found = lifts({name: users(rng, lift) for name, lift in (("a", 0), ("b", 0.5), ("c", 0))})
    assert list(ratios) == ["a", "b", "c"]
    assert [(one.variant, one.metric) for one in found] == [(v, m) for v in "bc" for m in ratios["a"]]
    assert all(one.adjusted_p >= one.p_value for one in found)
    assert all(one.adjusted_p < 1e-3 for one in found[:3])


def test_where_nobody_does_anything_there_is_no_lift():
    nothing, some = np.zeros(9), np.arange(9.0)
    one = np.ones(9)
    ratios, found = lifts({"a": {"m": (nothing, one)}, "b": {"m": (some, one)}})
    assert (ratios["a"]["m"].value, found) == (0.0, [])
    same = lifts({"a": {"m": (one, one)}, "b": {"m": (one, one)}})[1][0]
    assert (same.lift, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    with pytest.raises(InsufficientDataError):
        lifts({"a": {"m": (one[:1], one[:1])}})


def test_a_sample_ratio_mismatch_is_found_and_a_sound_split_is_not_one():
    rng = np.random.default_rng(4)
    shares = [0.5, 0.3, 0.2]
    p = [sample_ratio_p(rng.multinomial(20_000, shares), shares) for _ in range(500)]
    assert chisquare(np.histogram(p, 10, (0, 1))[0]).pvalue > 1e-3
    assert sample_ratio_p([5_200, 4_700], [0.5, 0.5]) < MISMATCH
    assert sample_ratio_p([10, 0], [1.0, 0.0]) == 1
    with pytest.raises(DataError):
        sample_ratio_p([10, 1], [1.0, 0.0])
