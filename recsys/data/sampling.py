"""Negative sampling: pairs nobody has told of, as examples of what was not chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError

STRATEGIES = ("uniform", "popularity", "in_batch")
_ROUNDS = 30  # of drawing anew what the user has
_BATCH = 2048  # positives that lend each other their items


@dataclass(frozen=True, eq=False)
class SampledPairs:
    """Pairs of a user and an item the user does not have.

    Parameters
    ----------
    positive : ndarray of shape (n,), int64
        Place, among the positives given, of the one each pair was drawn for: its user and context are those of the
        pair.
    user, item : ndarray of shape (n,), int32
    """

    positive: NDArray[np.int64]
    user: NDArray[np.int32]
    item: NDArray[np.int32]


def sample_negatives(
    dataset: Dataset,
    per_positive: int,
    *,
    rows: NDArray[np.int64] | None = None,
    strategy: str = "uniform",
    popularity_exponent: float = 0.75,
    seed: int = 0,
) -> SampledPairs:
    """Draw items for each interaction, in place of its own, that its user does not have.

    Items nobody has are never drawn: that nobody chose them says nothing.

    Parameters
    ----------
    dataset : Dataset
    per_positive : int
        Pairs for each interaction. For a user who has nearly everything there may be fewer.
    rows : ndarray of shape (n,), int64, optional
        The interactions to draw for; all of them by default.
    strategy : {"uniform", "popularity", "in_batch"}
        All items alike; in proportion to ``count ** popularity_exponent``, so that popular items are no better for
        being popular (0.75: Mikolov et al. 2013); or the items of other interactions of the same 2,048, which comes
        close to popularity with exponent 1.
    popularity_exponent : float
    seed : int
        The same seed draws the same pairs.

    Examples
    --------
    >>> from recsys.data import interactions_from_tuples
    >>> data = Dataset.from_interactions(interactions_from_tuples([("anna", "tea", 1.0), ("bo", "milk", 1.0)]))
    >>> drawn = sample_negatives(data, 1)
    >>> data.items.ids(drawn.item)
    ['milk', 'tea']
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy is one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if per_positive < 1 or not 0 <= popularity_exponent <= 2:
        raise ConfigError("per_positive is at least 1, popularity_exponent between 0 and 2")
    data, n_items = dataset.interactions, len(dataset.items)
    rows = np.arange(len(data)) if rows is None else rows
    draw = _Draws(data.item[rows], np.bincount(data.item, minlength=n_items), strategy, popularity_exponent, seed)
    positive = np.repeat(np.arange(len(rows)), per_positive)
    user = data.user[rows][positive]
    known = np.sort(data.user.astype(np.int64) * n_items + data.item)
    item = np.full(len(positive), -1, np.int32)
    waiting = np.arange(len(positive))
    for _ in range(_ROUNDS):
        drawn = draw.items(positive[waiting])
        keys = user[waiting].astype(np.int64) * n_items + drawn
        fresh = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] != keys
        item[waiting[fresh]] = drawn[fresh]
        waiting = waiting[~fresh]
    there = item >= 0
    return SampledPairs(positive[there], user[there], item[there])


class _Draws:
    """Random items by a strategy, those of the positives being given."""

    def __init__(
        self, positives: NDArray[np.int32], counts: NDArray[np.integer], strategy: str, exponent: float, seed: int
    ) -> None:
        self.positives = positives
        self.strategy = strategy
        self.drawable = np.flatnonzero(counts).astype(np.int32)
        q = counts[self.drawable].astype(np.float64) ** (exponent if strategy == "popularity" else 0)
        self.bounds = np.cumsum(q / q.sum())
        self.rng = np.random.default_rng(seed)

    def items(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        """Draw one for each place among the positives."""
        if self.strategy == "in_batch":
            first = places // _BATCH * _BATCH
            sizes = np.minimum(_BATCH, len(self.positives) - first)
            nearby: NDArray[np.int32] = self.positives[first + self.rng.integers(0, sizes)]
            return nearby
        slots = np.searchsorted(self.bounds, self.rng.random(len(places)), side="right")
        return self.drawable[np.minimum(slots, len(self.drawable) - 1)]
