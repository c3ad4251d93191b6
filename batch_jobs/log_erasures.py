"""What of the event log is older than an erasure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.serving.online.erasures import Erasure, digest_of


def without_erased(
    events: pa.Table, namespace: str, name: str, last_position: int | None, erasures: Sequence[Erasure]
) -> pa.Table:
    """Leave out what erased users did before their erasure; the same table if that is nothing.

    An event is older by its own place or time, or by that of its file: `last_position` if the file was copied from an
    online store, else its day. So what arrives in a file on the day of the erasure counts as before it.
    """
    by_digest = {one.digest: one for one in erasures}
    names = pc.unique(events["user_id"]).to_pylist() if erasures else []
    found = {user: by_digest[digest] for user in names if (digest := digest_of(namespace, user)) in by_digest}
    if not found:
        return events
    rows = np.flatnonzero(pc.is_in(events["user_id"], pa.array(list(found))).to_numpy())
    theirs = events.take(pa.array(rows))
    times = [None if ts is None else ts / 1e6 for ts in theirs["ts"].cast(pa.int64()).to_pylist()]
    keep = np.ones(len(events), bool)
    has_positions = "position" in theirs.column_names
    positions = theirs["position"].to_pylist() if has_positions else [None] * len(theirs)
    for row, user, position, ts in zip(rows, theirs["user_id"].to_pylist(), positions, times, strict=True):
        erasure = found[user]
        is_older = _came_before(name, last_position, position, erasure) or erasure.covers(position, ts)
        keep[row] = not is_older
    return events if keep.all() else events.filter(pa.array(keep))


def _came_before(name: str, last_position: int | None, position: int | None, erasure: Erasure) -> bool:
    if last_position is not None:
        # One that goes on beyond the erasure was read after it, when the store had no older events any more.
        return last_position <= erasure.position
    day = name.partition("/")[0].removeprefix("dt=")
    return position is None and day <= f"{datetime.fromtimestamp(erasure.at_s, UTC):%Y-%m-%d}"
