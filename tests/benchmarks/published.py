"""A catalogue of any size in service: planted factors, users with histories, published as `recsys publish` does it."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from batch_jobs.console import Screen
from batch_jobs.event_log import EventLog
from batch_jobs.log_files import LocalLogFiles
from batch_jobs.publish import publish
from batch_jobs.stores import Stores
from recsys.artifacts import ArtifactManifest, Histories, LocalArtifactStore, LocalModelRegistry, describe, pack
from recsys.artifacts.artifact import ITEM_SIDE
from recsys.events import InteractionEvent
from recsys.factors import Factors, FoldIn
from recsys.ids import IdMap
from recsys.serving import SQLiteOnlineStore
from recsys.weights import WeightRule

NAMESPACE, D, USERS, HISTORY, NEWEST = "shop", 64, 2000, 50, 5


def stores_in(folder: Path) -> Stores:
    """Open embedded stores in a folder."""
    online = SQLiteOnlineStore(folder / "online.db")
    return Stores(
        LocalArtifactStore(folder / "artifacts"),
        LocalModelRegistry(folder / "registry"),
        online,
        EventLog(LocalLogFiles(folder / "log")),
        LocalLogFiles(folder / "runs"),
    )


def environment(folder: Path) -> dict[str, str]:
    """Name them to a server."""
    return {
        "RECSYS_ARTIFACTS": f"file:{folder}/artifacts",
        "RECSYS_REGISTRY": f"file:{folder}/registry",
        "RECSYS_ONLINE": f"sqlite:{folder}/online.db",
        "OPENBLAS_NUM_THREADS": "1",
    }


def factors_of(n_items: int, n_users: int, seed: int) -> Factors:
    """Planted ones in their eigenbasis: norms by a power law of the item's place, coordinates of falling variance."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, D + 1, dtype=np.float32) ** -0.5
    items = rng.standard_normal((n_items, D), np.float32) * spread
    items *= (np.arange(1, n_items + 1, dtype=np.float32) ** -0.3)[:, None]
    eigenvalues = np.einsum("ij,ij->j", items, items)
    users = rng.standard_normal((n_users, D), np.float32) * spread
    return Factors(users, items, np.zeros(n_items, np.float32), FoldIn(eigenvalues, 2.0, 0.1, 0.1, 1.0))


def publish_catalogue(folder: Path, n_items: int, *, seed: int = 0, n_users: int = USERS) -> ArtifactManifest:
    """Store a version, put it into service, and let every other user have something done since."""
    rng, stores = np.random.default_rng(seed), stores_in(folder)
    items, users = (
        IdMap.from_ids(f"{kind}{n}" for n in range(count)) for kind, count in (("i", n_items), ("u", n_users))
    )
    drawn = (n_items * rng.random(n_users * HISTORY) ** 3).astype(np.int32)
    histories = Histories(np.arange(0, len(drawn) + 1, HISTORY), drawn, np.ones(len(drawn), np.float32))
    factors, counts = factors_of(n_items, n_users, seed), np.bincount(drawn, minlength=n_items).astype(np.float32)
    arrays = pack(factors, users, items, histories, counts)
    config = {"weights": asdict(WeightRule()), **factors.settings}
    manifest = describe(
        NAMESPACE, "als", arrays, config=config, data={"events_through": 0, "items": n_items}, metrics={}
    )
    stores.artifacts.put(manifest, arrays)
    publish(stores, NAMESPACE, manifest.version, Screen(as_json=True))
    stores.online.append_events(
        NAMESPACE,
        [
            InteractionEvent(f"e{user}-{n}", f"u{user}", f"i{int(item)}", 1e9 + n)
            for user in range(0, n_users, 2)
            for n, item in enumerate(n_items * rng.random(NEWEST) ** 3)
        ],
    )
    stores.online.close()
    return manifest


def item_side_bytes(manifest: ArtifactManifest) -> int:
    """Size of what a server opens."""
    return sum(one.file_bytes for one in manifest.arrays if one.name in ITEM_SIDE)
