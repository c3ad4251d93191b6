import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.cleaning import CleaningStep, clean, core, drop_heavy_users
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError, InsufficientDataError
from recsys.ids import IdMap


def make(rows, n_users=None, n_items=None, timed=True):
    """Rows of (user, item, weight, second); ids are u0.. and i0.. ."""
    user, item, weight, second = zip(*rows, strict=True) if rows else ((), (), (), ())
    users = IdMap.from_ids(f"u{row}" for row in range(n_users or max(user, default=-1) + 1))
    items = IdMap.from_ids(f"i{row}" for row in range(n_items or max(item, default=-1) + 1))
    return Interactions(
        users,
        items,
        np.array(user, np.int32),
        np.array(item, np.int32),
        np.array(weight, np.float32),
        np.array(second, np.int64) if timed else None,
    )


def events(interactions):
    users, items = interactions.users.ids(), interactions.items.ids()
    seconds = [None] * len(interactions) if interactions.timestamp is None else interactions.timestamp.tolist()
    return [
        (users[user], items[item], weight, second)
        for user, item, weight, second in zip(
            interactions.user, interactions.item, interactions.weight.tolist(), seconds, strict=True
        )
    ]


def test_merged_event_has_the_latest_time_and_its_place():
    cleaned = clean(make([(0, 0, 1, 5), (0, 1, 2, 9), (1, 0, 3, 7), (0, 0, 4, 3), (1, 0, 5, 8)]))
    assert events(cleaned.interactions) == [("u0", "i0", 5, 5), ("u0", "i1", 2, 9), ("u1", "i0", 8, 8)]
    assert cleaned.report == (CleaningStep("duplicates", 2, 0, 0),)


def test_without_times_the_position_counts():
    cleaned = clean(make([(0, 0, 1, 0), (0, 1, 2, 0), (0, 0, 4, 0)], timed=False), duplicates="last")
    assert events(cleaned.interactions) == [("u0", "i1", 2, None), ("u0", "i0", 4, None)]


def test_reports_every_step_and_compacts():
    rows = [(0, item, 5, 0) for item in range(4)]  # u0 has too many
    rows += [(1, 0, 5, 0), (1, 1, 5, 0), (2, 0, 5, 0), (2, 1, 5, 0), (2, 1, 4, 1)]
    rows += [(3, 0, 5, 0), (4, 2, 1, 0)]  # u3 has too few, u4 only a light event
    cleaned = clean(
        make(rows, n_users=6, n_items=7),
        min_weight=4,
        weights="binary",
        max_user_interactions=3,
        min_user_interactions=2,
        min_item_interactions=2,
    )
    assert cleaned.report == (
        CleaningStep("unused ids", 0, 1, 3),
        CleaningStep("min_weight", 1, 1, 0),
        CleaningStep("duplicates", 1, 0, 0),
        CleaningStep("max_user_interactions", 4, 1, 2),
        CleaningStep("min_user_interactions, min_item_interactions", 1, 1, 0),
    )
    assert events(cleaned.interactions) == [
        ("u1", "i0", 1, 0),
        ("u1", "i1", 1, 0),
        ("u2", "i0", 1, 0),
        ("u2", "i1", 1, 1),
    ]
    assert cleaned.interactions.users.ids() == ["u1", "u2"]
    assert cleaned.interactions.items.ids() == ["i0", "i1"]


def test_dropping_runs_through_a_chain():
    # i2 falls with u2, u1 with i2, i1 with u1: nothing of the chain is left.
    chain = make([(0, 0, 1, 0), (1, 1, 1, 0), (1, 2, 1, 0), (2, 2, 1, 0)])
    assert len(core(chain, 2, 2)) == 0
    assert len(core(chain, 1, 1)) == 4


