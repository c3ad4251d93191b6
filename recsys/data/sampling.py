"""Pairs nobody made: unobserved items drawn as negatives, so that a model of ratings can learn from purchases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError

STRATEGIES = ("uniform", "popularity", "in_batch")
_TRIES = 20


def sample_negatives(
    dataset: Dataset,
    per_positive: int,
    *,
    strategy: str = "uniform",
    exponent: float = 0.75,
    seed: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Draw items the user of each interaction does not have, to be learned as its negatives.

    An item is drawn in proportion to 1 (uniform), to ``count^exponent`` of its users (popularity; Mikolov et al. 2013,
    Distributed representations of words and phrases, use 3/4), or to its share of the interactions (in_batch: the item
    of another interaction, as the negatives of a batch are). Items without an interaction are never drawn: that nobody
    took them says nothing. A user's own items, also those of the history, are drawn again, twenty times at most; users
    who have nearly everything therefore get fewer negatives.

    Parameters
    ----------
    dataset : Dataset
    per_positive : int
        Draws for each interaction.
    strategy : {"uniform", "popularity", "in_batch"}
    exponent : float
        Of popularity: 0 is uniform, 1 is proportional.
    seed : int
        The same seed draws the same pairs.
    rows : ndarray of int64, optional
        The interactions to draw for; all of them by default.

    Returns
    -------
    row : ndarray of shape (n,), int64
        The interaction each negative was drawn for, in their order: its user and context are those of the negative.
    item : ndarray of shape (n,), int32

    Raises
    ------
    ConfigError
        If a setting cannot be used.

    Examples
    --------
    >>> from recsys.data import interactions_from_tuples
    >>> data = Dataset.from_interactions(interactions_from_tuples([("anna", "tea", 1.0), ("bo", "cola", 1.0)]))
    >>> row, item = sample_negatives(data, 1)
    >>> data.users.ids(data.interactions.user[row]), data.items.ids(item)
    (['anna', 'bo'], ['cola', 'tea'])
    """
    if per_positive < 1:
        raise ConfigError(f"per_positive is {per_positive}. Give 1 or more")
    chances = np.cumsum(_chances(dataset, strategy, exponent))
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(len(dataset.interactions)) if rows is None else rows, per_positive)
    user = dataset.interactions.user[row]
    item = np.full(len(user), -1, np.int32)
    seen = dataset.seen_items
    n_items = len(dataset.items)
    keys = np.repeat(np.arange(seen.shape[0], dtype=np.int64), np.diff(seen.indptr)) * n_items + seen.indices
    missing = np.arange(len(user))
    for _ in range(_TRIES):
        drawn = np.searchsorted(chances, rng.random(len(missing)) * chances[-1], side="right")
        wanted = user[missing].astype(np.int64) * n_items + drawn
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        free = keys[place] != wanted
        item[missing[free]] = drawn[free]
        missing = missing[~free]
        if not len(missing):
            break
    found = item >= 0
    return row[found], item[found]


def balanced_weights(labels: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Weights with which positives and negatives count alike in sum, 1 on average: ``n / (2 n_of_the_label)``.

    With ten negatives for each purchase a model is right ten times in eleven by refusing everything; weights undo that.

    Parameters
    ----------
    labels : ndarray of shape (n,), bool

    Returns
    -------
    weights : ndarray of shape (n,), float32
        All 1 where only one label occurs.
    """
    counts = np.bincount(labels.astype(np.int64), minlength=2)
    if not counts.all():
        return np.ones(len(labels), np.float32)
    return (len(labels) / (2 * counts))[labels.astype(np.int64)].astype(np.float32)


def _chances(dataset: Dataset, strategy: str, exponent: float) -> NDArray[np.float64]:
    counts = dataset.item_counts.astype(np.float64)
    if strategy == "uniform":
        return (counts > 0).astype(np.float64)
    if strategy == "in_batch":
        return np.bincount(dataset.interactions.item, minlength=len(counts)).astype(np.float64)
    if strategy != "popularity":
        raise ConfigError(f"strategy is {strategy!r}. Choose one of {', '.join(STRATEGIES)}")
    if not 0 <= exponent <= 10:
        raise ConfigError(f"exponent is {exponent}. Give a number from 0 to 10")
    return np.where(counts > 0, counts**exponent, 0.0)
