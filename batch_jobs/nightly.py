"""The nightly run: ingest, train, evaluate, gate, publish, in this order."""

from __future__ import annotations

from typing import Any

from batch_jobs.config import JobConfig
from batch_jobs.console import Screen
from batch_jobs.evaluate import Judgement, check_test_file, judge, show
from batch_jobs.gate import gate, gate_metric
from batch_jobs.ingest import ingest
from batch_jobs.publish import publish
from batch_jobs.stores import Stores
from batch_jobs.train import Logged, check_settings, described, fit, make_model, make_servable, read_log, store
from recsys.artifacts import ArtifactManifest


def nightly(stores: Stores, config: JobConfig, screen: Screen) -> dict[str, Any]:
    """Take new events in, judge a candidate, and put it into service if it passes the gate.

    With a cut in time or by user, the model that passed is trained once more on all events before it is published:
    what is served knows the newest events, what was judged did not.
    """
    make_servable(config.model)
    gate_metric(config.gate, config.evaluate)
    check_settings(config)
    check_test_file(config)
    taken = ingest(stores, config.namespace, config.ingest, screen)
    logged = read_log(stores, config, screen)
    judgement = judge(stores, config, logged, screen)
    results = show(judgement, screen)
    verdict = gate(
        judgement, _current(stores, config.namespace), config.gate, gate_metric(config.gate, config.evaluate)
    )
    screen.note(f"gate: passed, {verdict}")
    manifest = _store(stores, config, logged, judgement, screen)
    moved = publish(stores, config.namespace, manifest.version, screen)
    return {
        **described(manifest),
        "events_added": taken["events_from_files"],
        "events_from_api": taken["events_from_api"],
        "rows_rejected": taken["rows_rejected"],
        "columns_used": taken["columns_used"],
        "columns_unused": taken["columns_unused"],
        "split": judgement.split.name,
        "gate": verdict,
        "before": moved["before"],
        "results": results,
    }


def _store(stores: Stores, config: JobConfig, logged: Logged, judgement: Judgement, screen: Screen) -> ArtifactManifest:
    fitted = judgement.fitted
    if judgement.split.name != "given":
        fitted = fit(stores, make_model(config.model), logged.interactions, config, screen)
    metrics = {name: value for name, value in judgement.candidate.to_json()["means"].items() if value is not None}
    return store(stores, config, fitted, logged, metrics, judgement.split.name)


def _current(stores: Stores, namespace: str) -> ArtifactManifest | None:
    pointer = stores.registry.current(namespace)
    if pointer is None:
        return None
    return stores.artifacts.open(namespace, pointer.version, manifest_sha256=pointer.manifest_sha256, names=()).manifest
