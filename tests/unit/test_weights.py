import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigError, DataError
from recsys.weights import DUPLICATES, TRANSFORMS, WeightRule

KEYS = np.array([5, 2, 5, 5, 2])
WEIGHTS = np.array([4, 1, 8, 2, 3], np.float32)
TIMES = np.array([30, 10, 10, 20, 10], np.int64)

MERGING = [name for name in DUPLICATES if name != "raise"]


@pytest.mark.parametrize(
    ("duplicates", "weights", "with_times"),
    [
        ("sum", [4, 14], None),
        ("mean", [2, 14 / 3], None),
        ("max", [3, 8], None),
        ("min", [1, 2], None),
        ("first", [1, 4], [1, 8]),
        ("last", [3, 2], [3, 4]),
    ],
)
def test_merges_by_hand(duplicates, weights, with_times):
    rule = WeightRule(duplicates)
    rows, merged = rule.apply(KEYS, WEIGHTS)
    assert rows.tolist() == [3, 4]  # the last event of key 5, then that of key 2
    np.testing.assert_array_equal(merged, np.array(weights[::-1], np.float32))
    rows, merged = rule.apply(KEYS, WEIGHTS, TIMES)
    assert rows.tolist() == [0, 4]  # key 5 at second 30; key 2 twice in second 10, so by position
    np.testing.assert_array_equal(merged, np.array((with_times or weights)[::-1], np.float32))
    assert merged.dtype == np.float32


def test_min_weight_comes_before_merging_and_transform_after():
    rule = WeightRule("sum", "sqrt", min_weight=2.0)
    rows, merged = rule.apply(np.array([1, 1, 1, 2]), np.array([1, 2, 7, 1], np.float32))
    assert rows.tolist() == [2]
    assert merged.tolist() == [3.0]


def test_dropped_events_take_their_times_with_them():
    weights, times = np.array([0, 5, 7], np.float32), np.array([1, 9, 3], np.int64)
    rows, merged = WeightRule("last", min_weight=1).apply(np.ones(3, int), weights, times)
    assert (rows.tolist(), merged.tolist()) == ([1], [5])


def test_min_weight_is_compared_as_stored():
    assert WeightRule(min_weight=4.1).keeps(np.array([4.1, 4.0999], np.float32)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("transform", "expected"), [("none", [3, 0]), ("binary", [1, 1]), ("log1p", [np.log(4), 0]), ("sqrt", [3**0.5, 0])]
)
def test_transforms_by_hand(transform, expected):
    _, merged = WeightRule(transform=transform).apply(np.array([0, 1]), np.array([3, 0], np.float32))
    np.testing.assert_array_equal(merged, np.array(expected, np.float32))


def test_rounds_once():
    third = np.float32(1 / 3)
    _, merged = WeightRule("sum", "sqrt").apply(np.zeros(3, int), np.full(3, third))
    assert merged[0] == np.float32(np.sqrt(3 * np.float64(third)))


def test_nothing_in_nothing_out():
    rows, merged = WeightRule(min_weight=9).apply(KEYS, WEIGHTS, TIMES)
    assert (len(rows), len(merged), merged.dtype) == (0, 0, np.float32)
    assert len(WeightRule("raise", "log1p").apply(KEYS[:0], WEIGHTS[:0])[0]) == 0


@pytest.mark.parametrize("transform", ["log1p", "sqrt"])
def test_negative_weights_have_no_root_or_logarithm(transform):
    rule = WeightRule(transform=transform)
    with pytest.raises(DataError, match=r"item 7 has the weight -0\.5.*min_weight"):
        rule.apply(np.array([3, 7]), np.array([1, -0.5], np.float32))
    assert rule.apply(np.array([7, 7]), np.array([1, -0.5], np.float32))[1].shape == (1,)


def test_a_sum_beyond_float32_is_an_error_and_not_infinity():
    huge = np.full(2, 3e38, np.float32)
    with pytest.raises(DataError, match=r"item 1 .*float32.*Scale"):
        WeightRule("sum").apply(np.array([1, 1]), huge)
    assert WeightRule("sum", "sqrt").apply(np.array([1, 1]), huge)[1][0] == pytest.approx(6e38**0.5)


def test_raise_names_the_pair_seen_first_and_counts():
    rule = WeightRule("raise")
    with pytest.raises(DataError, match="key 5 stands 3 times, and 1 more repeat"):
        rule.apply(KEYS, WEIGHTS, TIMES, name=lambda key: f"key {key}")
    rows, merged = rule.apply(KEYS[:2], WEIGHTS[:2])
    assert rows.tolist() == [0, 1]
    assert merged.tolist() == [4, 1]


@pytest.mark.parametrize(
    "settings", [{"duplicates": "add"}, {"transform": "log"}, {"min_weight": np.nan}, {"min_weight": 1e39}]
)
def test_refuses_settings_that_mean_nothing(settings):
    with pytest.raises(ConfigError):
        WeightRule(**settings)


events = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 5), st.floats(0, 1e6, width=32), st.integers(0, 3)
    ),  # user, item, weight, second
    max_size=60,
)


@given(events, st.sampled_from(MERGING), st.sampled_from(TRANSFORMS), st.none() | st.floats(0, 10), st.booleans())
def test_one_user_alone_equals_all_users_at_once(events, duplicates, transform, min_weight, timed):
    user, item, weight, second = (
        (np.array(column) for column in zip(*events, strict=True)) if events else [KEYS[:0]] * 4
    )
    weight, second = weight.astype(np.float32), second.astype(np.int64) if timed else None
    rule = WeightRule(duplicates, transform, min_weight)
    rows, merged = rule.apply(user * 6 + item, weight, second)
    assert (np.diff(rows) > 0).all()
    for one in range(5):
        own = np.flatnonzero(user == one)
        alone, weights = rule.apply(item[own], weight[own], None if second is None else second[own])
        np.testing.assert_array_equal(own[alone], rows[user[rows] == one])
        np.testing.assert_array_equal(weights, merged[user[rows] == one])


@given(events, st.sampled_from(MERGING))
def test_agrees_with_a_plain_loop(events, duplicates):
    plain = {}
    for position, (user, item, weight, second) in enumerate(events):
        plain.setdefault((user, item), []).append((second, position, weight))
    merge = {
        "sum": sum,
        "mean": lambda weights: sum(weights) / len(weights),
        "max": max,
        "min": min,
        "first": lambda weights: weights[0],
        "last": lambda weights: weights[-1],
    }[duplicates]
    expected = sorted((max(rows)[1], np.float32(merge([w for *_, w in sorted(rows)]))) for rows in plain.values())
    columns = [np.array(column) for column in zip(*events, strict=True)] if events else [KEYS[:0]] * 4
    user, item, weight, second = columns
    rows, merged = WeightRule(duplicates).apply(user * 6 + item, weight.astype(np.float32), second)
    assert list(zip(rows.tolist(), merged, strict=True)) == expected


@given(st.permutations(range(12)), st.sampled_from(MERGING))
def test_arrival_order_of_different_seconds_does_not_matter(order, duplicates):
    rng = np.random.default_rng(0)
    key, weight, second = rng.integers(0, 3, 12), rng.random(12, np.float32) * 1e6, np.arange(12)
    order = np.array(order)
    rule = WeightRule(duplicates)
    rows, merged = rule.apply(key, weight, second)
    shuffled, other = rule.apply(key[order], weight[order], second[order])
    assert dict(zip(rows, merged, strict=True)) == dict(zip(order[shuffled], other, strict=True))
