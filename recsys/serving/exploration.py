"""Exploration: a list whose places are now and then filled at random, and the exact chance of what it shows.

A list of k items is the beginning of a longer one, the pool of the m best under all rules. Every place is explored with
probability epsilon, each by itself. A place that is not keeps the item of its rank; the explored ones are filled by a
random draw, without replacement, from what is left of the pool. With e explored places, m - k + e items are left, each
as likely as any other. So, with B(n) the number of explored ones among n other places, at place j there is

    the item of rank j                  (1 - epsilon) + epsilon E[1 / (m - k + 1 + B(k - 1))]
    an item of another place i, which
    then is explored as well            epsilon^2 E[1 / (m - k + 2 + B(k - 2))]
    an item from behind the list        epsilon E[1 / (m - k + 1 + B(k - 1))]

These are probabilities of an item at a place, whatever stands elsewhere: what the estimators of
`recsys.evaluation.off_policy` divide by. Promoted items stay where they are, with
probability 1, and are no part of this.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from math import comb
from typing import NamedTuple

from recsys.serving.arranging import PROMOTED
from recsys.serving.experiments import Exploration
from recsys.serving.listing import Found, RankedItem

EXPLORED = "explored"


class Chances(NamedTuple):
    """Probability of an item at a place: where its rank has it, from another place, from behind the list."""

    kept: float
    moved: float
    fetched: float

    @classmethod
    @lru_cache(64)
    def of(cls, epsilon: float, k: int, pool: int) -> Chances:
        """Work out the three formulas above."""
        behind = pool - k
        explored = epsilon * _mean_inverse(behind + 1, k - 1, epsilon)
        moved = epsilon**2 * _mean_inverse(behind + 2, k - 2, epsilon) if k > 1 else 0.0
        return cls(min(1.0, 1 - epsilon + explored), moved, explored)


def with_explored(items: Sequence[RankedItem], k: int, how: Exploration, seed: str) -> tuple[RankedItem, ...]:
    """Return k of the items with their propensities; promoted ones stay, what is drawn has the reason "explored"."""
    fixed = [rank for rank, one in enumerate(items) if one.reason == PROMOTED]
    filled = explored(len(items), fixed, min(k, len(items)), how, seed)
    reasons = [items[at].reason if at == rank else EXPLORED for rank, (at, _) in enumerate(filled)]
    return tuple(
        items[at]._replace(reason=reason, propensity=chance)
        for (at, chance), reason in zip(filled, reasons, strict=True)
    )


def explored(pool: int, fixed: Sequence[int], k: int, how: Exploration, seed: str) -> list[tuple[int, float]]:
    """Return which of the items 0 to pool - 1 fill the k places, and how likely each was there.

    Parameters
    ----------
    pool : int
        Items there are, by rank; k at least.
    fixed : sequence of int
        Ranks of items that keep their place, with probability 1; those behind the list are not drawn from either.
    k : int
    how : Exploration
        Its own pool is not looked at.
    seed : str
        The same seed fills the same places.
    """
    held = set(fixed)
    places = [rank for rank in range(k) if rank not in held]
    behind = [rank for rank in range(k, pool) if rank not in held]
    chances = Chances.of(how.epsilon, len(places), len(places) + len(behind))
    chance = random.Random(seed).random  # the same numbers in every release of Python
    opened = [rank for rank in places if chance() < how.epsilon]
    left, shown = opened + behind, dict.fromkeys(held, 1.0)
    filled: list[tuple[int, float]] = [(rank, shown.get(rank, chances.kept)) for rank in range(k)]
    for rank in opened:
        at = int(chance() * len(left))
        left[at], drawn = left[-1], left[at]
        left.pop()
        filled[rank] = (drawn, _chance(chances, drawn, rank, k))
    return filled


def _chance(chances: Chances, drawn: int, rank: int, k: int) -> float:
    if drawn == rank:
        return chances.kept
    return chances.moved if drawn < k else chances.fetched


def _mean_inverse(least: int, trials: int, epsilon: float) -> float:
    """E[1 / (least + B)] for B binomial."""
    return sum(comb(trials, n) * epsilon**n * (1 - epsilon) ** (trials - n) / (least + n) for n in range(trials + 1))


class Explored(NamedTuple):
    """How places are filled at random; the same seed fills the same."""

    how: Exploration
    seed: str

    def shown(self, pool: Found, k: int) -> Found:
        """Return k items of the pool, with their propensities."""
        rows = {one.item: row for row, one in pool}
        return [(rows[one.item], one) for one in with_explored([one for _, one in pool], k, self.how, self.seed)]
