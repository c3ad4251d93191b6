"""Lists under rules: exact, and of exactly k items wherever k may be shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.serving.columns import Bits
from recsys.serving.listing import Search
from recsys.serving.rules import LEAST_DECAY, Diversity, Rules, Terms
from recsys.serving.view import View

_MORE = 4
NEW, PROMOTED = "new", "promoted"


class Placed(NamedTuple):
    """One place of a list: a row of the view, its score, and why it is there, '' for its score."""

    row: int
    score: float
    reason: str


def best(search: Search, terms: Terms, allowed: Bits, k: int) -> list[tuple[int, float]]:
    """Return the k best rows of the model, scores falling, ties by ascending row: the best of each group, merged."""
    found = []
    for factor, rows in terms.lift.groups:
        within = allowed if rows is None else allowed & rows
        found += _best_of_group(search, terms, factor, within, k)
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k] if len(terms.lift.groups) > 1 else found


def _best_of_group(search: Search, terms: Terms, factor: float, allowed: Bits, k: int) -> list[tuple[int, float]]:
    """Look so far down the model's ranking that nothing below can reach the k best, however fresh it is."""
    depth = k if terms.half_lives is None else _MORE * k
    while True:
        rows, raw = search(min(depth, len(allowed)), allowed, terms.lift.add)
        known = rows >= 0
        rows, exact = rows[known], raw[known].astype(np.float64)
        if terms.half_lives is None:
            return list(zip(rows.tolist(), (exact if factor == 1 else lifted(exact, factor)).tolist(), strict=True))
        scores = lifted(exact, factor * decay(terms.half_lives(rows)))
        order = np.lexsort((rows, -scores))[:k]
        if depth >= len(allowed) or not known.all() or scores[order[-1]] > lifted(exact[-1:], factor)[0]:
            return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))
        depth *= _MORE


