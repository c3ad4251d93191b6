"""Circumstances of events travel with them, whatever is cut, merged, renumbered or joined."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import Interactions, clean, interactions_from_tuples
from recsys.errors import DataError
from recsys.ids import IdMap

CONTEXTS = st.one_of(
    st.none(), st.just({}), st.fixed_dictionaries({"device": st.sampled_from(["tv", "phone"]), "n": st.integers(0, 2)})
)
EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), CONTEXTS), max_size=8)


def make(rows):
    made = interactions_from_tuples([(user, item, 1.0) for user, item, _ in rows])
    return made.with_contexts([context for *_, context in rows])


def told(interactions):
    users, items = interactions.users.ids(), interactions.items.ids()
    contexts = [None if row < 0 else json.loads(interactions.contexts[row]) for row in interactions.context]
    return [
        (users[u], items[i], context)
        for u, i, context in zip(interactions.user, interactions.item, contexts, strict=True)
    ]


def expected(rows):
    return [(user, item, context or None) for user, item, context in rows]


@given(EVENTS, EVENTS)
def test_contexts_stay_with_their_events(some, others):
    interactions, later = make(some), make(others)
    kept = [row for row, (user, _, _) in enumerate(some) if user != "a"]

    assert told(interactions) == expected(some)
    assert len(set(interactions.contexts)) == len(interactions.contexts)
    assert told(interactions.join(later)) == expected(some + others)
    selected = interactions.select(np.array(kept, np.int64))
    assert told(selected) == expected([some[row] for row in kept])
    compacted = selected.compact()
    assert told(compacted) == told(selected)
    assert len(compacted.contexts) == len({json.dumps(c, sort_keys=True) for *_, c in told(selected) if c})
    recoded, _ = interactions.recode(IdMap.from_ids("cb"), IdMap.from_ids("zyx"))
    assert told(recoded) == told(selected)


@given(EVENTS, EVENTS)
def test_joining_with_events_without_contexts_keeps_those_there_are(some, others):
    plain = interactions_from_tuples([(user, item, 1.0) for user, item, _ in others])
    without = [(user, item, None) for user, item, _ in others]

    assert told(make(some).join(plain)) == expected(some) + without
    assert told(plain.join(make(some))) == without + expected(some)


def test_a_merged_event_has_the_context_of_its_latest_one():
    rows = [("a", "x", {"n": 1}), ("a", "x", {"n": 2}), ("b", "x", None), ("a", "y", {"n": 1}), ("b", "y", {"n": 3})]
    interactions = make(rows)

    cleaned = clean(interactions, min_user_interactions=2).interactions

    assert told(cleaned) == [rows[1], rows[2], rows[3], rows[4]]
    assert clean(make([*rows[:4], ("c", "z", {"n": 9})]), min_item_interactions=2).interactions.contexts == ('{"n":2}',)


def test_contexts_are_part_of_the_fingerprint():
    rows = [("a", "x", {"n": 1}), ("a", "y", None)]
    plain = interactions_from_tuples([("a", "x", 1.0), ("a", "y", 1.0)])
    prints = [
        plain.fingerprint(),
        make(rows).fingerprint(),
        make([("a", "x", {"n": 2}), rows[1]]).fingerprint(),
        make([("a", "x", None), ("a", "y", {"n": 1})]).fingerprint(),
    ]
    assert len(set(prints)) == 4
    assert make(rows).fingerprint() == prints[1]


@pytest.mark.parametrize(
    "column", [np.array([0, 1], np.int32), np.array([0, -2], np.int32), np.array([0], np.int32), np.array([0, 0])]
)
def test_context_rows_out_of_range_are_refused(column):
    made = make([("a", "x", {"n": 1}), ("a", "y", None)])
    with pytest.raises(DataError, match="context"):
        Interactions(made.users, made.items, made.user, made.item, made.weight, None, column, made.contexts)
