"""Invented interactions with a known truth: power-law items, heavy-tailed users, planted tastes, a clock.

A user holds a taste (a distribution over categories) that drifts over the window; an event happens at some second,
picks a category by the taste of that second, and in it an item by popularity among those already launched. No user
meets an item twice. A model can therefore be held against `Synthetic.taste` instead of against another model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.errors import ConfigError
from recsys.ids import IdMap

DAY_S = 86_400
START_S = 1_704_067_200  # 2024-01-01T00:00:00Z

LENGTH_SIGMA = 1.0  # of log history length: the busiest tenth of the users makes 38 % of the events
OLD_SHARE = 0.6  # of the catalogue is there on day 0; the rest arrives evenly over the window
SECOND_SHARE = 0.25  # of the items stand in a second category, where they are half as popular
LATEST_JOIN = 0.8  # of the window: nobody joins later

DRAWS_AT_ONCE = 1 << 20  # bounds the scratch memory; part of the result, since it orders the random numbers
TASTE_ROUNDS = 24  # redraws by taste before somebody who has read their shelves takes anything in the shop
ROUNDS = 64


@dataclass(frozen=True, eq=False)
class Synthetic:
    """What `generate` made, and the truth behind it.

    Parameters
    ----------
    interactions : Interactions
        Grouped by user, times not falling within a user; no (user, item) twice; weights are stars, 1 to 5.
    taste, final_taste : ndarray of shape (n_users, categories), float64
        Rows sum to 1. Probability of each category at the first and at the last second, linear in between.
    category, second_category : ndarray of shape (n_items,), int32
        The second is -1 where an item has only one.
    popularity : ndarray of shape (n_items,), float64
        Weight ``rank ** -exponent`` of an item among the launched ones of its category.
    quality : ndarray of shape (n_items,), float32
        Stars an item gets above or below the average one.
    launch : ndarray of shape (n_items,), int64
        UTC seconds; no event of the item is earlier.
    """

    interactions: Interactions
    taste: NDArray[np.float64]
    final_taste: NDArray[np.float64]
    category: NDArray[np.int32]
    second_category: NDArray[np.int32]
    popularity: NDArray[np.float64]
    quality: NDArray[np.float32]
    launch: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Shelves:
    """Items by category and, within, by launch: what is launched by a day is a prefix of its shelf."""

    item: NDArray[np.int32]  # (n_places,)
    mass: NDArray[np.float64]  # (n_places + 1,) cumulated popularity
    begin: NDArray[np.int64]  # (categories,) first place
    end: NDArray[np.int64]  # (categories, days) behind the last place launched by that day


def generate(
    *,
    users: int,
    items: int,
    mean_history: float,
    categories: int,
    seed: int,
    days: int = 365,
    start: int = START_S,
    popularity_exponent: float = 0.8,
    taste_concentration: float = 0.1,
    drift: float = 0.2,
) -> Synthetic:
    """Invent interactions; the same arguments give the same bits.

    Parameters
    ----------
    users, items, categories : int
        At least 1, and at least one item per category.
    mean_history : float
        Distinct items per user on average, 1 to a quarter of `items`; lengths are lognormal, capped at half of them.
    seed : int
        Of a PCG64 stream.
    days, start : int
        Length of the window, and its first UTC second.
    popularity_exponent : float
        Of the power law; 0 makes all items of a category alike.
    taste_concentration : float
        Of the symmetric Dirichlet tastes come from: small for users of one category, large for users of all.
    drift : float
        Share of a taste that is new at the end of the window, 0 to 1.

    Raises
    ------
    ConfigError
        If an argument is out of its range.

    Examples
    --------
    >>> made = generate(users=50, items=40, mean_history=6, categories=4, seed=1)
    >>> made.interactions.shape, made.taste.shape, made.interactions.users.id(0)
    ((50, 40), (50, 4), 'u01')
    """
    _check(users, items, mean_history, categories, seed, days)
    _check_shape(popularity_exponent, taste_concentration, drift)
    rng = np.random.Generator(np.random.PCG64(seed))
    # Dealt round and shuffled, so that no category is empty and rows say nothing about popularity.
    category = rng.permutation(np.arange(items, dtype=np.int32) % categories)
    other = (category + 1 + (rng.random(items) * (categories - 1)).astype(np.int32)) % categories
    second = np.where((rng.random(items) < SECOND_SHARE) & (other != category), other, -1).astype(np.int32)
    popularity = rng.permutation(np.arange(1, items + 1, dtype=np.float64) ** -popularity_exponent)
    quality = (0.5 * rng.standard_normal(items)).astype(np.float32)
    launch_day = _launch_days(rng, category, days)
    taste = rng.dirichlet(np.full(categories, taste_concentration), users)
    final = (1 - drift) * taste + drift * rng.dirichlet(np.full(categories, taste_concentration), users)
    lengths = _history_lengths(rng, users, mean_history, max(1, items // 2))
    shelves = _shelve(category, second, popularity, launch_day, days)
    interactions = _interact(rng, shelves, taste, final, quality, lengths, start)
    launch = start + launch_day * DAY_S
    return Synthetic(interactions, taste, final, category, second, popularity, quality, launch)


def _check(users: int, items: int, mean_history: float, categories: int, seed: int, days: int) -> None:
    for name, value in (("users", users), ("items", items), ("categories", categories), ("days", days)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}")
    if categories > items:
        raise ConfigError(f"{categories} categories need at least as many items, not {items}")
    longest = max(1.0, items / 4)
    if not 1 <= mean_history <= longest:
        raise ConfigError(
            f"mean_history must lie between 1 and a quarter of the items, {longest:g}; got {mean_history}"
        )
    if seed < 0:
        raise ConfigError(f"seed must not be negative, not {seed}")


def _check_shape(popularity_exponent: float, taste_concentration: float, drift: float) -> None:
    if not 0 <= popularity_exponent < math.inf:
        raise ConfigError(f"popularity_exponent must be finite and not negative, not {popularity_exponent}")
    if not 0 < taste_concentration < math.inf:
        raise ConfigError(f"taste_concentration must be finite and positive, not {taste_concentration}")
    if not 0 <= drift <= 1:
        raise ConfigError(f"drift must lie between 0 and 1, not {drift}")


def _launch_days(rng: np.random.Generator, category: NDArray[np.int32], days: int) -> NDArray[np.int64]:
    position = (rng.random(len(category)) - OLD_SHARE) / (1 - OLD_SHARE)
    day: NDArray[np.int64] = (np.maximum(position, 0) * days).astype(np.int64)
    day[np.unique(category, return_index=True)[1]] = 0  # no shelf may be empty on day 0
    return day


def _history_lengths(rng: np.random.Generator, users: int, mean: float, longest: int) -> NDArray[np.int64]:
    spread = np.exp(LENGTH_SIGMA * rng.standard_normal(users))
    jitter = rng.random(users)
    beyond_first = mean - 1
    if beyond_first == 0 or longest == 1:
        return np.ones(users, np.int64)
    scale = beyond_first / spread.mean()
    for _ in range(60):  # the cap takes from the tail; scaling up gives it back, monotonically
        capped = np.minimum(scale * spread, longest - 1)
        scale *= beyond_first / capped.mean()
    # Rounded up or down at random, so that the mean stays what it is.
    lengths: NDArray[np.int64] = 1 + np.floor(capped + jitter * (capped < longest - 1)).astype(np.int64)
    return lengths


def _shelve(
    category: NDArray[np.int32],
    second: NDArray[np.int32],
    popularity: NDArray[np.float64],
    launch_day: NDArray[np.int64],
    days: int,
) -> _Shelves:
    also = np.flatnonzero(second >= 0)
    item = np.concatenate([np.arange(len(category)), also])
    key = np.concatenate([category, second[also]]).astype(np.int64) * days + launch_day[item]
    weight = np.concatenate([popularity, 0.5 * popularity[also]])
    order = np.argsort(key, kind="stable")
    mass = np.concatenate([[0.0], np.cumsum(weight[order])])
    dates = np.arange((int(category.max()) + 1) * days).reshape(-1, days)
    begin = np.searchsorted(key[order], dates[:, 0], side="left")
    end = np.searchsorted(key[order], dates, side="right")
    return _Shelves(item[order].astype(np.int32), mass, begin, end)


def _interact(
    rng: np.random.Generator,
    shelves: _Shelves,
    taste: NDArray[np.float64],
    final: NDArray[np.float64],
    quality: NDArray[np.float32],
    lengths: NDArray[np.int64],
    start: int,
) -> Interactions:
    n_users, total = len(lengths), int(lengths.sum())
    user, item = np.empty(total, np.int32), np.empty(total, np.int32)
    weight, time = np.empty(total, np.float32), np.empty(total, np.int64)
    joined = LATEST_JOIN * rng.random(n_users) ** 2
    filled = 0
    for some in _groups(lengths):
        owner, age = _visits(rng, joined[some], lengths[some])
        tastes = np.concatenate([taste[some], final[some]])
        found, liking = _choose(rng, shelves, tastes, owner, age, len(quality))
        met = np.flatnonzero(found >= 0)
        part = slice(filled, filled + len(met))
        user[part], item[part] = owner[met] + some.start, found[met]
        time[part] = start + (age[met] * shelves.end.shape[1] * DAY_S).astype(np.int64)
        weight[part] = _stars(rng, liking[met], quality[found[met]])
        filled = part.stop
    ids = IdMap.from_ids(_names("u", n_users)), IdMap.from_ids(_names("i", len(quality)))
    return Interactions(*ids, user[:filled], item[:filled], weight[:filled], time[:filled])


def _groups(lengths: NDArray[np.int64]) -> Iterator[slice]:
    group = (np.cumsum(lengths) - 1) // DRAWS_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(lengths)]
    yield from (slice(first, behind) for first, behind in pairwise(edges))


def _visits(
    rng: np.random.Generator, joined: NDArray[np.float64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """User of each draw and its time as a share of the window, below 1 and rising per user."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    # One sort orders all users at once: the whole part of a key is the user, the fraction the time.
    share = np.sort(owner + rng.random(len(owner))) - owner
    return owner, np.minimum(joined[owner] + (1 - joined[owner]) * share, np.nextafter(1.0, 0.0))


