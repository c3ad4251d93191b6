"""Lists under random rules over random catalogues, against the definitions written out in plain Python."""

import math
from datetime import datetime

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from shelf import FIELDS, NOW_S, Shelf
from world import World

from recsys.serving import arranging, catalogue, columns, view
from recsys.serving.columns import Column
from recsys.serving.filters import Exists, Group, OneOf, bits_of


def values(item, field):
    """What a field of an item says."""
    told, kind = item.get(field), FIELDS[field]
    if told is None or told == "unknown":
        return []
    if kind == "keywords":
        return list(told)
    if kind == "boolean":
        return [told in (True, "true")]
    if kind == "timestamp" and isinstance(told, str):
        return [datetime.fromisoformat(told).timestamp()]
    return [told if kind == "keyword" else float(told)]


def holds(clause, item):
    if isinstance(clause, Group):
        return (
            all(holds(one, item) for one in clause.must)
            and (not clause.should or any(holds(one, item) for one in clause.should))
            and not any(holds(one, item) for one in clause.must_not)
        )
    said = values(item, clause.field)
    if isinstance(clause, Exists):
        return bool(said)
    if isinstance(clause, OneOf):
        return any(one in said for wanted in clause.values for one in values({clause.field: wanted}, clause.field))

    def bound(told):
        return values({clause.field: told}, clause.field)[0]

    return any(
        (clause.gt is None or one > bound(clause.gt))
        and (clause.gte is None or one >= bound(clause.gte))
        and (clause.lt is None or one < bound(clause.lt))
        and (clause.lte is None or one <= bound(clause.lte))
        for one in said
    )


def final_score(score, item, rules):
    score += sum(one.add for one in rules.boost if holds(one.when, item))
    factors = [one.multiply for one in rules.boost if holds(one.when, item)]
    if rules.freshness and (at := values(item, "at")):
        factors.append(max(2.0**-20, 2.0 ** (-max(NOW_S - at[0], 0) / rules.freshness.half_life_s)))
    factor = math.prod(factors)
    return score / factor if score < 0 else score * factor


def candidates(shelf, asked, rules):
    """Items that may be shown, best first, with their scores; None for new ones."""
    gone = asked.without | set(rules.exclude) | shelf.removed
    found = []
    for n in range(shelf.n):
        item = f"i{n}"
        score = None if item in gone else final_score(asked.scores[item], shelf.items.get(item, {}), rules)
        if score is not None and (rules.min_score is None or score >= rules.min_score):
            found.append((-score, n, item, score))
    ranked = [(item, score) for _, _, item, score in sorted(found)]
    if rules.min_score is None:
        ranked += [(one, None) for one in reversed(shelf.items) if one[0] == "n" and one not in gone]
    wanted = rules.filter or Group()
    return [(item, score) for item, score in ranked if holds(wanted, shelf.items.get(item, {}))]


def cosine(left, right):
    lengths = math.hypot(*left) * math.hypot(*right)
    return sum(a * b for a, b in zip(left, right, strict=True)) / lengths if lengths else 0.0


def oracle(shelf, asked, rules, k):
    ranked = candidates(shelf, asked, rules)
    weight, pool_size, caps = rules.diversity or (0.0, 0, ())
    pool = [one for one in ranked[:pool_size] if one[1] is not None] if weight else []
    scores = [score for _, score in pool]
    spread = max(scores, default=0) - min(scores, default=0)
    relevance = {item: (score - min(scores)) / spread if spread else 1.0 for item, score in pool}
    placed = []

    def is_open(item):
        if any(item == other for other, _, _ in placed):
            return False
        return all(
            sum(value in values(shelf.items.get(other, {}), cap.field) for other, _, _ in placed) < cap.most
            for cap in caps
            for value in values(shelf.items.get(item, {}), cap.field)
        )

    def marginal(item):
        nearest = [cosine(shelf.vector(item), shelf.vector(other)) for other, _, _ in placed if other[0] == "i"]
        return round((1 - weight) * relevance[item] - weight * max(nearest, default=0.0), 9)

    def turn():
        for promotion in rules.promotions:
            given = sum(holds(promotion.when, shelf.items.get(other, {})) for other, _, _ in placed)
            if given < math.floor((len(placed) + 1) * promotion.share + 1e-9):
                for item, score in ranked:
                    if is_open(item) and holds(promotion.when, shelf.items.get(item, {})):
                        return item, score or 0.0, "promoted"
        open_pool = [(item, score) for item, score in pool if is_open(item)]
        if open_pool:
            item, score = max(open_pool, key=lambda one: marginal(one[0]))
            return item, score, asked.strategy
        for item, score in ranked:
            if is_open(item):
                return item, score or 0.0, "new" if score is None else asked.strategy
        return None

    while len(placed) < k and (place := turn()) is not None:
        placed.append(place)
    return placed


def check(folder, seed):
    world = World(folder, clock=lambda: NOW_S)
    shelf = Shelf(world, seed)
    for _ in range(shelf.chance.randint(1, 3)):  # what was compiled is changed piece by piece
        shelf.change()
        k = shelf.chance.choice([1, 3, 8, 30])
        asked = shelf.ask()
        if asked is None:
            continue
        rules = shelf.rules(adds=asked.strategy != "similar")
        found = asked.list(k, rules)
        assert [one[:3] for one in found.items] == oracle(shelf, asked, rules, k), (seed, asked.strategy, rules)
        assert not found.degraded


def test_lists_are_those_of_the_definitions(tmp_path_factory):
    """Also for 10,000 shops: --hypothesis-profile=thorough."""

    @given(st.integers(0, 2**40))
    @settings(phases=set(Phase) - {Phase.shrink})  # seeds do not get simpler
    def exact(seed):
        check(tmp_path_factory.mktemp("shop"), seed)

    exact()


def check_many(tmp_path_factory, seeds):
    for seed in seeds:
        check(tmp_path_factory.mktemp("shop"), seed)


def should_is_must(clause, table):
    return bits_of(clause._replace(must=clause.must + clause.should) if isinstance(clause, Group) else clause, table)


@pytest.mark.parametrize(
    ("where", "name", "bug"),
    [
        (arranging, "lifted", lambda scores, factors: scores * factors),
        (arranging, "decay", lambda half_lives: np.exp2(-half_lives)),
        (columns.Column, "replaced", lambda self, rows, told: self if len(self.rows) else Column.of(self.kind, told)),
        (catalogue.Catalogue, "shown", lambda self, model: None),
        (view, "bits_of", should_is_must),
        (arranging._Pool, "note", lambda self, row: None),
        (arranging._Arrangement, "_note", lambda self, row: None),
    ],
)
def test_the_check_above_catches_a_planted_bug(tmp_path_factory, monkeypatch, where, name, bug):
    monkeypatch.setattr(where, name, bug)
    with pytest.raises((AssertionError, IndexError)):
        check_many(tmp_path_factory, range(300))
