"""How a log is cut: training, test and, from the training part, validation. What searches sees no test event."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch_jobs.config import JobConfig, SplitConfig
from recsys.data import Interactions, Split, given_split, leave_last, split_by_time, to_interactions
from recsys.data.sources import Rejected, read_events
from recsys.data.sources.lines import first_bytes
from recsys.data.sources.movielens import find_ratings
from recsys.ids import IdMap


def check_test_file(config: JobConfig) -> None:
    """Refuse a test file that cannot be read before anything is read or stored."""
    if config.split.test is not None:
        first_bytes(find_ratings(config.split.test))


def split_of(raw: Interactions, config: JobConfig) -> Split:
    """Cut the log as the settings say."""
    split = config.split
    kind = split.kind or ("given" if split.test else "time" if raw.timestamp is not None else "leave-last")
    if kind == "given":
        return given_split(raw, _read_test(split, config))
    if kind == "time":
        return split_by_time(raw, test_fraction=split.test_fraction)
    return leave_last(raw, split.n)


def training_part(raw: Interactions, config: JobConfig) -> Interactions:
    """Return what the search may know of: a test file is not opened, and no other test event is kept.

    Ids are numbered by the training events alone. In the log they may be known first by a test event, and from their
    order come the first random vectors.
    """
    train = raw if config.split.test is not None else split_of(raw, config).train
    users, user = _by_first_use(len(train.users), train.user)
    items, item = _by_first_use(len(train.items), train.item)
    renumbered = replace(
        train,
        users=IdMap.from_ids(train.users.ids(users)),
        items=IdMap.from_ids(train.items.ids(items)),
        user=user,
        item=item,
    )
    if train.context is None:
        return renumbered
    told, context = _by_first_use(len(train.contexts), train.context)
    return replace(renumbered, context=context, contexts=tuple(train.contexts[row] for row in told))


def validation_split(train: Interactions, config: JobConfig) -> Split:
    """Cut the training part as it was cut from the test part.

    Nobody says how a test file was cut off: where there are times, it is taken for the latest events, else for a
    random share of them.
    """
    if config.split.test is None:
        return split_of(train, config)
    share = config.split.test_fraction
    if train.timestamp is not None:
        return split_by_time(train, test_fraction=share)
    held = np.random.default_rng(0).random(len(train)) < share
    return given_split(train.select(~held).compact(), train.select(held).compact())


def sampled(validation: Interactions, users: int) -> Interactions:
    """Return the events of so many users at most, the same in every run."""
    asked = np.random.default_rng(0).permutation(len(validation.users))[:users]
    return validation.select(np.isin(validation.user, asked))


def _read_test(split: SplitConfig, config: JobConfig) -> Interactions:
    rejected = Rejected(config.ingest.on_error)
    return to_interactions(pa.concat_tables(read_events(split.test or "", config.ingest.spec(), rejected)))


def _by_first_use(n: int, rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the rows of n that are used, in order of their first use, and all of them renumbered so; -1 stays."""
    known = rows[rows >= 0]
    used = known[np.sort(np.unique(known, return_index=True)[1])]
    renumbered = np.full(n + 1, -1, np.int32)  # the last is that of -1
    renumbered[used] = np.arange(len(used), dtype=np.int32)
    return used, renumbered[rows]
