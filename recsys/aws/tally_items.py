"""The tally in DynamoDB: one item for all events of a transaction, written with them, so that each counts once.

Counters of items would be written by everybody at once just where something trends; these items nobody else writes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recsys.aws.batches import query
from recsys.aws.client import Client
from recsys.serving.online import POSITIONS_A_SECOND, StoredEvent
from recsys.serving.online.tally import Tally, counted

_SHARDS = 4  # partitions: DynamoDB gives one 1,000 writes a second, and a transaction costs two
_SETTLED_S = 30  # an event is stored, or refused, long before its position is so old, whoever's clock drew it


def put_tally(table: str, namespace: str, stored: Sequence[StoredEvent], expires_s: int) -> dict[str, Any]:
    """Return the action that tells of events: item, time and position of each, at the last of their positions."""
    last = max(one.position for one in stored)
    told = [[one.event.item, one.event.timestamp_s, one.position] for one in stored]
    item = {
        "pk": {"S": f"N#{namespace}#{last % _SHARDS}"},
        "sk": {"S": f"{last:020d}#{os.urandom(4).hex()}"},
        "events": {"S": json.dumps(told, ensure_ascii=False, separators=(",", ":"))},
        "expires": {"N": str(expires_s)},
    }
    return {"Put": {"TableName": table, "Item": item}}


def read_tally(client: Client, table: str, namespace: str, after: int) -> Tally:
    """Count the events beyond a position; those of the last seconds are not settled."""

    def told(shard: int) -> list[list[Any]]:
        bounds = {":pk": f"N#{namespace}#{shard}", ":after": f"{after:020d}"}
        found = query(client, table, "pk = :pk AND sk > :after", bounds)
        return [one for item in found for one in json.loads(item["events"]["S"])]

    horizon = max(after, int((time.time() - _SETTLED_S) * POSITIONS_A_SECOND))
    with ThreadPoolExecutor(_SHARDS) as pool:
        events = [one for some in pool.map(told, range(_SHARDS)) for one in some if one[2] > after]
    parts = [[(item, at_s) for item, at_s, position in events if (position > horizon) == new] for new in (False, True)]
    return Tally(horizon, counted(parts[0]), counted(parts[1]))
