"""A holdout that is the same every night: what belongs to it follows from the ids alone."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Split
from recsys.data.interactions import Interactions
from recsys.data.splits import _split
from recsys.errors import ConfigError
from recsys.ids import IdMap

Hashes = NDArray[np.uint64]


def frozen_split(interactions: Interactions, test_fraction: float = 0.2) -> Split:
    """Hold out pairs of user and item by a hash of their ids: yesterday's held-out events are held out today.

    All events of a pair fall on one side. New events never move old ones, so a model trained on the training part of
    any night has learned no test event of any other, and two nights are compared on the same events. A larger share
    holds out what a smaller one does, and more.

    It says whether a model became worse, not how well it predicts the future, which it has partly seen: that is
    `split_by_time`.

    Parameters
    ----------
    interactions : Interactions
    test_fraction : float
        Probability of a pair to be held out, between 0 and 1.

    Raises
    ------
    ConfigError
        If the share is not between 0 and 1.
    InsufficientDataError
        If all events fall on one side.

    Examples
    --------
    >>> from recsys.data import frozen_split, interactions_from_tuples
    >>> rows = [(f"u{n % 9}", f"i{n % 7}", 1.0) for n in range(63)]
    >>> today, tomorrow = (frozen_split(interactions_from_tuples(rows[:n])).test for n in (50, 63))
    >>> one, other = (set(zip(t.users.ids(t.user), t.items.ids(t.item))) for t in (today, tomorrow))
    >>> len(one), len(other), one <= other
    (8, 12, True)
    """
    if not 0 < test_fraction < 1:
        raise ConfigError(f"test_fraction is {test_fraction}. Give a number between 0 and 1, such as 0.2")
    pair = mixed(hashed(interactions.users)[interactions.user], hashed(interactions.items)[interactions.item])
    held_out = pair < np.uint64(test_fraction * 2.0**64)
    return _split(interactions, held_out, f"frozen {test_fraction:g}", None)


def hashed(ids: IdMap) -> Hashes:
    """64 bits of each id's BLAKE2: no setting of Python or of the machine changes them."""
    digests = (hashlib.blake2b(one.encode(), digest_size=8).digest() for one in ids.ids())
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def mixed(first: Hashes, second: Hashes) -> Hashes:
    """Return 64 bits of each pair (the finalizer of SplitMix64; Steele, Lea and Flood 2014)."""
    bits = first * np.uint64(0x9E3779B97F4A7C15) + second
    bits = (bits ^ bits >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ bits >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return bits ^ bits >> np.uint64(31)
