"""Rules as a client writes them, and as the service takes them."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chalicelib.responses import Problem
from recsys.ids import MAX_ID_CHARACTERS, encode_id
from recsys.serving.fields import MAX_NAME, Value
from recsys.serving.filters import MAX_DEPTH, Clause, Exists, Group, OneOf, Within
from recsys.serving.rules import Boost, Cap, Diversity, Freshness, Promotion, Rules

MAX_CONDITIONS = 64
"""Of one clause, those within its groups included."""

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]
Scalar = str | bool | int | float
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Finite = Annotated[float, Meta(ge=-1e9, le=1e9)]


class BoundsIn(msgspec.Struct, forbid_unknown_fields=True):
    """Bounds of a number or a time; at least one."""

    gt: str | int | float | UnsetType = UNSET
    gte: str | int | float | UnsetType = UNSET
    lt: str | int | float | UnsetType = UNSET
    lte: str | int | float | UnsetType = UNSET


class ClauseIn(msgspec.Struct, forbid_unknown_fields=True):
    """A group (`must`, `should`, `must_not`) or one condition on one field (`match`, `any`, `range` or `exists`)."""

    must: list["ClauseIn"] | UnsetType = UNSET
    should: list["ClauseIn"] | UnsetType = UNSET
    must_not: list["ClauseIn"] | UnsetType = UNSET
    match: Annotated[dict[Name, Scalar], Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    any: (
        Annotated[
            dict[Name, Annotated[list[Scalar], Meta(min_length=1, max_length=100)]], Meta(min_length=1, max_length=1)
        ]
        | UnsetType
    ) = UNSET
    range: Annotated[dict[Name, BoundsIn], Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    exists: Name | UnsetType = UNSET


class BoostIn(msgspec.Struct, forbid_unknown_fields=True):
    """What is added to scores, and then multiplies them, where a clause holds."""

    when: ClauseIn
    multiply: Annotated[float, Meta(ge=0.001, le=1000)] = 1.0
    add: Finite = 0.0


class PromotionIn(msgspec.Struct, forbid_unknown_fields=True):
    """A share of the places for items for which a clause holds."""

    when: ClauseIn
    share: Annotated[float, Meta(gt=0, le=1)]


class CapIn(msgspec.Struct, forbid_unknown_fields=True):
    """How many items of a list may share a value of a field."""

    field: Name
    most: Annotated[int, Meta(ge=1, le=500)]


class DiversityIn(msgspec.Struct, forbid_unknown_fields=True):
    """Weight of being unlike the items before, 0 to 1, among the best `pool` items; caps over all."""

    weight: Annotated[float, Meta(ge=0, le=1)] = 0.0
    pool: Annotated[int, Meta(ge=1, le=500)] = 100
    caps: Annotated[list[CapIn], Meta(max_length=4)] = []


class FreshnessIn(msgspec.Struct, forbid_unknown_fields=True):
    """After how many seconds since the time in a field a score is half of what it was."""

    field: Name
    half_life_s: Annotated[float, Meta(ge=1, le=1e10)]


class RulesIn(msgspec.Struct, forbid_unknown_fields=True):
    """Members of a body that asks for a list."""

    filter: ClauseIn | UnsetType = UNSET
    boost: Annotated[list[BoostIn], Meta(max_length=6)] = []
    exclude: Annotated[list[Id], Meta(max_length=500)] = []
    promotions: Annotated[list[PromotionIn], Meta(max_length=4)] = []
    diversity: DiversityIn | UnsetType = UNSET
    min_score: Finite | UnsetType = UNSET
    freshness: FreshnessIn | UnsetType = UNSET


def rules_of(sent: RulesIn) -> Rules | None:
    """Return the rules of a body, None where it has none; a problem names the member at fault."""
    for place, item in enumerate(sent.exclude):
        encode_id(item, f"exclude[{place}]")
    diversity = None
    if sent.diversity is not UNSET:
        caps = tuple(Cap(one.field, one.most) for one in sent.diversity.caps)
        diversity = Diversity(sent.diversity.weight, sent.diversity.pool, caps)
    rules = Rules(
        None if sent.filter is UNSET else _clause_of(sent.filter, "filter"),
        tuple(Boost(_clause_of(b.when, f"boost[{n}].when"), b.multiply, b.add) for n, b in enumerate(sent.boost)),
        tuple(sent.exclude),
        tuple(Promotion(_clause_of(p.when, f"promotions[{n}].when"), p.share) for n, p in enumerate(sent.promotions)),
        diversity,
        None if sent.min_score is UNSET else sent.min_score,
        None if sent.freshness is UNSET else Freshness(sent.freshness.field, sent.freshness.half_life_s),
    )
    return None if rules == Rules() else rules


def _clause_of(sent: ClauseIn, place: str) -> Clause:
    if _size(sent) > MAX_CONDITIONS:
        raise Problem(422, f"has more than {MAX_CONDITIONS} conditions", field=place)
    return _clause(sent, place, 1)


def _size(sent: ClauseIn) -> int:
    return 1 + sum(_size(one) for side in (sent.must, sent.should, sent.must_not) if side is not UNSET for one in side)


def _clause(sent: ClauseIn, place: str, depth: int) -> Clause:
    said = [name for name in sent.__struct_fields__ if getattr(sent, name) is not UNSET]
    if set(said) <= {"must", "should", "must_not"}:
        if depth > MAX_DEPTH:
            raise Problem(422, f"groups are nested deeper than {MAX_DEPTH} levels", field=place)
        sides = {side: _clauses(getattr(sent, side), f"{place}.{side}", depth + 1) for side in said}
        return Group(**sides)
    if len(said) > 1:
        raise Problem(422, f"is a group or one condition, not {' and '.join(said)}", field=place)
    return _condition(sent, f"{place}.{said[0]}")


def _clauses(sent: list[ClauseIn], place: str, depth: int) -> tuple[Clause, ...]:
    return tuple(_clause(one, f"{place}[{n}]", depth) for n, one in enumerate(sent))


def _condition(sent: ClauseIn, place: str) -> Clause:
    if sent.exists is not UNSET:
        return Exists(sent.exists)
    if sent.range is not UNSET:
        ((field, bounds),) = sent.range.items()
        given: dict[str, Value] = {
            name: one for name in bounds.__struct_fields__ if (one := getattr(bounds, name)) is not UNSET
        }
        if not given:
            raise Problem(422, "has none of gt, gte, lt and lte", field=f"{place}.{field}")
        return Within(field, **given)
    if sent.match is not UNSET:
        ((field, value),) = sent.match.items()
        return OneOf(field, (value,))
    ((field, values),) = sent.any.items()
    return OneOf(field, tuple(values))
