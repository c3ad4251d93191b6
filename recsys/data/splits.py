"""Cut interactions into a part to train on and a part to be predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Split
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError, InsufficientDataError


def split_by_time(
    interactions: Interactions, *, test_fraction: float | None = None, cutoff: int | None = None
) -> Split:
    """Split at one moment for everybody: train on the past, predict the future. The primary protocol.

    Parameters
    ----------
    interactions : Interactions
        With timestamps.
    test_fraction : float, optional
        Share of the events, the latest ones, to be predicted. The cut falls between two seconds and never within one,
        so the share can come out larger.
    cutoff : int, optional
        UTC seconds; events at or after it are to be predicted. Give either this or `test_fraction`.

    Returns
    -------
    Split
        Both parts compacted: a user or item without an event before the cutoff is unknown to the training part.

    Raises
    ------
    ConfigError
        If not exactly one of the two is given, or the fraction is not between 0 and 1.
    DataError
        If there are no timestamps.
    InsufficientDataError
        If all events fall on one side.
    """
    timestamp = _timestamps(interactions)
    if test_fraction is not None and cutoff is None:
        name, start = f"time {test_fraction:g}", _quantile(timestamp, test_fraction)
    elif cutoff is not None and test_fraction is None:
        name, start = f"time from {np.datetime64(cutoff, 's')}Z", cutoff
    else:
        raise ConfigError("a split in time needs either test_fraction or cutoff. Give exactly one")
    return _split(interactions, timestamp >= start, name, start)


def rolling_splits(interactions: Interactions, n: int, *, test_fraction: float) -> tuple[Split, ...]:
    """Split at several moments, one after the other, to see whether a result holds from one to the next.

    The latest ``n * test_fraction`` of the events are cut into n windows of about equally many events. Each window is
    predicted from everything before it, the windows of earlier splits included; nothing after it is seen (Tashman
    2000, Out-of-sample Tests of Forecasting Accuracy).

    Parameters
    ----------
    interactions : Interactions
        With timestamps.
    n : int
        Number of splits.
    test_fraction : float
        Share of all events in each test part; as in `split_by_time`, no second is torn apart.

    Returns
    -------
    tuple of Split
        In the order of time.

    Raises
    ------
    ConfigError
        If `n` is not positive, or n test parts leave nothing to train on.
    DataError
        If there are no timestamps.
    InsufficientDataError
        If two windows begin in the same second, or a part is empty.
    """
    timestamp = _timestamps(interactions)
    if n < 1 or not 0 < test_fraction * n < 1:
        raise ConfigError(
            f"{n} windows of {test_fraction:g} of the events leave nothing to train on. Give 1 window or more, which "
            "together hold less than all"
        )
    starts = [_quantile(timestamp, (n - number) * test_fraction) for number in range(n)]
    if len(set(starts)) < n:
        raise InsufficientDataError(
            f"{n} windows of {test_fraction:g} of the events begin in only {len(set(starts))} different seconds",
            remedy="Ask for fewer windows or larger ones",
        )
    splits = []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True), 1):
        seen = interactions if end is None else interactions.select(timestamp < end)
        split = split_by_time(seen, cutoff=start)
        splits.append(replace(split, name=f"time {test_fraction:g}, {number} of {n}"))
    return tuple(splits)


def leave_last(interactions: Interactions, n: int = 1) -> Split:
    """Split off each user's last events. It leaks; `split_by_time` is the honest protocol.

    Without timestamps the last events are those that stand last, in the order in which they arrived; the name of the
    split then says ``by position``.

    One user's training events may be later than another's test events, so the model is trained on a future that
    a model in service cannot know. It stands here to reproduce papers (Ji et al. 2023, A Critical Study on Data
    Leakage in Recommender System Offline Evaluation).

    Parameters
    ----------
    interactions : Interactions
    n : int
        Events per user to be predicted, the last by timestamp, if there is one, then by position. Users with `n`
        events or fewer stay wholly in the training part.

    Raises
    ------
    ConfigError
        If `n` is not positive.
    InsufficientDataError
        If no user has more than `n` events.
    """
    if n < 1:
        raise ConfigError(f"n is {n}. Give 1 or more events per user to be predicted")
    timestamp, name = interactions.timestamp, f"leave-last {n}"
    if timestamp is None:
        timestamp, name = np.zeros(len(interactions), np.int64), f"{name} by position"
    order = np.lexsort((timestamp, interactions.user))
    counts = np.bincount(interactions.user, minlength=len(interactions.users))
    ends = np.cumsum(counts)[interactions.user[order]]
    is_last = np.zeros(len(interactions), bool)
    is_last[order] = ends - np.arange(len(interactions)) <= n
    return _split(interactions, is_last & (counts > n)[interactions.user], name, None)


def given_split(train: Interactions, test: Interactions) -> Split:
    """Pair two parts that somebody else has split; `InsufficientDataError` if one is empty."""
    _check_parts(train, test, "given", "Check the two inputs")
    return Split(train, test, "given")


def _timestamps(interactions: Interactions) -> NDArray[np.int64]:
    if interactions.timestamp is None:
        raise DataError(
            "these interactions have no timestamps to split by",
            remedy="Read them with their time column, --timestamp-column or columns={'timestamp': ...}, or leave out "
            "each user's last events: --split leave-last or leave_last",
        )
    return interactions.timestamp


def _quantile(timestamp: NDArray[np.int64], test_fraction: float) -> int:
    if not 0 < test_fraction < 1:
        raise ConfigError(f"test_fraction is {test_fraction}. Give a number between 0 and 1, such as 0.2")
    n = len(timestamp)
    if not n:
        return 0
    position = n - max(1, round(n * test_fraction))
    return int(np.partition(timestamp, position)[position])


def _split(interactions: Interactions, in_test: NDArray[np.bool_], name: str, cutoff: int | None) -> Split:
    train, test = interactions.select(~in_test).compact(), interactions.select(in_test).compact()
    _check_parts(train, test, name, "Cut elsewhere, or bring more data")
    return Split(train, test, name, cutoff)


def _check_parts(train: Interactions, test: Interactions, name: str, remedy: str) -> None:
    for part, events in (("training", train), ("test", test)):
        if not len(events):
            raise InsufficientDataError(f"the {part} part of the split '{name}' has no events", remedy=remedy)
