"""What the event log must be before a candidate is trained on it."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from batch_jobs.config import GateConfig
from recsys.artifacts import ArtifactManifest
from recsys.data import Interactions
from recsys.data.holdout import hashed, mixed
from recsys.errors import GateRefusedError


def check_log(events: Interactions, current: ArtifactManifest | None, config: GateConfig) -> None:
    """Refuse events that are older than those of the model in service or too old, and users who are copies."""
    if events.window is not None:
        _check_age(events.window[1], None if current is None else current.data["window"], config)
    copies = copied_users(events)
    if len(copies) > config.max_copies * len(events.users):
        raise GateRefusedError(
            f"{len(copies):,} of {len(events.users):,} users have exactly the events of another user, more than "
            f"{config.max_copies:.0%}. Remove the copies, or raise [gate] max_copies"
        )


def _check_age(newest: int, window: tuple[int, int] | None, config: GateConfig) -> None:
    stale = f"the data are stale: the newest event is of {_moment(newest)}"
    if window is not None and newest < window[1]:
        raise GateRefusedError(
            f"{stale}, the model in service knows one of {_moment(window[1])}. Look for what the event log has lost"
        )
    if config.max_age_days is not None and time.time() - newest > config.max_age_days * 86_400:
        raise GateRefusedError(
            f"{stale}, more than {config.max_age_days:g} days ago. Look at what brings events in, or raise [gate] "
            "max_age_days"
        )


def copied_users(interactions: Interactions, at_least: int = 5) -> NDArray[np.int64]:
    """Rows of the users whose items and times are, all of them, those of another user.

    Without times only the items count. Users of fewer events than `at_least` can be alike by chance and are left out.
    What a copy has of the held-out events of the one it copies, is in the training part under another name.
    """
    counts = np.bincount(interactions.user, minlength=len(interactions.users))
    users = np.flatnonzero(counts >= at_least)
    events = np.argsort(interactions.user, kind="stable")
    events = events[np.isin(interactions.user[events], users)]
    item = hashed(interactions.items)[interactions.item[events]]
    time = np.zeros(len(events), np.uint64)
    if interactions.timestamp is not None:
        time = interactions.timestamp[events].astype(np.uint64)
    # A sum of hashes does not depend on the order of the events.
    totals = np.add.reduceat(mixed(item, time), np.cumsum(counts[users]) - counts[users]) if len(users) else item
    _, alike, how_many = np.unique(totals, return_inverse=True, return_counts=True)
    return users[how_many[alike] > 1]


def _moment(timestamp: int) -> str:
    return f"{np.datetime64(timestamp, 's')}Z"
