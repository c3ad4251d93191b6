"""What a candidate is compared with, where it is a stored version: that model, or its settings trained anew."""

from __future__ import annotations

from batch_jobs.config import JobConfig, load
from batch_jobs.console import Screen
from batch_jobs.in_service import unless_seen
from batch_jobs.stores import Stores
from batch_jobs.train import fit, make_model
from recsys.artifacts import StoredArrays
from recsys.data import Split
from recsys.errors import ConfigError, NoModelError
from recsys.models import ItemKNN, Popularity, Recommender

CURRENT = "current"
IN_SERVICE = "in service"
BASELINES = (Popularity.kind, ItemKNN.kind)


def check_against(stores: Stores, config: JobConfig) -> None:
    """Refuse to compare with what is not there, before anything is trained."""
    against = config.evaluate.against
    if against == config.model.get("kind", "als"):
        raise ConfigError(f"--against {against} is the candidate itself. Compare with another")
    if against is not None and against not in BASELINES:
        _stored(stores, config.namespace, against)


def reference(stores: Stores, config: JobConfig, split: Split, screen: Screen) -> dict[str, Recommender]:
    """Return the stored model to compare with by its name in tables; nothing where a baseline is.

    One that may have learned from test events would be judged on what it knows. In its place stands a model with its
    settings, trained on the training part like the candidate, and its name says so.
    """
    against = config.evaluate.against
    if against is None or against in BASELINES:
        return {}
    stored = _stored(stores, config.namespace, against)
    name = IN_SERVICE if against == CURRENT else stored.manifest.version
    published = unless_seen(stored, split)
    if published is not None:
        return {name: published}
    screen.note(f"{stored.manifest.version} may have learned from test events: its settings are trained anew")
    told = {part: stored.manifest.config[part] for part in ("model", "clean", "features")}
    settings = load(None, {"namespace": config.namespace, **told})
    return {f"{name}, retrained": fit(stores, make_model(settings.model), split.train, settings, screen).model}


def _stored(stores: Stores, namespace: str, against: str) -> StoredArrays:
    if against != CURRENT:
        return stores.artifacts.open(namespace, against)
    pointer = stores.registry.current(namespace)
    if pointer is None:
        raise NoModelError(f"namespace {namespace!r} has no model in service to compare with")
    return stores.artifacts.open(namespace, pointer.version, manifest_sha256=pointer.manifest_sha256)
