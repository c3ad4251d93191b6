"""From the event log to a stored artefact."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from batch_jobs.config import JobConfig, call
from batch_jobs.console import Screen
from batch_jobs.runs import recording
from batch_jobs.stores import Stores
from recsys.artifacts import ArtifactManifest, Histories, describe, pack
from recsys.artifacts.dated_counts import DatedCounts
from recsys.data import Cleaned, Dataset, DataWarning, Interactions, clean, interactions_from_tuples, to_interactions
from recsys.encoding import field_names
from recsys.errors import ConfigError, ConflictError, InsufficientDataError
from recsys.ids import IdMap
from recsys.models import (
    BPR,
    BiasedMF,
    FactorizationMachine,
    ImplicitALS,
    ItemKNN,
    Popularity,
    Recommender,
    ServableRecommender,
)
from recsys.serving.online.erasures import newest

MODELS: dict[str, type[Recommender]] = {
    model.kind: model for model in (ImplicitALS, BPR, BiasedMF, FactorizationMachine, Popularity, ItemKNN)
}
SERVABLE = [kind for kind, model in MODELS.items() if hasattr(model, "export")]


@dataclass(frozen=True, eq=False)
class Logged:
    """The event log as training sees it: raw interactions, how far they go, and a digest of the files they are from.

    It is without what users did before their erasure, up to the erasure of the number `erasures`.
    """

    interactions: Interactions
    events_through: int
    files: str
    erasures: int = 0


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model and the cleaning before it."""

    model: Recommender
    cleaned: Cleaned


def read_log(stores: Stores, config: JobConfig, screen: Screen) -> Logged:
    """Read all settled events of a namespace; what of them is left unused is said on the screen.

    Where some events have a time and others have none, all are taken as having none: no split and no order by time
    could do justice to both.
    """
    with screen.bar("reading the event log"):
        erased = stores.online.erasures(config.namespace)  # first: an erasure that comes later is not known
        read = stores.events.read(config.namespace, settle_s=config.ingest.settle_s, erasures=erased)
        events, total = read.events, len(read.events)
        untimed = events["ts"].null_count
        if 0 < untimed < total:
            at = events.schema.get_field_index("ts")
            events = events.set_column(at, events.schema.field(at), pa.nulls(total, events.schema.field(at).type))
        logged = Logged(to_interactions(events), read.events_through, read.files, newest(erased))
    if read.repeated:
        screen.note(f"event log: {read.repeated:,} events left out, their event_id had come before")
    if read.unsettled:
        screen.note(f"event log: {read.unsettled:,} of the newest events are left for the next run (settle_s)")
    if 0 < untimed < total:
        screen.note(f"{untimed:,} of {total:,} events have no time; the log is treated as without times")
    return logged


def make_model(settings: Mapping[str, Any]) -> Recommender:
    """Construct the model a ``[model]`` table describes; `ConfigError` for an unknown kind or setting."""
    parameters = dict(settings)
    kind = parameters.pop("kind", "als")
    if not isinstance(kind, str) or kind not in MODELS:
        raise ConfigError(f"[model] kind = {kind!r} is not known; choose one of {', '.join(MODELS)}")
    return call(MODELS[kind], parameters, "model")


def check_settings(config: JobConfig) -> None:
    """Refuse settings of model, features and cleaning that cannot be used, before anything is read or stored."""
    make_model(config.model)
    fields = config.features
    asked = [name for side in (fields.user, fields.item, fields.context) for name in field_names(side)]
    if asked and config.model.get("kind", "als") != FactorizationMachine.kind:
        raise ConfigError(f"[features] {', '.join(asked)}: only [model] kind = 'fm' learns fields")
    with suppress(InsufficientDataError):  # one event: enough to try the cleaning on, not to survive it
        call(clean, config.clean, "clean", interactions_from_tuples([("user", "item", 1.0)]))


def make_servable(settings: Mapping[str, Any]) -> Recommender:
    """Construct a model that can be published; `ConfigError` also for a baseline."""
    model = make_model(settings)
    if model.kind not in SERVABLE:
        raise ConfigError(f"{model.kind} cannot be published; it is a baseline. Choose one of {', '.join(SERVABLE)}")
    return model


def fit(stores: Stores, model: Recommender, raw: Interactions, config: JobConfig, screen: Screen) -> Fit:
    """Clean, add features and fit; what cleaning dropped is said on the screen."""
    cleaned = call(clean, config.clean, "clean", raw)
    for step in cleaned.report:
        if step.events:
            screen.note(
                f"cleaning, {step.name}: {step.events:,} events, {step.users:,} users, {step.items:,} items dropped"
            )
    dataset = with_features(stores, Dataset.from_interactions(cleaned.interactions, raw), config, screen)
    with screen.bar(f"training {model.kind}") as step_bar:
        model.fit(dataset, progress=step_bar)
    return Fit(model, cleaned)


