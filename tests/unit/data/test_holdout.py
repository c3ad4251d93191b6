"""The frozen holdout: what is held out once is held out for good, and nothing else decides than the two ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import frozen_split, interactions_from_tuples
from recsys.data.synthetic import generate
from recsys.errors import ConfigError, InsufficientDataError

PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=60)


def pairs(interactions):
    users, items = interactions.users.ids(), interactions.items.ids()
    return {(users[u], items[i]) for u, i in zip(interactions.user, interactions.item, strict=True)}


def log(rows):
    # Two events that fall on different sides, so that neither side is ever empty.
    return interactions_from_tuples([("u0", "i3", 1.0), ("u0", "i0", 1.0), *((f"u{u}", f"i{i}", 1.0) for u, i in rows)])


@given(PAIRS, PAIRS, st.randoms())
def test_later_events_and_their_order_move_none(first, more, random):
    before = frozen_split(log(first), 0.3)
    rows = first + more
    random.shuffle(rows)
    after = frozen_split(log(rows), 0.3)
    assert pairs(before.test) <= pairs(after.test)
    assert pairs(before.train) <= pairs(after.train)
    assert not pairs(after.train) & pairs(after.test)
    assert len(after.train) + len(after.test) == len(rows) + 2


def test_the_share_is_that_of_the_pairs_and_a_larger_one_holds_out_more():
    made = generate(users=500, items=200, mean_history=20, categories=4, seed=1).interactions
    small, large = frozen_split(made, 0.1), frozen_split(made, 0.2)
    assert pairs(small.test) < pairs(large.test)
    for split, share in ((small, 0.1), (large, 0.2)):
        assert abs(len(split.test) - share * len(made)) < 4 * np.sqrt(len(made) * share * (1 - share))
    assert (small.name, small.cutoff) == ("frozen 0.1", None)


def test_the_hash_is_the_same_on_every_machine():
    made = generate(users=20, items=20, mean_history=5, categories=2, seed=1).interactions
    expected = "u02 i20, u06 i03, u06 i09, u09 i03, u17 i02, u18 i18, u19 i02"
    assert ", ".join(f"{user} {item}" for user, item in sorted(pairs(frozen_split(made, 0.1).test))) == expected


def test_a_share_that_leaves_nothing_is_refused():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        frozen_split(log([]), 1.0)
    with pytest.raises(InsufficientDataError, match="test part"):
        frozen_split(interactions_from_tuples([("u0", "i0", 1.0)]), 0.001)
