import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.cleaning import clean
from recsys.data.interactions import Interactions, interactions_from_tuples
from recsys.data.splits import given_split, leave_last, rolling_splits, split_by_time
from recsys.errors import ConfigError, DataError, InsufficientDataError
from recsys.ids import IdMap


def make(rows, timed=True):
    """Rows of (user, second); every event has an item of its own, so that it can be recognised."""
    user, second = zip(*rows, strict=True) if rows else ((), ())
    return Interactions(
        IdMap.from_ids(f"u{row}" for row in range(max(user, default=-1) + 1)),
        IdMap.from_ids(f"i{row}" for row in range(len(rows))),
        np.array(user, np.int32),
        np.arange(len(rows), dtype=np.int32),
        np.arange(len(rows), dtype=np.float32),
        np.array(second, np.int64) if timed else None,
    )


def events(part):
    users, items = part.users.ids(part.user), part.items.ids(part.item)
    return list(zip(users, items, part.weight.tolist(), part.timestamp.tolist(), strict=True))


def test_fraction_never_tears_a_second():
    split = split_by_time(make([(0, 1), (0, 2), (1, 3), (1, 3), (2, 3)]), test_fraction=0.2)
    assert (split.name, split.cutoff) == ("time 0.2", 3)
    assert [second for *_, second in events(split.test)] == [3, 3, 3]
    assert split.train.users.ids() == ["u0"]
    assert split.test.users.ids() == ["u1", "u2"]


@pytest.mark.parametrize(("fraction", "n_test"), [(0.1, 1), (0.2, 2), (0.3, 3), (0.01, 1), (0.95, 10)])
def test_fraction_is_met_where_seconds_differ(fraction, n_test):
    raw = make([(0, second) for second in range(10)])
    if n_test == 10:
        with pytest.raises(InsufficientDataError, match=r"training part of the split 'time 0\.95'"):
            split_by_time(raw, test_fraction=fraction)
        return
    assert len(split_by_time(raw, test_fraction=fraction).test) == n_test


def test_cutoff_belongs_to_the_test_part():
    split = split_by_time(make([(0, 86399), (0, 86400), (1, 0)]), cutoff=86400)
    assert (split.name, split.cutoff) == ("time from 1970-01-02T00:00:00Z", 86400)
    assert events(split.test) == [("u0", "i1", 1.0, 86400)]
    assert events(split.train) == [("u0", "i0", 0.0, 86399), ("u1", "i2", 2.0, 0)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"test_fraction": 0.2, "cutoff": 3},
        {"test_fraction": 0.0},
        {"test_fraction": 1.0},
        {"test_fraction": np.nan},
    ],
)
def test_time_needs_exactly_one_usable_setting(settings):
    with pytest.raises(ConfigError):
        split_by_time(make([(0, 1), (0, 2)]), **settings)


@pytest.mark.parametrize("cutoff", [0, 9])
def test_empty_part_in_time(cutoff):
    with pytest.raises(InsufficientDataError, match=f"{'training' if cutoff == 0 else 'test'} part"):
        split_by_time(make([(0, 1), (0, 2)]), cutoff=cutoff)


def test_all_in_one_second_or_nothing_at_all():
    with pytest.raises(InsufficientDataError, match="training part"):
        split_by_time(make([(0, 7), (1, 7)]), test_fraction=0.5)
    with pytest.raises(InsufficientDataError, match="training part"):
        split_by_time(make([]), test_fraction=0.5)


def test_without_times_the_remedy_is_named():
    raw = make([(0, 1), (0, 2)], timed=False)
    with pytest.raises(DataError, match=r"--timestamp-column .* leave_last"):
        split_by_time(raw, test_fraction=0.5)


def test_leave_last_without_times_takes_the_last_to_arrive():
    split = leave_last(make([(0, 5), (1, 1), (0, 2), (1, 0)], timed=False))
    assert split.name == "leave-last 1 by position"
    assert split.test.items.ids(split.test.item) == ["i2", "i3"]


def test_leave_last_by_time_then_position():
    split = leave_last(make([(0, 5), (1, 1), (0, 9), (0, 9), (2, 4), (2, 3)]))
    assert (split.name, split.cutoff) == ("leave-last 1", None)
    assert [item for _, item, *_ in events(split.test)] == ["i3", "i4"]
    assert [item for _, item, *_ in events(split.train)] == ["i0", "i1", "i2", "i5"]


def test_leave_last_needs_a_longer_history_and_a_positive_n():
    raw = make([(0, 1), (0, 2), (1, 1)])
    with pytest.raises(InsufficientDataError, match="test part of the split 'leave-last 2'"):
        leave_last(raw, 2)
    with pytest.raises(ConfigError):
        leave_last(raw, 0)