def test_duplicates_can_be_refused_by_name():
    rows = [(0, 0, 1, 0), (1, 1, 1, 0), (1, 1, 2, 0), (0, 0, 1, 1), (1, 1, 1, 1)]
    with pytest.raises(DataError, match=r"user 'u0' with item 'i0' stands 2 times, and 1 more repeat.*sum"):
        clean(make(rows), duplicates="raise")
    assert len(clean(make(rows), duplicates="raise", min_weight=2).interactions) == 1


def test_negative_weight_is_named_by_user_and_item():
    with pytest.raises(DataError, match=r"user 'u1' with item 'i2' has the weight -1"):
        clean(make([(0, 0, 1, 0), (1, 2, -1, 0)]), weights="log1p")


def test_nothing_left_names_the_settings_to_change():
    raw = make([(0, 0, 3, 0), (0, 1, 5, 0), (1, 0, 5, 0)])
    with pytest.raises(InsufficientDataError, match=r"none of 3.*min_weight dropped 3\. Lower min_weight$"):
        clean(raw, min_weight=6, min_user_interactions=2)
    with pytest.raises(
        InsufficientDataError, match=r"Lower min_user_interactions, min_item_interactions or raise max_user"
    ):
        clean(raw, max_user_interactions=1, min_user_interactions=2, min_item_interactions=2)
    with pytest.raises(InsufficientDataError, match="no interactions to clean"):
        clean(make([]))


@pytest.mark.parametrize(
    "settings",
    [
        {"min_user_interactions": 0},
        {"min_item_interactions": 0},
        {"max_user_interactions": 0},
        {"weights": "tfidf"},
        {"duplicates": "any"},
    ],
)
def test_refuses_settings(settings):
    with pytest.raises(ConfigError):
        clean(make([(0, 0, 1, 0)]), **settings)


def test_heavy_users_are_those_above_the_maximum():
    raw = make([(0, 0, 1, 0), (0, 1, 1, 0), (1, 0, 1, 0)])
    assert set(drop_heavy_users(raw, 1).user) == {1}
    assert len(drop_heavy_users(raw, 2)) == 3


rows = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=80
)


@given(
    rows,
    st.sampled_from(["sum", "mean", "max", "min", "first", "last"]),
    st.sampled_from([None, 1, 3]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.none() | st.integers(3, 6),
)
def test_cleaning_twice_is_cleaning_once(rows, duplicates, min_weight, users, items, heavy):
    settings = {
        "duplicates": duplicates,
        "min_weight": min_weight,
        "min_user_interactions": users,
        "min_item_interactions": items,
        "max_user_interactions": heavy,
    }
    raw = make(rows)
    try:
        once = clean(raw, **settings)
    except InsufficientDataError:
        return
    twice = clean(once.interactions, **settings)
    assert twice.interactions.fingerprint() == once.interactions.fingerprint()
    assert all((step.events, step.users, step.items) == (0, 0, 0) for step in twice.report)
    assert len(raw) - sum(step.events for step in once.report) == len(once.interactions)
    assert raw.shape[0] - sum(step.users for step in once.report) == once.interactions.shape[0]
    assert raw.shape[1] - sum(step.items for step in once.report) == once.interactions.shape[1]


@given(rows, st.integers(1, 4), st.integers(1, 4))
def test_core_is_the_largest_part_with_enough_of_each(rows, users, items):
    pairs = [row[:2] for row in rows]
    # The naive way drops one event after the other; whatever it must drop, nobody can keep.
    left = list(range(len(pairs)))
    while doomed := [
        one
        for one in left
        if sum(pairs[other][0] == pairs[one][0] for other in left) < users
        or sum(pairs[other][1] == pairs[one][1] for other in left) < items
    ]:
        left.remove(doomed[0])
    kept = core(make(rows), users, items)
    assert list(zip(kept.user.tolist(), kept.item.tolist(), strict=True)) == [pairs[one] for one in left]
    assert all(count >= users for count in np.bincount(kept.user) if count)
    assert all(count >= items for count in np.bincount(kept.item) if count)
