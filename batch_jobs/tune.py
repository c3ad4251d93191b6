"""Search settings on a validation part cut from the training part; the test part is looked at once, if at all."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from batch_jobs.config import JobConfig
from batch_jobs.console import Screen
from batch_jobs.evaluate import check_test_file, judge, split_of
from batch_jobs.gate import gate_metric
from batch_jobs.stores import Stores
from batch_jobs.train import Logged, check_settings, make_servable, read_log
from recsys.data import Interactions, Split, given_split, split_by_time
from recsys.errors import ConfigError, InsufficientDataError
from recsys.evaluation.ranking_metrics import RANKING_METRICS

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study

    from batch_jobs.tune_space import Space

FOLDER = Path("var/tune")


def tune(stores: Stores, config: JobConfig, final_test: bool, screen: Screen) -> dict[str, Any]:
    """Search the settings of a model, write the best ones to a file, and draw the search.

    Running it again goes on where it was stopped: a study is known by its data, settings and space. With `final_test`
    the best settings are then trained on the whole training part and judged on the test part.
    """
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
    with quiet(), opened(FOLDER / config.namespace) as storage:
        study = _searched(storage, space, train, metric, screen)
        facts = _told(study, space, metric, screen)
        tested = _test(stores, storage, study, space, logged, screen) if final_test else None
    return {**facts, "test": tested}


def tuned_metric(config: JobConfig) -> str:
    """Return the metric trials are judged by; `ConfigError` if there is none of that name."""
    metric = config.tune.metric or gate_metric(config.gate, config.evaluate)
    name, _, k = metric.partition("@")
    if name not in RANKING_METRICS or not k.isdigit() or int(k) < 1:
        raise ConfigError(
            f"[tune] metric = {metric!r} is not known. Give {', '.join(RANKING_METRICS)}, such as ndcg@20"
        )
    return metric


def training_part(raw: Interactions, config: JobConfig) -> Interactions:
    """Return what the search may know of: a test file is not opened, and no other test event is kept."""
    return raw if config.split.test is not None else split_of(raw, config).train


def validation_split(train: Interactions, config: JobConfig) -> Split:
    """Cut the training part as it was cut from the test part.

    Nobody says how a test file was cut off: where there are times, it is taken for the latest events, else for a
    random share of them.
    """
    if config.split.test is None:
        return split_of(train, config)
    share = config.split.test_fraction
    if train.timestamp is not None:
        return split_by_time(train, test_fraction=share)
    held = np.random.default_rng(0).random(len(train)) < share
    return given_split(train.select(~held).compact(), train.select(held).compact())


def _searched(storage: RDBStorage, space: Space, train: Interactions, metric: str, screen: Screen) -> Study:
    """Search until the budget is spent; `InsufficientDataError` if no trial came to an end before."""
    from batch_jobs.tune_search import Search
    from batch_jobs.tune_study import begun, best_of
    from batch_jobs.tune_workers import Task

    told = space.config.tune
    split = validation_split(train, space.config)
    threads = max(1, (os.cpu_count() or 1) // told.workers)
    task = Task(split.train, _sample(split.test, told.users), metric, threads)
    study = begun(storage, _name(space, train, metric), space, str(make_servable(space.config.model).kind))
    screen.note(f"study {study.study_name}: {len(split.test):,} of {len(train):,} training events for validation")
    Search(storage, study, space, task, screen).run()
    if best_of(study) is None:
        raise InsufficientDataError("no trial came to an end", remedy="Give it more minutes or fewer iterations")
    return study


def _sample(validation: Interactions, users: int) -> Interactions:
    """Return the events of so many users at most, the same in every run."""
    asked = np.random.default_rng(0).permutation(len(validation.users))[:users]
    return validation.select(np.isin(validation.user, asked))


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


def _told(study: Study, space: Space, metric: str, screen: Screen) -> dict[str, Any]:
    """Write the best settings and the drawing; return what there is to say."""
    from batch_jobs.tune_plot import draw
    from batch_jobs.tune_result import best_settings, counts, show, trials, write_settings
    from batch_jobs.tune_study import best_of

    best = best_of(study)
    assert best is not None
    assert best.value is not None
    config = space.config
    settings, plot = FOLDER / config.namespace / "best.toml", FOLDER / config.namespace / "search.svg"
    words = f"trial {best.number} of study {study.study_name}: {metric} {best.value:.6f} on the validation part"
    write_settings(settings, best_settings(space, best), words)
    draw(study, metric, plot)
    show(study, metric, screen)
    given = study.get_trials(deepcopy=False)[0].value
    return {
        "namespace": config.namespace,
        "study": study.study_name,
        **counts(study),
        "minutes": round(study.user_attrs["seconds"] / 60, 2),
        "metric": metric,
        "settings_given": given,
        "best_trial": best.number,
        "best_value": best.value,
        "best_settings": {**best.params, "model.iterations": best.user_attrs["iterations"]},
        "settings": str(settings),
        "plot": str(plot),
        "history": trials(study),
    }


def _test(
    stores: Stores, storage: RDBStorage, study: Study, space: Space, logged: Logged, screen: Screen
) -> dict[str, Any]:
    """Judge the best settings on the test part, once; a second look is refused or said aloud."""
    from batch_jobs.tune_result import best_settings
    from batch_jobs.tune_study import best_of, looks

    best = best_of(study)
    assert best is not None
    for look in study.user_attrs.get("looks", []):
        if look["trial"] == best.number:
            screen.note(f"the test part was looked at on {look['at']} with these settings; this is what was seen then")
            return dict(look)
    config = msgspec.structs.replace(
        best_settings(space, best), evaluate=msgspec.structs.replace(space.config.evaluate, baselines=False)
    )
    judgement = judge(stores, config, logged, screen)
    part = judgement.split.test.fingerprint()
    before = [look for look in looks(storage) if look["part"] == part]
    if before:
        screen.note(
            f"this is look {len(before) + 1} at this test part, after that of {before[0]['at']}: "
            "settings chosen by what was seen there look better than they are"
        )
    look = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "trial": best.number,
        "part": part,
        "look": len(before) + 1,
        **judgement.candidate.to_json(),
    }
    study.set_user_attr("looks", [*study.user_attrs.get("looks", []), look])
    return look
