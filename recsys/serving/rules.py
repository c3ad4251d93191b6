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
    filter_name : str
        What errors call the filter; ``''`` where its fields are named by themselves.
    """

    filter: Clause | None = None
    boost: tuple[Boost, ...] = ()
    exclude: tuple[str, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    diversity: Diversity | None = None
    min_score: float | None = None
    freshness: Freshness | None = None
    filter_name: str = "filter"


class Lift(NamedTuple):
    """What boosts come to.

    Parameters
    ----------
    add : ndarray of shape (n_model,), float32, optional
        Added to the scores of the model.
    groups : list of (float, ndarray of bool or None)
        Factors, and the rows of the model each is for; None if it is for all.
    """

    add: NDArray[np.float32] | None
    groups: list[tuple[float, Bits | None]]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        arrays = [self.add, *(rows for _, rows in self.groups)]
        return sum(one.nbytes for one in arrays if one is not None)


class Terms(NamedTuple):
    """What rules come to, row by row of a view.

    Parameters
    ----------
    allowed : ndarray of bool, optional
        None if all are.
    lift : Lift
    half_lives : callable, optional
        Returns how many passed since the times of some rows of the model; NaN for those without a time.
    promoted : list of ndarray of bool
        By promotion.
    """

    allowed: Bits | None
    lift: Lift
    half_lives: Callable[[NDArray[np.int32]], NDArray[np.float64]] | None
    promoted: list[Bits]


def terms_of(rules: Rules, view: View, now_s: float) -> Terms:
    """Look rules up in a catalogue; `DataError` names what it does not have, as ``boost[1].when.genre``."""
    allowed = None if rules.filter is None else _bits(view, rules.filter, rules.filter_name)
    promoted = [_bits(view, one.when, f"promotions[{n}].when") for n, one in enumerate(rules.promotions)]
    for n, cap in enumerate(rules.diversity.caps if rules.diversity else ()):
        _placed(f"diversity.caps[{n}]", partial(declared, view.table, cap.field))
    lift = view.kept(f"lift {rules.boost!r}", partial(_lift, rules.boost, view)) if rules.boost else _NO_LIFT
    half_lives = None
    if rules.freshness is not None:
        freshness = rules.freshness
        times = _placed("freshness", partial(view.times, freshness.field))

        def half_lives(rows: NDArray[np.int32]) -> NDArray[np.float64]:
            return np.maximum(now_s - times[rows], 0) / freshness.half_life_s

    return Terms(allowed, lift, half_lives, promoted)


_NO_LIFT = Lift(None, [(1.0, None)])


def _lift(boosts: tuple[Boost, ...], view: View) -> Lift:
    add, factor = np.zeros(view.n_model, np.float32), np.ones(view.n_model)
    for n, one in enumerate(boosts):
        bits = _bits(view, one.when, f"boost[{n}].when")[: view.n_model]
        add[bits] += np.float32(one.add)
        factor[bits] *= one.multiply
    factors = np.unique(factor).tolist()
    groups: list[tuple[float, Bits | None]] = [(one, factor == one) for one in factors]
    if len(factors) == 1:
        groups = [(factors[0], None)]
    return Lift(add if add.any() else None, groups)


def _bits(view: View, clause: Clause, place: str) -> Bits:
    return _placed(place, lambda: view.bits(clause))


def _placed(place: str, look: Callable[[], T]) -> T:
    try:
        return look()
    except DataError as error:
        raise DataError(error.reason, field=f"{place}.{error.field}".lstrip(".")) from None
