"""What a request wants of its list beside the ranking of the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.serving.columns import Bits
from recsys.serving.filters import Clause, declared
from recsys.serving.view import View

LEAST_DECAY = 2.0**-20
T = TypeVar("T")


class Boost(NamedTuple):
    """Scores of items for which a clause holds are multiplied, after what is added to them.

    A score below zero is divided: a factor above 1 lifts every item.
    """

    when: Clause
    multiply: float = 1.0
    add: float = 0.0


class Promotion(NamedTuple):
    """At least this share of the places, counted from the first, is for items for which a clause holds."""

    when: Clause
    share: float


class Cap(NamedTuple):
    """At most so many items of a list share a value of a field."""

    field: str
    most: int


class Diversity(NamedTuple):
    """Maximal marginal relevance over the best `pool` items, and caps over all.

    Each place goes to the item with the greatest ``(1 - weight) relevance - weight similarity``: its score, from 0 to 1
    within the pool, and its greatest cosine with an item placed before (Carbonell and Goldstein 1998).
    """

    weight: float = 0.0
    pool: int = 100
    caps: tuple[Cap, ...] = ()


class Freshness(NamedTuple):
    """Scores halve with every half-life since the time in a field, twenty times at most; without a time they stay.

    Those below zero double.
    """

    field: str
    half_life_s: float


class Rules(NamedTuple):
    """All of it; the default changes nothing.

    Parameters
    ----------
    filter : Clause, optional
        Holds for every item of the list.
    boost : tuple of Boost
        All that hold count.
    exclude : tuple of str
        Items that are left out.
    promotions : tuple of Promotion
        The first that lacks its share comes first.
    diversity : Diversity, optional
    min_score : float, optional
        After boosts and freshness. New items have no score, and are left out.
    freshness : Freshness, optional
    """

    filter: Clause | None = None
    boost: tuple[Boost, ...] = ()
    exclude: tuple[str, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    diversity: Diversity | None = None
    min_score: float | None = None
    freshness: Freshness | None = None


class Terms(NamedTuple):
    """What rules come to, row by row of a view; scores are those of the model's rows alone.

    Parameters
    ----------
    allowed : ndarray of bool, optional
        None if all are.
    add : ndarray of float32, optional
    factor : ndarray of float64, optional
    promoted : list of ndarray of bool
        By promotion.
    """

    allowed: Bits | None
    add: NDArray[np.float32] | None
    factor: NDArray[np.float64] | None
    promoted: list[Bits]


def terms_of(rules: Rules, view: View, now_s: float) -> Terms:
    """Look rules up in a catalogue; `DataError` names what it does not have, as ``boost[1].genre``."""
    allowed = None if rules.filter is None else _bits(view, rules.filter, "filter")
    boosted = [_bits(view, one.when, f"boost[{n}].when") for n, one in enumerate(rules.boost)]
    promoted = [_bits(view, one.when, f"promotions[{n}].when") for n, one in enumerate(rules.promotions)]
    for n, cap in enumerate(rules.diversity.caps if rules.diversity else ()):
        _placed(f"diversity.caps[{n}]", partial(declared, view.table, cap.field))
    add, factor = np.zeros(view.n_model, np.float32), np.ones(view.n_model)
    for one, bits in zip(rules.boost, boosted, strict=True):
        add[bits[: view.n_model]] += np.float32(one.add)
        factor[bits[: view.n_model]] *= one.multiply
    if rules.freshness is not None:
        factor *= _decay(view, rules.freshness, now_s)
    return Terms(allowed, add if add.any() else None, None if (factor == 1).all() else factor, promoted)


def _decay(view: View, freshness: Freshness, now_s: float) -> NDArray[np.float64]:
    times = _placed("freshness", lambda: view.times(freshness.field))
    half_lives = np.maximum(now_s - times, 0) / freshness.half_life_s
    return np.where(np.isnan(times), 1.0, np.maximum(np.exp2(-half_lives), LEAST_DECAY))


def _bits(view: View, clause: Clause, place: str) -> Bits:
    return _placed(place, lambda: view.bits(clause))


def _placed(place: str, look: Callable[[], T]) -> T:
    try:
        return look()
    except DataError as error:
        raise DataError(error.reason, field=f"{place}.{error.field}") from None
