"""The stored models that stand beside a candidate: the one in service, and a version asked for."""

from __future__ import annotations

from collections.abc import Iterable

from batch_jobs.config import JobConfig, load
from batch_jobs.console import Screen
from batch_jobs.in_service import has_seen_nothing_of, model_in_service, open_model
from batch_jobs.stores import Stores
from batch_jobs.train import fit, make_model
from recsys.artifacts import ArtifactManifest
from recsys.data import Split
from recsys.errors import ConfigError, NoModelError
from recsys.models import ItemKNN, Popularity, Recommender

CURRENT = "current"
IN_SERVICE = "in service"
RETRAINED = ", retrained"
BASELINES = (Popularity.kind, ItemKNN.kind)


def check_against(stores: Stores, config: JobConfig) -> None:
    """Refuse to compare with what is not there, before anything is trained."""
    against = config.evaluate.against
    if against == config.model.get("kind", "als"):
        raise ConfigError(f"--against {against} is the candidate itself. Compare with another")
    if against == CURRENT and stores.registry.current(config.namespace) is None:
        raise NoModelError(f"namespace {config.namespace!r} has no model in service to compare with")
    if against not in (None, CURRENT, *BASELINES):
        _manifest(stores, config.namespace, against)


def name_of(against: str, names: Iterable[str]) -> str:
    """Return which of the names in a table is meant by --against; the version in service goes by that name."""
    by_name = {name.removesuffix(RETRAINED): name for name in names}
    return by_name.get(against) or by_name[IN_SERVICE]


def stored_models(stores: Stores, config: JobConfig, split: Split, screen: Screen) -> dict[str, Recommender]:
    """Return the model in service and the version of --against, by their names in tables.

    One that may have learned from test events would be judged on what it knows. Where a comparison is asked for, a
    model with its settings, trained on the training part like the candidate, stands for it, and its name says so;
    without one it is left out.
    """
    models: dict[str, Recommender] = {}
    against, pointer = config.evaluate.against, stores.registry.current(config.namespace)
    current = model_in_service(stores, config.namespace, split)
    if current is not None:
        models[IN_SERVICE] = current
    elif against is not None and pointer is not None:
        models[IN_SERVICE + RETRAINED] = _retrained(stores, config, pointer.version, split, screen)
    if against in (None, CURRENT, *BASELINES) or (pointer is not None and against == pointer.version):
        return models
    if has_seen_nothing_of(_manifest(stores, config.namespace, against), split):
        models[against] = open_model(stores, config.namespace, against)
    else:
        models[against + RETRAINED] = _retrained(stores, config, against, split, screen)
    return models


def _retrained(stores: Stores, config: JobConfig, version: str, split: Split, screen: Screen) -> Recommender:
    screen.note(f"version {version} may have learned from test events: its settings are trained anew without them")
    stored = _manifest(stores, config.namespace, version).config
    settings = load(
        None, {"namespace": config.namespace, **{name: stored[name] for name in ("model", "clean", "features")}}
    )
    return fit(stores, make_model(settings.model), split.train, settings, screen).model


def _manifest(stores: Stores, namespace: str, version: str) -> ArtifactManifest:
    return stores.artifacts.open(namespace, version, names=()).manifest
