"""The nightly run: ingest, judge, train, publish, in this order; each a step that can be repeated on its own.

A step takes the settings and what the steps before it told, and tells its own part: plain JSON of a few kilobytes.
Everything big goes through the stores, so a step does not care where the others ran: `recsys nightly` calls them one
after the other, the state machine of `state_machine.json` calls the same ones on Lambda or on AWS Batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from batch_jobs.config import JobConfig, SplitConfig
from batch_jobs.console import Screen
from batch_jobs.erase import LISTS, retire
from batch_jobs.evaluate import judge, show
from batch_jobs.gate import check_artifact, gate, gate_metric
from batch_jobs.in_service import manifest_of, open_model, twins
from batch_jobs.ingest import ingest
from batch_jobs.log_checks import check_log
from batch_jobs.publish import publish
from batch_jobs.runs import Run, recording
from batch_jobs.splits import check_test_file, split_of
from batch_jobs.stores import Stores
from batch_jobs.train import check_settings, described, fit, make_model, make_servable, read_log, store
from recsys.data import Interactions, Split, frozen_split

Told = Mapping[str, Any]
"""By step: what it told."""


def nightly(stores: Stores, config: JobConfig, screen: Screen) -> dict[str, Any]:
    """Take new events in, judge a candidate, and put it into service if it passes the gate."""
    told: dict[str, Any] = {}
    with recording(stores.runs, "nightly", config, screen) as run:
        for name, step in STEPS.items():
            told[name] = step(stores, config, told, screen, run)
    taken, judged = told["ingest"], told["judge"]
    return {
        **told["train"],
        "events_added": taken["events_from_files"],
        "events_from_api": taken["events_from_api"],
        "rows_rejected": taken["rows_rejected"],
        "columns_used": taken["columns_used"],
        "columns_unused": taken["columns_unused"],
        "split": judged["split"],
        "gate": judged["gate"],
        "before": told["publish"]["before"],
        "erased": {"erasures": taken["erasures"], "log_files_rewritten": taken["log_files_rewritten"]}
        | told["publish"]["erased"],
        "results": judged["results"],
    }


def _ingest(stores: Stores, config: JobConfig, told: Told, screen: Screen, run: Run) -> dict[str, Any]:
    """Take new events in, after every setting that can be refused without them was looked at."""
    make_servable(config.model)
    gate_metric(config.gate, config.evaluate)
    check_settings(config)
    check_test_file(config)
    return ingest(stores, config.namespace, config.ingest, screen)


def _judge(stores: Stores, config: JobConfig, told: Told, screen: Screen, run: Run) -> dict[str, Any]:
    """Judge a candidate, and say in words why it passes the gate; a refusal is an error.

    What it was judged against is told by its sequence number. A candidate judged by a test file of its own has learned
    from all events: it is what will be published. Any other is stored as the twin of what will be, to be compared with.
    """
    current = stores.registry.current(config.namespace)
    manifest = manifest_of(stores, config.namespace, current)
    logged = read_log(stores, config, screen)
    run.reads(logged.interactions)
    check_log(logged.interactions, manifest, config.gate)
    split = _split(logged.interactions, config)
    judgement = judge(stores, config, logged, screen, run, split)
    results = show(judgement, screen)
    metric = gate_metric(config.gate, config.evaluate)
    words, best = gate(judgement, manifest, twins(stores, config.namespace, split), config.gate, metric)
    screen.note(f"gate: passed, {words}")
    means = judgement.candidate.to_json()["means"]
    metrics = {one: value for one, value in means.items() if value is not None}
    judged = {"judged_by": split.name, "best": best} if split.name == "given" else {"judged_by": split.name}
    stored = store(stores, config, judgement.fitted, logged, metrics, judged)
    run.version = stored.version
    return {
        "split": split.name,
        "gate": words,
        "against": current.sequence if current else 0,
        "metrics": metrics,
        "best": best,
        "stored": described(stored),
        "results": results,
    }


def _split(events: Interactions, config: JobConfig) -> Split:
    """Hold out what the gate says, the same every night, unless ``[split]`` says how."""
    if config.split == SplitConfig():
        return frozen_split(events, config.gate.holdout)
    return split_of(events, config)


def _train(stores: Stores, config: JobConfig, told: Told, screen: Screen, run: Run) -> dict[str, Any]:
    """Train what passed on all events and store it: what is served knows the newest, what was judged did not.

    What is stored is then compared with what was judged: it is another model.
    """
    judged = told["judge"]
    if judged["split"] == "given":
        return dict(judged["stored"])
    logged, model = read_log(stores, config, screen), make_model(config.model)
    twin = judged["stored"]["version"]
    run.trains(model)
    run.reads(logged.interactions)
    fitted = fit(stores, model, logged.interactions, config, screen)
    origin = {"judged_by": judged["split"], "twin": twin, "best": judged["best"] or twin}
    manifest = store(stores, config, fitted, logged, judged["metrics"], origin)
    run.version = manifest.version
    metric = gate_metric(config.gate, config.evaluate)
    artifact, judged_one = (open_model(stores, config.namespace, one) for one in (manifest.version, twin))
    words = check_artifact(artifact, judged_one, logged.interactions, config.gate, metric)
    screen.note(f"gate: what was trained on all events passes, {words}")
    return described(manifest)


def _publish(stores: Stores, config: JobConfig, told: Told, screen: Screen, run: Run) -> dict[str, Any]:
    """Put the version that was trained into service, unless another came there since the gate looked.

    Then those go that were trained with users who were erased since.
    """
    version, against = told["train"]["version"], told["judge"]["against"]
    moved = publish(stores, config.namespace, version, screen, expected=against)
    return moved | {"erased": retire(stores, config.namespace, LISTS, screen)}


STEPS: dict[str, Callable[[Stores, JobConfig, Told, Screen, Run], dict[str, Any]]] = {
    "ingest": _ingest,
    "judge": _judge,
    "train": _train,
    "publish": _publish,
}
"""The steps in order. Repeating one is safe: a repeated train makes a second version, and only the one told last is
published; publishing it again changes nothing."""
