"""Search settings on a validation part cut from the training part; the test part is looked at once, if at all."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from batch_jobs.config import JobConfig
from batch_jobs.console import Screen
from batch_jobs.evaluate import judge
from batch_jobs.gate import gate_metric
from batch_jobs.runs import Run, recording
from batch_jobs.splits import check_test_file, sampled, training_part, validation_split
from batch_jobs.stores import Stores
from batch_jobs.train import Logged, check_settings, make_servable, read_log
from recsys.data import Interactions
from recsys.errors import ConfigError, InsufficientDataError
from recsys.evaluation.ranking_metrics import RANKING_METRICS

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

    from batch_jobs.tune_result import Found
    from batch_jobs.tune_space import Space

FOLDER = Path("var/tune")


def tune(stores: Stores, config: JobConfig, final_test: bool, screen: Screen) -> dict[str, Any]:
    """Search the settings of a model, write the best ones to a file, and draw the search.

    Running it again goes on where it was stopped: a study is known by its data, settings and space. With `final_test`
    the best settings are then trained on the whole training part and judged on the test part.
    """
    with recording(stores.runs, "tune", config, screen) as run:
        return _tune(stores, config, final_test, screen, run)


def _tune(stores: Stores, config: JobConfig, final_test: bool, screen: Screen, run: Run) -> dict[str, Any]:
    make_servable(config.model)
    check_settings(config)
    metric = tuned_metric(config)
    if final_test:
        check_test_file(config)
    for needed in ("optuna", "matplotlib"):
        if find_spec(needed) is None:
            raise ConfigError(
                f"a search needs {needed}. Install it with the extra: pip install 'recsys[batch,science]'"
            )
    from batch_jobs.tune_space import Space
    from batch_jobs.tune_study import opened, quiet

    space = Space(config)
    logged = read_log(stores, config, screen)
    train = training_part(logged.interactions, config)
    run.reads(train)
    with quiet(), opened(FOLDER / config.namespace) as storage:
        found = _searched(storage, space, train, metric, screen)
        run.metric, run.metrics, run.data["split"] = metric, {metric: found.value}, "validation"
        run.settings |= {"model": dict(found.settings.model), "clean": dict(found.settings.clean)}
        facts = _told(found, screen)
        if final_test:
            look = _look(stores, storage, found, logged, screen, run)
            facts |= {"test_value": look["means"][metric], "test": look}
    return facts


def tuned_metric(config: JobConfig) -> str:
    """Return the metric trials are judged by; `ConfigError` if there is none of that name."""
    metric = config.tune.metric or gate_metric(config.gate, config.evaluate)
    name, _, k = metric.partition("@")
    if name not in RANKING_METRICS or not k.isdigit() or int(k) < 1:
        raise ConfigError(
            f"[tune] metric = {metric!r} is not known. Give {', '.join(RANKING_METRICS)}, such as ndcg@20"
        )
    return metric


def _searched(storage: RDBStorage, space: Space, train: Interactions, metric: str, screen: Screen) -> Found:
    """Search until the budget is spent; `InsufficientDataError` if no trial came to an end before."""
    from batch_jobs.tune_result import Found
    from batch_jobs.tune_search import Search
    from batch_jobs.tune_study import begun, best_of
    from batch_jobs.tune_workers import Task

    told = space.config.tune
    split = validation_split(train, space.config)
    threads = max(1, (os.cpu_count() or 1) // told.workers)
    task = Task(split.train, sampled(split.test, told.users), metric, threads)
    study = begun(storage, _name(space, train, metric), space, str(make_servable(space.config.model).kind))
    screen.note(f"study {study.study_name}: {len(split.test):,} of {len(train):,} training events for validation")
    Search(storage, study, space, task, screen).run()
    best = best_of(study)
    if best is None:
        raise InsufficientDataError("no trial came to an end", remedy="Give it more minutes or fewer iterations")
    return Found(study, space, metric, best)


def _name(space: Space, train: Interactions, metric: str) -> str:
    """Name a study by everything that decides what its trials are, and their values."""
    config, told = space.config, space.config.tune
    split = config.split
    facts = [
        train.fingerprint(),
        {name: value for name, value in config.model.items() if name != "threads"},
        config.clean,
        config.features,
        (split.kind, split.test is not None, split.test_fraction, split.n),
        space.spans,
        (metric, told.search, told.seed, told.prune, told.users),
    ]
    digest = hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()
    return f"{config.model.get('kind', 'als')}-{digest[:8]}"


def _told(found: Found, screen: Screen) -> dict[str, Any]:
    """Write the best settings and the drawing; return what there is to say."""
    from batch_jobs.tune_plot import draw
    from batch_jobs.tune_result import counts, show, trials, write_settings

    study, best = found.study, found.best
    namespace = found.space.config.namespace
    settings, plot = FOLDER / namespace / "best.toml", FOLDER / namespace / "search.svg"
    write_settings(settings, found)
    draw(study, found.metric, plot)
    show(study, found.metric, screen)
    return {
        "namespace": namespace,
        "study": study.study_name,
        **counts(study),
        "minutes": round(study.user_attrs["seconds"] / 60, 2),
        "metric": found.metric,
        "value_of_settings_given": study.get_trials(deepcopy=False)[0].value,
        "best_value": found.value,
        "best_trial": best.number,
        "best_settings": {**best.params, "model.iterations": best.user_attrs["iterations"]},
        "settings": str(settings),
        "plot": str(plot),
        "history": trials(study),
    }


def _look(
    stores: Stores, storage: RDBStorage, found: Found, logged: Logged, screen: Screen, run: Run
) -> dict[str, Any]:
    """Judge the best settings on the test part, once; a second look is spared, or said aloud."""
    from batch_jobs.tune_study import looks

    own = found.study.user_attrs.get("looks", [])
    for look in own:
        if look["trial"] == found.best.number:
            screen.note(f"the test part was looked at on {look['at']} with these settings; this is what was seen then")
            return dict(look)
    lengths = (*found.settings.evaluate.k, int(found.metric.rpartition("@")[2]))
    asked = msgspec.structs.replace(found.settings.evaluate, k=lengths, baselines=False, against=None)
    judgement = judge(stores, msgspec.structs.replace(found.settings, evaluate=asked), logged, screen, run)
    part = judgement.split.test.fingerprint()
    before = [look for look in looks(storage) if look["part"] == part]
    if before:
        screen.note(
            f"this is look {len(before) + 1} at this test part, after that of {before[0]['at']}: "
            "settings chosen by what was seen there look better than they are"
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    look = {"at": now, "look": len(before) + 1, "trial": found.best.number, "part": part}
    look |= judgement.candidate.to_json()
    found.study.set_user_attr("looks", [*own, look])
    return look