def test_given_parts_stay_as_they_are():
    train, test = make([(0, 1)], timed=False), make([(1, 1)], timed=False)
    split = given_split(train, test)
    assert (split.train, split.test, split.name) == (train, test, "given")
    with pytest.raises(InsufficientDataError, match="test part"):
        given_split(train, make([]))


histories = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=1, max_size=60)


@given(histories, st.floats(0.01, 0.99))
def test_time_partitions_exactly_and_in_order(rows, fraction):
    raw = make(rows)
    try:
        split = split_by_time(raw, test_fraction=fraction)
    except InsufficientDataError:
        return
    assert Counter(events(split.train)) + Counter(events(split.test)) == Counter(events(raw))
    assert split.train.timestamp.max() < split.cutoff == split.test.timestamp.min()
    # One second less would not have reached the share that was asked for.
    assert (split.test.timestamp > split.cutoff).sum() < max(1, round(len(rows) * fraction)) <= len(split.test)


@given(histories, st.integers(1, 3))
def test_leave_last_partitions_exactly_and_takes_the_latest(rows, n):
    raw = make(rows)
    try:
        split = leave_last(raw, n)
    except InsufficientDataError:
        assert max(Counter(user for user, _ in rows).values()) <= n
        return
    assert Counter(events(split.train)) + Counter(events(split.test)) == Counter(events(raw))
    expected = set()
    for user in range(6):
        own = sorted((second, position) for position, (one, second) in enumerate(rows) if one == user)
        expected |= {f"i{position}" for _, position in own[-n:]} if len(own) > n else set()
    assert {item for _, item, *_ in events(split.test)} == expected


def test_rolling_origins_by_hand():
    splits = rolling_splits(make([(0, second) for second in range(10)]), 3, test_fraction=0.2)
    assert [split.name for split in splits] == ["time 0.2, 1 of 3", "time 0.2, 2 of 3", "time 0.2, 3 of 3"]
    assert [split.cutoff for split in splits] == [4, 6, 8]
    assert [split.train.timestamp.tolist() for split in splits] == [[*range(4)], [*range(6)], [*range(8)]]
    assert [split.test.timestamp.tolist() for split in splits] == [[4, 5], [6, 7], [8, 9]]


@given(histories, st.integers(1, 4), st.floats(0.01, 0.3))
def test_rolling_windows_follow_each_other_and_the_last_is_the_plain_split(rows, n, fraction):
    raw = make(rows)
    try:
        splits = rolling_splits(raw, n, test_fraction=fraction)
    except (ConfigError, InsufficientDataError):
        return
    for split in splits:
        assert split.train.timestamp.max() < split.cutoff <= split.test.timestamp.min()
    for before, after in itertools.pairwise(splits):
        assert Counter(events(before.train)) + Counter(events(before.test)) == Counter(events(after.train))
    plain = split_by_time(raw, test_fraction=fraction)
    assert (events(splits[-1].train), events(splits[-1].test)) == (events(plain.train), events(plain.test))


def test_rolling_refuses_what_leaves_no_past():
    raw = make([(0, second) for second in range(10)])
    for n, fraction in ((0, 0.1), (5, 0.2), (2, -0.1)):
        with pytest.raises(ConfigError, match="leave nothing to train on"):
            rolling_splits(raw, n, test_fraction=fraction)
    with pytest.raises(InsufficientDataError, match="only 1 different seconds"):
        rolling_splits(make([(0, 1), (0, 2), (0, 2), (0, 2)]), 3, test_fraction=0.25)
    with pytest.raises(DataError, match="no timestamps"):
        rolling_splits(make([(0, 1)], timed=False), 1, test_fraction=0.5)


def test_a_core_of_the_training_part_leaves_the_test_part_as_it_is():
    """What rare users and items do after the cut must not decide what is trained on."""
    rows = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "x"), ("c", "z"), ("a", "z"), ("b", "z"), ("c", "y")]
    raw = replace(interactions_from_tuples([(*row, 1.0) for row in rows]), timestamp=np.arange(9))
    split = split_by_time(raw, cutoff=6)
    train = clean(split.train, min_user_interactions=2, min_item_interactions=2).interactions
    assert (train.users.ids(), train.items.ids()) == (["a", "b"], ["x", "y"])
    assert len(split.test) == 3
    # Of the whole log nobody is rare: cut afterwards, the core would have known what comes.
    assert len(clean(raw, min_user_interactions=2, min_item_interactions=2).interactions) == 9