def with_features(stores: Stores, dataset: Dataset, config: JobConfig, screen: Screen) -> Dataset:
    """Add the fields of ``[features]``, and with them the users and items that have nothing else."""
    fields, namespace = config.features, config.namespace
    if not (fields.user or fields.item or fields.context):
        return dataset
    with warnings.catch_warnings(record=True, action="always", category=DataWarning) as told:
        described = dataset.with_features(
            users=stores.online.all_user_profiles(namespace) if fields.user else None,
            user_fields=fields.user,
            items=stores.online.all_items(namespace) if fields.item else None,
            item_fields=fields.item,
            context_fields=fields.context,
        )
    for one in told:
        screen.note(str(one.message))
    return described


def store(
    stores: Stores,
    config: JobConfig,
    fitted: Fit,
    logged: Logged,
    metrics: Mapping[str, float],
    judged: Mapping[str, str | None],
) -> ArtifactManifest:
    """Pack a fitted model, one of `make_servable`, and store it as a new version.

    `judged` goes into the data of the manifest: by which split (``judged_by``), and, where another version was judged
    in its place, which one (``twin``) and which is the best so far (``best``).
    """
    model: Any = fitted.model
    servable: ServableRecommender = model
    factors, dataset = servable.export(), servable.dataset
    rule = fitted.cleaned.rule
    histories = histories_of(dataset)
    dated = dated_counts_of(logged.interactions, dataset.items)
    arrays = pack(factors, dataset.users, dataset.items, histories, dataset.item_counts, dated)
    settings = {
        "model": {"kind": model.kind, **{k: v for k, v in config.model.items() if k != "kind"}},
        "clean": dict(config.clean),
        "features": {side: list(names) for side, names in msgspec.structs.asdict(config.features).items()},
        "weights": asdict(rule),
        **factors.settings,
    }
    data = {
        "fingerprint": dataset.interactions.fingerprint(),
        "users": len(dataset.users),
        "items": len(dataset.items),
        "interactions": len(dataset.interactions),
        "window": dataset.interactions.window,
        "events_through": logged.events_through,
        "log_files": logged.files,
        "erasures": logged.erasures,
        **judged,
    }
    manifest = describe(config.namespace, model.kind, arrays, config=settings, data=data, metrics=metrics)
    try:
        stores.artifacts.put(manifest, arrays)
    except ConflictError:  # stored within this second by a run whose answer was lost; opening it compares every byte
        stores.artifacts.open(config.namespace, manifest.version, manifest_sha256=manifest.sha256)
    return manifest


def train(stores: Stores, config: JobConfig, screen: Screen) -> dict[str, Any]:
    """Fit on the whole event log and store the artefact; it is not in service before `publish`."""
    with recording(stores.runs, "train", config, screen) as run:
        model = make_servable(config.model)
        run.trains(model)
        check_settings(config)
        logged = read_log(stores, config, screen)
        run.reads(logged.interactions)
        fitted = fit(stores, model, logged.interactions, config, screen)
        manifest = store(stores, config, fitted, logged, {}, {"judged_by": None})
        run.version = manifest.version
    return described(manifest)


def described(manifest: ArtifactManifest) -> dict[str, Any]:
    """Return what a summary says of a stored version."""
    facts = {name: manifest.data[name] for name in ("users", "items", "interactions")}
    return {"namespace": manifest.namespace, "version": manifest.version, "kind": manifest.kind, **facts}


def histories_of(dataset: Dataset) -> Histories:
    """Return the raw events behind a dataset by user, oldest first: the server leaves them out and folds them in."""
    raw = dataset.interactions if dataset.history is None else dataset.history
    time = np.zeros(len(raw), np.int64) if raw.timestamp is None else raw.timestamp
    order = np.lexsort((time, raw.user))
    counts = np.bincount(raw.user, minlength=len(dataset.users))
    return Histories(np.append(0, np.cumsum(counts)).astype(np.int64), raw.item[order], raw.weight[order])


def dated_counts_of(events: Interactions, items: IdMap) -> DatedCounts | None:
    """Return when the items of a model came up in all events, of anybody; None where events have no times."""
    if events.timestamp is None:
        return None
    rows = items.encode(events.items.ids())[events.item]
    known = rows >= 0
    return DatedCounts.of(rows[known], events.timestamp[known], time.time())
