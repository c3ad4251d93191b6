"""One step of the nightly run on its own, as the states of `state_machine.json` ask for it.

The event of a Lambda is what the machine knows: the settings of one namespace (``job``, as the TOML has them), the name
of the ``run``, what the heavy steps ``compute`` on, and by name what the steps before told. It adds its own part.

A Batch job can take only a short command and give back only an exit status. It leaves its answer, a refusal in words
included, where the jobs after it find what they need, and the Lambda of the same step what to hand on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from batch_jobs.answers import keep, kept
from batch_jobs.config import JobConfig, load
from batch_jobs.console import Screen
from batch_jobs.nightly import STEPS, nightly
from batch_jobs.runs import recording
from batch_jobs.stores import Stores
from recsys import errors
from recsys.errors import ConfigError, RecsysError, StorageError

ON_BATCH = ("judge", "train", "publish")
"""Steps a Batch job does where ``compute`` is ``batch``."""


def on_lambda(name: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Do a step, or fetch what a Batch job answered to it; return the event with that added."""
    if event.get("compute") == "batch" and name in ON_BATCH:
        return {**event, name: _fetch(name, event["run"])}
    screen, stores = Screen(as_json=True), Stores.from_environment()
    with closing(stores.online):
        return {**event, name: _do(stores, name, event, screen)}


def on_batch(stores: Stores, name: str, run: str, job: str, screen: Screen) -> dict[str, Any]:
    """Do a step and keep its answer; one that is kept already is not worked out again.

    Refusals are answers. Only where a store refuses is there none, and the job may be tried again.
    """
    if name not in ON_BATCH:
        raise ConfigError(f"there is no step {name!r} for a Batch job; there are {', '.join(ON_BATCH)}")
    found = kept(name, run)
    if found is None:
        told = {one: _fetch(one, run) for one in ON_BATCH[: ON_BATCH.index(name)]}
        try:
            found = _do(stores, name, {**told, "job": _parsed(job)}, screen)
        except StorageError:
            raise
        except RecsysError as error:
            found = {"error": type(error).__name__, "reason": str(error)}
        keep(name, run, found)
    return found


def whole_run(event: Mapping[str, Any]) -> dict[str, Any]:
    """Do all steps in one go: for data that one Lambda can take."""
    screen, stores = Screen(as_json=True), Stores.from_environment()
    with closing(stores.online):
        return nightly(stores, _settings(event), screen) | {"notes": screen.notes}


def _do(stores: Stores, name: str, event: Mapping[str, Any], screen: Screen) -> dict[str, Any]:
    config = _settings(event)
    with recording(stores.runs, name, config, screen) as run:
        answer = STEPS[name](stores, config, event, screen, run)
    return answer | {"notes": screen.notes}


def _settings(event: Mapping[str, Any]) -> JobConfig:
    job = event.get("job")
    if not isinstance(job, dict):
        raise ConfigError('the event has no settings. Give them as {"job": {"namespace": ..., "model": {...}, ...}}')
    return load(None, job)


def _parsed(job: str) -> Any:
    try:
        return json.loads(job)
    except ValueError as error:
        raise ConfigError(f"the settings are not JSON: {error}") from None


def _fetch(name: str, run: str) -> dict[str, Any]:
    found = kept(name, run)
    if found is None:
        raise StorageError(f"the Batch job of step {name!r} left no answer. Look at its log stream")
    if "error" in found:
        raise getattr(errors, found["error"])(found["reason"])
    return found