def _choose(
    rng: np.random.Generator,
    shelves: _Shelves,
    tastes: NDArray[np.float64],
    owner: NDArray[np.int64],
    age: NDArray[np.float64],
    n_items: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Item of each draw, -1 where every round met a known one, and how much the user likes its category, 0 to 1.

    Drawing again until the item is new samples without replacement, and without a table of users x items.
    """
    n_users, categories = len(tastes) // 2, tastes.shape[1]
    # All distributions in one rising array, row r from r to r + 1, so that one bisection serves all draws.
    steps = (np.cumsum(tastes, axis=1) + np.arange(len(tastes))[:, None]).ravel()
    relative = tastes / tastes.max(axis=1, keepdims=True)
    found, liking = np.full(len(owner), -1, np.int64), np.zeros(len(owner))
    met, pending = np.empty(0, np.int64), np.arange(len(owner))
    for attempt in range(ROUNDS):
        by_taste = attempt < TASTE_ROUNDS
        # A mixture of two tastes is one of them, drawn: the final one the likelier, the later it is.
        row = owner[pending] + n_users * (rng.random(len(pending)) < age[pending])
        u = rng.random(len(pending))
        place = np.searchsorted(steps, row + u, side="right") - row * categories if by_taste else u * categories
        shelf = np.clip(place, 0, categories - 1).astype(np.int64)
        item = _pick(rng, shelves, shelf, age[pending], by_popularity=by_taste)
        key, first = np.unique(owner[pending] * n_items + item, return_index=True)
        new = ~_contains(met, key)
        kept = first[new]
        found[pending[kept]], liking[pending[kept]] = item[kept], relative[row[kept], shelf[kept]]
        met, pending = np.sort(np.concatenate([met, key[new]])), np.delete(pending, kept)
        if not len(pending):
            break
    return found, liking


def _contains(rising: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not len(rising):
        return np.zeros(len(keys), np.bool_)
    nearest = np.minimum(np.searchsorted(rising, keys), len(rising) - 1)
    return np.asarray(rising[nearest] == keys)


def _pick(
    rng: np.random.Generator,
    shelves: _Shelves,
    shelf: NDArray[np.int64],
    age: NDArray[np.float64],
    *,
    by_popularity: bool,
) -> NDArray[np.int32]:
    """One launched item of each shelf, by popularity or any."""
    day = (age * shelves.end.shape[1]).astype(np.int64)
    begin, end = shelves.begin[shelf], shelves.end[shelf, day]
    u = rng.random(len(shelf))
    if by_popularity:
        low = shelves.mass[begin]
        place = np.searchsorted(shelves.mass, low + u * (shelves.mass[end] - low), side="right") - 1
    else:
        place = begin + (u * (end - begin)).astype(np.int64)
    picked: NDArray[np.int32] = shelves.item[np.clip(place, begin, end - 1)]  # rounding may step over an end
    return picked


def _stars(rng: np.random.Generator, liking: NDArray[np.float64], quality: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.clip(np.rint(2.4 + 1.6 * liking + quality + 0.7 * rng.standard_normal(len(liking))), 1, 5)


def _names(prefix: str, count: int) -> list[str]:
    width = len(str(count))  # padded, so that files sorted by id are sorted by number
    return [f"{prefix}{number:0{width}d}" for number in range(1, count + 1)]
