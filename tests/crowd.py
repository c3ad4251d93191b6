"""A version in service whose factors and histories are random: many users without a training."""

import numpy as np

from recsys.artifacts import Histories, LocalArtifactStore, LocalModelRegistry, describe, pack
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.serving import UserState
from recsys.weights import WeightRule


def publish(artifacts, registry, online=None, *, users, items, width=8, events=6, seed=0, levels=None, cold=0.1):
    """Publish to namespace "shop"; return its manifest.

    With `levels`, coordinates and biases are whole numbers below it, so that scores tie. The share `cold` of the users
    has no vector, and histories repeat items.
    """
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        drawn = rng.standard_normal(shape) if levels is None else rng.integers(-levels, levels + 1, shape)
        return drawn.astype(np.float32)

    vectors = numbers(users, width)
    vectors[rng.random(users) < cold] = 0
    lengths = rng.integers(0, 2 * events + 1, users)
    history = rng.integers(0, items, lengths.sum()).astype(np.int32)
    histories = Histories(np.append(0, np.cumsum(lengths)).astype(np.int64), history, np.ones(len(history), np.float32))
    ids = [IdMap.from_ids(f"{prefix}{n}" for n in range(count)) for prefix, count in (("u", users), ("é", items))]
    counts = np.bincount(history, minlength=items).astype(np.float32)
    arrays = pack(Factors(vectors, numbers(items, width), numbers(items)), *ids, histories, counts)
    config = {"weights": {**vars(WeightRule())}}
    manifest = describe("shop", "als", arrays, config=config, data={"events_through": 0}, metrics={})
    artifacts.put(manifest, arrays)
    if online is not None:
        states = ((f"u{row}", UserState(vectors[row], *histories.of(row))) for row in range(users))
        online.put_users("shop", manifest.version, states)
    now = registry.current("shop")
    registry.promote(manifest, expected=now.sequence if now else 0)
    return manifest


def publish_under(folder, **settings):
    """The same with the default stores of `recsys` in a folder."""
    return publish(
        LocalArtifactStore(folder / "var/artifacts"), LocalModelRegistry(folder / "var/registry"), **settings
    )
