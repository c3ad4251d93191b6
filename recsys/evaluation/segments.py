"""Cold, warm and hot users and items apart, and whether lists are more than the bestsellers.

A mean over all users is a mean over those who have much, and most hits are on what everybody has. So each part stands
in a row of its own: cold has fewer than `COLD` training events, hot are the fewest with the most that together hold
half of them, warm is what is between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.ids import IdMap

if TYPE_CHECKING:
    from recsys.evaluation.result import EvaluationResult

COLD = 5
"""Users with fewer training items, and items with fewer training users, are cold."""
CLOSE = 0.5
"""Lists are close to the bestsellers from this share of places in common, or of their popularity above the usual."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Traces:
    """Where in the catalogue the lists and their hits are, and how much each user had in training.

    Parameters
    ----------
    items : IdMap
        Of the model.
    histories : ndarray of shape (n_users,), int64
        Number of training items of each judged user.
    popularity : ndarray of shape (n_items,), int64
        Number of training users of each item.
    relevant : ndarray of shape (n_items,), int64
        Judged users to whom the item is relevant.
    shown, found : dict of int to ndarray of shape (n_items,), int64
        By list length: lists that show the item, and those for whose user it is a hit.
    """

    items: IdMap
    histories: Counts
    popularity: Counts
    relevant: Counts
    shown: dict[int, Counts]
    found: dict[int, Counts]


class Segment(NamedTuple):
    """One part, by the number of training events: at least `lowest`, at most `highest` (None: any)."""

    name: str
    lowest: int
    highest: int | None

    def mask(self, counts: Counts) -> NDArray[np.bool_]:
        """Which of the counts are in it."""
        inside = counts >= self.lowest
        return inside if self.highest is None else inside & (counts <= self.highest)

    @property
    def range(self) -> str:
        """Its counts, such as ``5–9``."""
        if self.highest is None:
            return f"{self.lowest:,}+"
        if self.highest < self.lowest:
            return "none"
        return f"{self.lowest:,}–{self.highest:,}" if self.highest > self.lowest else f"{self.lowest:,}"


class UserSegment(NamedTuple):
    """How a model does for one part of the users: how many they are, and their mean of each metric, NaN for none."""

    segment: Segment
    users: int
    means: dict[str, float]


class ItemSegment(NamedTuple):
    """How a model treats one part of the items.

    `exposure` is the share of all places in lists, `hits` of all hits, `recall` that of the part's relevant events
    which are hits; NaN where there is nothing to share.
    """

    segment: Segment
    items: int
    relevant: int
    exposure: float
    hits: float
    recall: float


class Variety(NamedTuple):
    """How much of the catalogue lists show, and how near they come to the bestseller list.

    `coverage` is a share of the catalogue, `popularity` how many times as popular the shown items are as what their
    users had, `most` the same of the bestseller list, `common` the share of places given to the same items as often as
    that list gives them.
    """

    coverage: float
    popularity: float
    most: float
    common: float

    @property
    def close(self) -> bool:
        """Whether it has `CLOSE` of its places in common with the bestsellers, or so much of their extra popularity."""
        return self.common >= CLOSE or self.popularity - 1 >= CLOSE * (self.most - 1) > 0

    @property
    def verdict(self) -> str:
        """In words."""
        words = "close to the bestseller list" if self.close else "lists of its own"
        return (
            f"shows {self.coverage:.1%} of the catalogue, {self.popularity:.1f} times as popular as what users have "
            f"(bestsellers {self.most:.1f}), {self.common:.0%} of the places in common with the bestsellers: {words}"
        )


def thirds(counts: Counts) -> tuple[Segment, Segment, Segment]:
    """Return the cold, warm and hot part; equal counts are always in one part."""
    descending = np.sort(counts)[::-1]
    half = np.searchsorted(np.cumsum(descending), descending.sum() / 2)
    hot = max(COLD, int(descending[half])) if len(counts) else COLD
    return Segment("cold", 0, COLD - 1), Segment("warm", COLD, hot - 1), Segment("hot", hot, None)


def user_segments(result: EvaluationResult, metrics: Sequence[str]) -> list[UserSegment]:
    """Means for users by how many items they had in training; half of the training events is that of judged users."""
    histories = traces(result).histories
    rows = []
    for segment in thirds(histories):
        inside = segment.mask(histories)
        means = {name: mean(result.per_user(name)[inside]) for name in metrics}
        rows.append(UserSegment(segment, int(inside.sum()), means))
    return rows


def item_segments(result: EvaluationResult, k: int, segments: Sequence[Segment] | None = None) -> list[ItemSegment]:
    """Exposure, hits and recall at k for items by how many users had them in training."""
    of = traces(result)
    shown, found = at(of.shown, k), at(of.found, k)
    rows = []
    for segment in segments or thirds(of.popularity):
        inside = segment.mask(of.popularity)
        relevant, hits = of.relevant[inside].sum(), found[inside].sum()
        shares = _ratio(shown[inside].sum(), shown.sum()), _ratio(hits, found.sum()), _ratio(hits, relevant)
        rows.append(ItemSegment(segment, int(inside.sum()), int(relevant), *shares))
    return rows


def variety(result: EvaluationResult, bestsellers: EvaluationResult, k: int) -> Variety:
    """Coverage, popularity and nearness to the bestsellers of lists of k items.

    Parameters
    ----------
    result : EvaluationResult
    bestsellers : EvaluationResult
        Of `Popularity` on the same test part, which leaves out what its users had: what a model shows that repeats it.
    k : int
    """
    ours, theirs = traces(result), traces(bestsellers)
    shown, best = at(ours.shown, k), at(theirs.shown, k)
    same = np.zeros(len(shown))
    rows = theirs.items.encode(ours.items.ids())
    same[rows >= 0] = best[rows[rows >= 0]]
    common = float(np.minimum(shown / max(shown.sum(), 1), same / max(best.sum(), 1)).sum())
    lift = f"popularity_lift@{k}"
    return Variety(result.mean(f"coverage@{k}"), 1 + result.mean(lift), 1 + bestsellers.mean(lift), common)


def traces(result: EvaluationResult) -> Traces:
    """Return the traces of a result; `ConfigError` if it has none."""
    if result.traces is None:
        raise ConfigError("this result does not say where its lists were. Use one of recsys.evaluation.evaluate")
    return result.traces


def at(by_length: dict[int, Counts], k: int) -> Counts:
    """Return the counts of one list length; `ConfigError` if it was not judged."""
    if k not in by_length:
        raise ConfigError(f"lists of {k} were not judged. There are {', '.join(map(str, by_length))}")
    return by_length[k]


def mean(values: NDArray[np.float64]) -> float:
    """Mean of the values that are there, NaN without any."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