def decay(half_lives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what freshness makes of a score."""
    return np.where(np.isnan(half_lives), 1.0, np.maximum(np.exp2(-half_lives), LEAST_DECAY))


def lifted(scores: NDArray[np.float64], factors: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Multiply scores, or divide those below zero, so that a factor above 1 lifts them all."""
    return np.where(scores < 0, scores / factors, scores * factors)


def arranged(search: Search, view: View, rules: Rules, terms: Terms, without: list[int], k: int) -> list[Placed]:
    """Return a list of k places, or of as many as may be filled.

    Parameters
    ----------
    search : Search
    view : View
    rules : Rules
    terms : Terms
        Of the rules.
    without : list of int
        Rows of new items this list may not have; `search` knows which ones of the model it may not.
    k : int
    """
    supply = _Supply(search, view, rules, terms, without, k)
    if not rules.promotions and rules.diversity is None:
        return list(_first(supply.source(None), k))
    return _Arrangement(supply, rules).places(k)


def _first(source: _Source, k: int) -> Iterator[Placed]:
    while k and (place := source.next()) is not None:
        k -= 1
        yield place


class _Supply:
    """Where candidates come from: those of the model by score, then new ones; none twice, and none that is closed."""

    def __init__(self, search: Search, view: View, rules: Rules, terms: Terms, without: list[int], k: int) -> None:
        self.search, self.view, self.terms, self.k = search, view, terms, k
        self.min_score = rules.min_score
        size = view.n_model + view.table.n_rows
        self.open = np.ones(size, np.bool_) if terms.allowed is None else terms.allowed.copy()
        if view.shown is not None:
            self.open[: view.n_model] &= view.shown
        if without:
            self.open[without] = False
        self.new = [] if rules.min_score is not None else view.new

    def best(self, holds: Bits | None, k: int) -> list[tuple[int, float]]:
        """Return the best open rows of the model, for which something holds."""
        allowed = self.open if holds is None else self.open & holds
        found = best(self.search, self.terms, allowed[: self.view.n_model], k)
        return found if self.min_score is None else [pair for pair in found if pair[1] >= self.min_score]

    def source(self, holds: Bits | None) -> _Source:
        """Return a way through all candidates for which something holds."""
        return _Source(self, holds)


class _Source:
    """Candidates in their order, as many at a time as a list has places."""

    def __init__(self, supply: _Supply, holds: Bits | None) -> None:
        self._supply, self._holds = supply, holds
        self._waiting: list[tuple[int, float]] = []
        self._ended = False

    def next(self) -> Placed | None:
        """Take the next candidate that is still open; close it."""
        supply = self._supply
        while True:
            while self._waiting:
                row, score = self._waiting.pop()
                if supply.open[row]:
                    supply.open[row] = False
                    return Placed(row, score, "")
            if self._ended:
                return self._next_new()
            self._waiting = supply.best(self._holds, supply.k)[::-1]
            self._ended = len(self._waiting) < supply.k

    def _next_new(self) -> Placed | None:
        supply = self._supply
        for row in supply.new:
            if supply.open[row] and (self._holds is None or self._holds[row]):
                supply.open[row] = False
                return Placed(row, 0.0, NEW)
        return None


class _Arrangement:
    """Fills place after place: what a promotion is short of, else what is best beside the items placed before."""

    def __init__(self, supply: _Supply, rules: Rules) -> None:
        self._supply, self._rules = supply, rules
        self._promoted = supply.terms.promoted
        self._sources = [supply.source(bits) for bits in self._promoted]
        self._given = [0] * len(self._promoted)
        diversity = rules.diversity or Diversity()
        self._caps = diversity.caps
        self._counts: dict[tuple[int, float], int] = {}
        self._pool = _Pool(supply, diversity) if diversity.weight else None
        self._rest = supply.source(None)

    def places(self, k: int) -> list[Placed]:
        """Return the list."""
        found: list[Placed] = []
        while len(found) < k and (place := self._place(len(found) + 1)) is not None:
            found.append(place)
            self._note(place.row)
        return found

    def _place(self, number: int) -> Placed | None:
        for n, promotion in enumerate(self._rules.promotions):
            if self._given[n] < int(number * promotion.share + 1e-9):
                place = self._sources[n].next()
                if place is not None:
                    return place._replace(reason=PROMOTED)
        return (self._pool.next() if self._pool else None) or self._rest.next()

    def _note(self, row: int) -> None:
        """Count what was placed, and close what may not be placed any more."""
        supply = self._supply
        for n, bits in enumerate(self._promoted):
            self._given[n] += bool(bits[row])
        if self._pool:
            self._pool.note(row)
        for n, cap in enumerate(self._caps):
            for value in supply.view.values(cap.field, row):
                count = self._counts[n, value] = self._counts.get((n, value), 0) + 1
                if count == cap.most:
                    supply.open &= ~supply.view.holders(cap.field, value)


class _Pool:
    """The best candidates, taken by maximal marginal relevance."""

    def __init__(self, supply: _Supply, diversity: Diversity) -> None:
        found = supply.best(None, diversity.pool)
        self._supply, self._weight = supply, diversity.weight
        self._found = found
        scores = np.array([score for _, score in found])
        spread = scores.max() - scores.min() if len(scores) else 0.0
        self._relevance = (scores - scores.min()) / spread if spread > 0 else np.ones(len(scores))
        self._directions = supply.view.directions([row for row, _ in found])
        self._nearest: NDArray[np.float64] | None = None

    def next(self) -> Placed | None:
        """Take the best candidate beside those placed; close it."""
        nearest = 0.0 if self._nearest is None else self._nearest
        # Rounded, so that equal candidates are equal however sums were rounded: the one of the better score is first.
        values = np.round((1 - self._weight) * self._relevance - self._weight * nearest, 9)
        values[~self._supply.open[[row for row, _ in self._found]]] = -np.inf
        if not len(values) or values.max() == -np.inf:
            return None
        row, score = self._found[int(values.argmax())]
        self._supply.open[row] = False
        return Placed(row, score, "")

    def note(self, row: int) -> None:
        """Count with an item that was placed."""
        if row >= self._supply.view.n_model:
            return
        cosines = (self._directions * self._supply.view.directions([row])).sum(axis=1)
        self._nearest = cosines if self._nearest is None else np.maximum(self._nearest, cosines)
