"""Estimators: what must not change them, what they must be equal to, and what they refuse or warn of."""

import warnings
from dataclasses import astuple, replace

import numpy as np
import pytest
from bandits import Bandit
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigError, DataError, InsufficientDataError
from recsys.evaluation.off_policy import (
    LoggedImpressions,
    OffPolicyWarning,
    clipped_ips,
    doubly_robust,
    ips,
    snips,
)
from recsys.ids import IdMap

FEW = {"resamples": 200}
BANDIT = Bandit()
LARGEST = 1 << 30


@pytest.fixture(autouse=True)
def _small_logs_are_meant():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OffPolicyWarning)
        yield


@st.composite
def logs(draw, full=False):
    """Lists of one user after another, a policy that shows something of every position, and a model's rewards."""
    rng = np.random.default_rng(draw(st.integers(0, LARGEST)))
    requests, k = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    lengths = np.full(requests, k) if full else np.append(rng.integers(1, k + 1, requests - 1), k)
    n = int(lengths.sum())
    logged = LoggedImpressions(
        users=IdMap.from_ids(f"u{one}" for one in range(requests)),
        items=IdMap.from_ids(f"i{one}" for one in range(9)),
        user=np.repeat(rng.integers(0, requests, requests) if requests > 4 else np.arange(requests), lengths).astype(
            np.int32
        ),
        item=rng.integers(0, 9, n).astype(np.int32),
        reward=rng.normal(0, 3, n),
        propensity=1 - rng.random(n),
        request=np.repeat(rng.permutation(100)[:requests], lengths),
        position=np.concatenate([np.arange(one) for one in lengths]).astype(np.int32),
    )
    if len(np.unique(logged.user)) < 2:
        logged = replace(logged, user=np.repeat(np.arange(requests), lengths).astype(np.int32))
    return logged, 1 - rng.random(n), {"predicted": rng.normal(size=n), "expected": rng.normal(size=n)}


def estimates(logged, target, rewards):
    return {
        "ips": ips(logged, target, **FEW),
        "clipped": clipped_ips(logged, target, clip=1.5, **FEW),
        "snips": snips(logged, target, **FEW),
        "dr": doubly_robust(logged, target, **rewards, **FEW),
    }


@given(logs(), st.integers(0, LARGEST))
def test_the_order_of_rows_and_the_names_of_requests_do_not_matter(log, seed):
    logged, target, rewards = log
    order = np.random.default_rng(seed).permutation(len(logged))
    renamed = replace(logged.select(order), request=1_000 - 3 * logged.request[order])
    other = estimates(renamed, target[order], {name: one[order] for name, one in rewards.items()})
    for name, one in estimates(logged, target, rewards).items():
        assert astuple(other[name]) == pytest.approx(astuple(one), rel=1e-9, abs=1e-9)


@given(logs(), st.floats(0.01, 1000))
def test_values_and_intervals_scale_with_rewards(log, factor):
    logged, target, rewards = log
    scaled = estimates(
        replace(logged, reward=factor * logged.reward), target, {name: factor * one for name, one in rewards.items()}
    )
    for name, one in estimates(logged, target, rewards).items():
        value, low, high, *rest = astuple(one)
        expected = (factor * value, factor * low, factor * high)
        assert astuple(scaled[name])[:3] == pytest.approx(expected, rel=1e-9, abs=1e-9 * factor)
        assert list(astuple(scaled[name])[3:]) == rest


@given(logs(), st.floats(-5, 5))
def test_the_logger_itself_is_worth_the_mean(log, constant):
    logged = log[0]
    mean, same = logged.reward.sum() / logged.n_requests, np.full(len(logged), constant)
    for name, one in estimates(logged, logged.propensity, {"predicted": same, "expected": same}).items():
        assert one.value == pytest.approx(mean, rel=1e-9, abs=1e-9), name
        assert (one.largest_weight, one.support) == pytest.approx((1, 1))
        assert one.effective_sample_size == pytest.approx(len(logged))


@given(logs(full=True), st.floats(-100, 100))
def test_snips_moves_along_with_all_rewards_and_stays_among_them(log, constant):
    logged, target, _ = log
    k = logged.position.max() + 1
    value = snips(logged, target, **FEW).value
    moved = snips(replace(logged, reward=logged.reward + constant), target, **FEW).value
    assert moved == pytest.approx(value + k * constant, rel=1e-9, abs=1e-7)
    ends = [sum(end(logged.reward[logged.position == one]) for one in range(k)) for end in (np.min, np.max)]
    assert ends[0] - 1e-9 <= value <= ends[1] + 1e-9


@given(logs(full=True))
def test_a_list_is_worth_the_sum_of_its_positions(log):
    logged, target, rewards = log
    parts = []
    for one in range(logged.position.max() + 1):
        at = logged.position == one
        alone = replace(logged.select(at), request=None, position=None)
        parts.append(estimates(alone, target[at], {name: column[at] for name, column in rewards.items()}))
    for name, whole in estimates(logged, target, rewards).items():
        assert whole.value == pytest.approx(sum(part[name].value for part in parts), rel=1e-9, abs=1e-9)


