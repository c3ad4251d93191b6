"""Logged propensities against frequencies, over many seeds; and what exploration leaves as it is."""

import os

import numpy as np
import pytest
from scipy.stats import chi2

from recsys.serving import exploration
from recsys.serving.arranging import PROMOTED
from recsys.serving.experiments import Exploration
from recsys.serving.exploration import EXPLORED, Chances, explored, with_explored
from recsys.serving.listing import RankedItem

SEEDS = int(os.environ.get("RECSYS_EXPLORATION_SEEDS", "4000"))
CASES = [(8, 4, 0.3, ()), (6, 6, 0.5, ()), (5, 1, 0.2, ()), (9, 5, 0.4, (0, 3, 7)), (3, 3, 0.1, (1,)), (2, 2, 0.5, ())]


def frequencies(pool, k, epsilon, fixed):
    """How often each item was at each place, and what was logged for it."""
    counts, logged = np.zeros((k, pool)), np.full((k, pool), np.nan)
    for seed in range(SEEDS):
        found = explored(pool, fixed, k, Exploration(epsilon, pool), f"request {seed}")
        assert len({item for item, _ in found}) == k
        for place, (item, chance) in enumerate(found):
            counts[place, item] += 1
            assert np.isnan(logged[place, item]) or logged[place, item] == chance
            logged[place, item] = chance
    return counts, logged


def far(counts, logged):
    """The p-value of the frequencies under what was logged, all places together."""
    seen = counts > 0
    expected = SEEDS * logged[seen]
    squares = ((counts[seen] - expected) ** 2 / expected).sum()
    return chi2.sf(squares, int(seen.sum()) - len(counts) + 1)


@pytest.mark.parametrize("case", CASES)
def test_the_logged_propensity_is_how_often_the_item_is_at_the_place(case):
    counts, logged = frequencies(*case)
    assert np.allclose(np.nansum(logged, axis=1), 1)
    assert far(counts, logged) > 1e-3


PLANTED = {
    "naive": lambda epsilon, k, pool: Chances(1 - epsilon + epsilon / pool, epsilon / pool, epsilon / pool),
    "kept only": lambda epsilon, k, pool: Chances.of(epsilon, k, pool)._replace(kept=1 - epsilon),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_propensities_that_are_not_exact_would_be_found(monkeypatch, planted):
    monkeypatch.setattr(exploration, "Chances", type("Planted", (), {"of": staticmethod(PLANTED[planted])}))
    with pytest.raises(AssertionError):
        test_the_logged_propensity_is_how_often_the_item_is_at_the_place(CASES[0])


@pytest.mark.parametrize(("k", "pool"), [(1, 2), (20, 50), (500, 500), (2, 500)])
@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.5])
def test_the_chances_at_a_place_sum_to_one_and_tell_explored_places_from_others(k, pool, epsilon):
    chances = Chances.of(epsilon, k, pool)
    assert np.isclose(chances.kept + (k - 1) * chances.moved + (pool - k) * chances.fetched, 1)
    assert chances.kept > 0.5 or epsilon == 0.5
    assert max(chances.moved, chances.fetched if pool > k else 0) < 0.5 < chances.kept + 1e-12


def ranked(n, promoted=()):
    return [RankedItem(f"i{at}", float(n - at), PROMOTED if at in promoted else "als") for at in range(n)]


def test_one_seed_is_one_list_and_another_another():
    how = Exploration(0.5, 40)
    lists = [with_explored(ranked(40), 10, how, seed) for seed in ("a", "a", "b")]
    assert lists[0] == lists[1] != lists[2]
    for place, one in enumerate(lists[0]):
        assert one.reason == ("als" if one.item == f"i{place}" else EXPLORED)


def test_promoted_items_stay_and_no_other_place_draws_one():
    for seed in range(200):
        found = with_explored(ranked(12, promoted={1, 4, 9}), 6, Exploration(0.5, 12), str(seed))
        assert [(found[at].item, found[at].propensity) for at in (1, 4)] == [("i1", 1.0), ("i4", 1.0)]
        assert "i9" not in {one.item for one in found}


def test_short_and_empty_lists():
    assert with_explored([], 5, Exploration(0.5, 9), "a") == ()
    assert [one.propensity for one in with_explored(ranked(1), 5, Exploration(0.5, 9), "a")] == [1.0]
    assert {one.item for one in with_explored(ranked(3), 5, Exploration(0.5, 9), "c")} == {"i0", "i1", "i2"}
