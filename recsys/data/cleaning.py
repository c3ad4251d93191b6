"""From raw events to what a model trains on: one event per user and item, enough of each, none lost in silence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, InsufficientDataError
from recsys.weights import WeightRule


@dataclass(frozen=True)
class CleaningStep:
    """What one step took away.

    Parameters
    ----------
    name : str
        The setting that asked for it, or ``unused ids`` for ids without an event in the input.
    events, users, items : int
        How many were dropped. Users and items count when their last event goes.
    """

    name: str
    events: int
    users: int
    items: int


@dataclass(frozen=True, eq=False)
class Cleaned:
    """Cleaned interactions and the account of what is missing from them.

    Parameters
    ----------
    interactions : Interactions
        Compacted; events in the order of the input.
    report : tuple of CleaningStep
        One per step that was asked for, in the order they ran.
    rule : WeightRule
        How raw weights became the weights of `interactions`; published with a model, so that serving does the same.
    """

    interactions: Interactions
    report: tuple[CleaningStep, ...]
    rule: WeightRule


def drop_light_events(interactions: Interactions, rule: WeightRule) -> Interactions:
    """Drop the events below the rule's `min_weight`."""
    return interactions.select(rule.keeps(interactions.weight))


def merge_duplicates(interactions: Interactions, rule: WeightRule) -> Interactions:
    """Apply a weight rule, so that a user and an item have at most one event; it has the latest timestamp.

    Raises
    ------
    DataError
        As `WeightRule.apply`, naming the user and the item.
    """
    n_items = len(interactions.items)

    def pair(key: int) -> str:
        user, item = divmod(key, n_items)
        return f"user {interactions.users.id(user)!r} with item {interactions.items.id(item)!r}"

    keys = interactions.user.astype(np.int64) * n_items + interactions.item
    rows, weights = rule.apply(keys, interactions.weight, interactions.timestamp, name=pair)
    return replace(interactions.select(rows), weight=weights)


def drop_heavy_users(interactions: Interactions, max_user_interactions: int) -> Interactions:
    """Drop every user with more events than that: scripts and shared accounts say nothing about taste."""
    _check_count("max_user_interactions", max_user_interactions)
    counts = np.bincount(interactions.user, minlength=len(interactions.users))
    return interactions.select((counts <= max_user_interactions)[interactions.user])


def core(interactions: Interactions, min_user_interactions: int = 1, min_item_interactions: int = 1) -> Interactions:
    """Keep the largest part in which every user and every item has at least that many events.

    Dropping a user can push an item below its minimum and the other way round, so both are repeated until nothing
    changes. The part is unique, whatever the order of dropping (Seidman 1983, Network structure and minimum degree).
    """
    _check_count("min_user_interactions", min_user_interactions)
    _check_count("min_item_interactions", min_item_interactions)
    kept = np.arange(len(interactions))
    while True:
        user, item = interactions.user[kept], interactions.item[kept]
        enough = (np.bincount(user)[user] >= min_user_interactions) & (np.bincount(item)[item] >= min_item_interactions)
        if enough.all():
            return interactions.select(kept)
        kept = kept[enough]


def clean(
    interactions: Interactions,
    *,
    duplicates: str = "sum",
    weights: str = "none",
    min_weight: float | None = None,
    min_user_interactions: int = 1,
    max_user_interactions: int | None = None,
    min_item_interactions: int = 1,
) -> Cleaned:
    """Drop light events, merge duplicates, transform weights, drop heavy users, then rare users and items.

    Parameters
    ----------
    interactions : Interactions
        Raw events.
    duplicates, weights, min_weight
        `duplicates`, `transform` and `min_weight` of `recsys.weights.WeightRule`.
    min_user_interactions, min_item_interactions : int
        Users and items with fewer events, after merging, are dropped until all have enough; 1 keeps all.
        On a training part only: applied before a split it lets the test part decide what is trained on.
    max_user_interactions : int, optional
        Users with more events, after merging, are dropped.

    Raises
    ------
    ConfigError
        If a setting cannot be used.
    DataError
        If a weight or a repeated pair cannot be treated as asked.
    InsufficientDataError
        If nothing is left.

    Examples
    --------
    >>> from recsys.data import clean, interactions_from_tuples
    >>> raw = interactions_from_tuples([("anna", "tea", 2.0), ("anna", "tea", 3.0), ("bo", "tea", 1.0)])
    >>> cleaned = clean(raw, min_weight=2.0)
    >>> cleaned.interactions.weight.tolist()
    [5.0]
    >>> [(step.name, step.events, step.users, step.items) for step in cleaned.report]
    [('min_weight', 1, 1, 0), ('duplicates', 1, 0, 0)]
    """
    rule = WeightRule(duplicates, weights, min_weight)
    stages = [("unused ids", interactions)]

    def add(name: str, result: Interactions) -> Interactions:
        stages.append((name, result))
        return result

    current = interactions
    if min_weight is not None:
        current = add("min_weight", drop_light_events(current, rule))
    current = add("duplicates", merge_duplicates(current, rule))
    if max_user_interactions is not None:
        current = add("max_user_interactions", drop_heavy_users(current, max_user_interactions))
    current = core(current, min_user_interactions, min_item_interactions)
    asked = {"min_user_interactions": min_user_interactions, "min_item_interactions": min_item_interactions}
    if names := [name for name, minimum in asked.items() if minimum > 1]:
        add(", ".join(names), current)
    report = _report(stages)
    if not len(current):
        raise _nothing_left(len(interactions), report)
    return Cleaned(current.compact(), report, rule)


def _report(stages: list[tuple[str, Interactions]]) -> tuple[CleaningStep, ...]:
    raw = stages[0][1]
    before = (len(raw), *raw.shape)
    steps = []
    for name, stage in stages:
        after = (len(stage), _distinct(stage.user), _distinct(stage.item))
        steps.append(CleaningStep(name, *(old - new for old, new in zip(before, after, strict=True))))
        before = after
    # Nobody asks for the first step, so it is worth a line only where it took something away.
    return tuple(steps[0 if steps[0].users or steps[0].items else 1 :])


def _distinct(rows: NDArray[np.int32]) -> int:
    return int(np.count_nonzero(np.bincount(rows)))


def _nothing_left(n_events: int, report: tuple[CleaningStep, ...]) -> InsufficientDataError:
    if not n_events:
        return InsufficientDataError("there are no interactions to clean", remedy="Check the input")
    guilty = [step for step in report if step.events and step.name != "duplicates"]
    lower = [step.name for step in guilty if step.name != "max_user_interactions"]
    remedies = [f"lower {', '.join(lower)}"] if lower else []
    if len(lower) < len(guilty):
        remedies.append("raise max_user_interactions")
    drops = "; ".join(f"{step.name} dropped {step.events:,}" for step in guilty)
    return InsufficientDataError(
        f"cleaning leaves none of {n_events:,} interactions: {drops}", remedy=" or ".join(remedies).capitalize()
    )


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} is {value}. Give 1 or more")
