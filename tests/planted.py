"""Versions in which everything is one constant, so that an answer tells of each of its parts where it comes from."""

import numpy as np

from recsys.artifacts import Histories, describe, pack
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.weights import WeightRule

ITEMS, USERS, K = 6, 4, 5


def put(stores, constant):
    """Store a version in which everything is its constant."""
    rows = np.arange(1, ITEMS + 1, dtype=np.float32)
    users = IdMap.from_ids(f"u{n}" for n in range(USERS))
    items = IdMap.from_ids(f"{constant}-{n}" for n in range(ITEMS))
    factors = Factors(
        np.full((USERS, 1), constant, np.float32), constant * rows[:, None], np.full(ITEMS, constant, np.float32)
    )
    seen = np.full(USERS, constant % ITEMS, np.int32)
    histories = Histories(np.arange(USERS + 1), seen, np.ones(USERS, np.float32))
    arrays = pack(factors, users, items, histories, constant * rows)
    config = {"weights": vars(WeightRule())}
    manifest = describe("shop", "als", arrays, config=config, data={"events_through": 0}, metrics={})
    stores.artifacts.put(manifest, arrays)
    return manifest.version


def lists(constant):
    """What a version says to a user, and to everybody."""
    rows = range(ITEMS, 0, -1)
    own = [
        (f"{constant}-{n - 1}", float(constant * constant * n + constant)) for n in rows if n - 1 != constant % ITEMS
    ]
    return {"user": own[:K], "popular": [(f"{constant}-{n - 1}", float(constant * n)) for n in rows][:K]}