@given(logs(), st.floats(0.1, 20))
def test_clipping_lowers_values_of_positive_rewards_and_bounds_weights(log, clip):
    logged, target, _ = log
    logged = replace(logged, reward=np.abs(logged.reward))
    free, clipped = ips(logged, target, **FEW), clipped_ips(logged, target, clip=clip, **FEW)
    assert clipped.value <= free.value * (1 + 1e-12)
    assert clipped.largest_weight <= clip
    assert clipped.support == free.support
    assert clipped_ips(logged, target, clip=free.largest_weight, **FEW) == free


def test_doubly_robust_is_exact_with_an_exact_model_whatever_the_propensities():
    logged, kind = BANDIT.log(500, np.random.default_rng(0))
    wrong = replace(logged, reward=BANDIT.clicks[kind, logged.item], propensity=np.full(500, 0.01))
    exact = BANDIT.rewards(wrong, kind, BANDIT.clicks)
    estimate = doubly_robust(wrong, BANDIT.shown(wrong, kind), **exact)
    assert estimate.value == pytest.approx((BANDIT.target * BANDIT.clicks).sum(axis=1)[kind].mean(), rel=1e-12)
    assert ips(wrong, BANDIT.shown(wrong, kind)).value > 3 * estimate.value


def test_diagnostics_by_hand():
    logged, _ = BANDIT.log(4, np.random.default_rng(0))
    logged = replace(logged, propensity=np.array([0.5, 0.25, 1.0, 0.5]), reward=np.array([1.0, 2.0, 3.0, 4.0]))
    one = ips(logged, np.array([0.5, 1.0, 0.0, 0.0]))
    assert one.value == pytest.approx((1 * 1 + 4 * 2) / 4)
    assert one.effective_sample_size == pytest.approx(25 / 17)
    assert (one.largest_weight, one.support) == (4.0, 1.25)
    assert one.low < one.value < one.high


def test_intervals_are_those_of_users_drawn_again_with_all_their_requests():
    rng = np.random.default_rng(3)
    logged, kind = BANDIT.log(4_000, rng)
    user = (300 * rng.random(4_000) ** 3).astype(np.int32)  # some ask a hundred times as often as others
    logged, target = replace(logged, user=user), BANDIT.shown(logged, kind)
    one = ips(logged, target)
    total, count = np.bincount(user, target / logged.propensity * logged.reward), np.bincount(user)
    drawn = rng.integers(0, len(count), (2_000, len(count)))
    low, high = np.quantile(total[drawn].sum(axis=1) / count[drawn].sum(axis=1), [0.025, 0.975])
    assert (one.low, one.high) == pytest.approx((low, high), abs=0.1 * (high - low))


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_a_target_that_is_no_probability(bad):
    logged, kind = BANDIT.log(50, np.random.default_rng(0))
    target = BANDIT.shown(logged, kind)
    target[7] = bad
    with pytest.raises(DataError, match=r"column 'target': row 7, "):
        ips(logged, target)
    with pytest.raises(DataError, match=r"column 'target': has shape \(49,\); expected \(50,\)"):
        snips(logged, target[1:])
    expected = np.where(np.arange(50) == 3, np.nan, 1.0)
    with pytest.raises(DataError, match=r"column 'expected': row 3, nan, is not finite"):
        doubly_robust(logged, target, predicted=np.ones(50), expected=expected)


def test_logs_that_say_nothing_are_refused():
    logged, kind = BANDIT.log(50, np.random.default_rng(0))
    target = BANDIT.shown(logged, kind)
    with pytest.raises(InsufficientDataError, match="nothing of what was logged"):
        ips(logged, np.zeros(50))
    with pytest.raises(InsufficientDataError, match="two users"):
        ips(replace(logged, user=np.zeros(50, np.int32)), target)
    row = np.arange(50)
    lists = replace(logged, user=(row // 2).astype(np.int32), request=row // 2, position=(row % 2).astype(np.int32))
    with pytest.raises(InsufficientDataError, match="position 1"):
        snips(lists, np.where(lists.position == 1, 0.0, target))
    with pytest.raises(ConfigError, match="clip"):
        clipped_ips(logged, target, clip=0.0)


def warned(logged, target):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ips(logged, target, resamples=50)
    return [str(one.message) for one in caught if one.filename == __file__]


def test_warns_of_what_makes_estimates_worthless():
    logged, kind = BANDIT.log(20_000, np.random.default_rng(0))
    target = BANDIT.shown(logged, kind)
    assert warned(logged, target) == []
    (few,) = warned(logged.select(slice(60)), target[:60])
    assert "60 rows are worth" in few
    # Planted: propensities of nobody, an item the logger never shows, probabilities that do not sum to 1.
    (halved,) = warned(replace(logged, propensity=logged.propensity / 2), target)
    assert "average to 2" in halved
    (doubled,) = warned(replace(logged, propensity=np.minimum(1, 1.1 * logged.propensity)), target)
    assert "the logger cannot show" in doubled
    never = logged.select(logged.item != 2)
    (unsupported,) = warned(never, target[logged.item != 2])
    assert "not to 1" in unsupported
