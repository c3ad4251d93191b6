"""Runs in MLflow, for whoever looks at experiments there: one experiment a namespace, one MLflow run for each of ours.

MLflow is not installed with the suite. Where it writes to is its own business: MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

from datetime import datetime
from importlib import import_module
from typing import Any

from batch_jobs.console import Screen
from batch_jobs.log_files import LogFiles
from batch_jobs.runs import DONE, Run, names, read
from batch_jobs.runs_shown import flat
from recsys.errors import ConfigError, StorageError

_ID = "recsys.run"  # the tag by which a run that is there already is known
_LONGEST = 6000  # characters MLflow takes of a parameter


def export(files: LogFiles, namespace: str | None, kind: str | None, screen: Screen) -> dict[str, Any]:
    """Bring runs to MLflow that are not there yet; `ConfigError` without MLflow, `StorageError` if it refuses."""
    try:
        tracking = import_module("mlflow.tracking")
        entities, exceptions = import_module("mlflow.entities"), import_module("mlflow.exceptions")
    except ImportError as error:
        raise ConfigError(f"MLflow is not installed ({error.name} is missing). pip install mlflow") from None
    try:
        client, added, known = tracking.MlflowClient(), 0, 0
        found = names(files, namespace, kind)[::-1]
        with screen.bar("bringing runs to MLflow") as step:
            for at, place in enumerate(found, 1):
                is_new = _bring(client, entities, read(files, *place))
                added, known = added + is_new, known + (not is_new)
                step(at, len(found))
    except exceptions.MlflowException as error:
        raise StorageError(f"MLflow refuses: {str(error).splitlines()[0]}") from error
    return {"to": tracking.get_tracking_uri(), "added": added, "there_already": known}


def _bring(client: Any, entities: Any, run: Run) -> bool:
    experiment = client.get_experiment_by_name(f"recsys/{run.namespace}")
    place = client.create_experiment(f"recsys/{run.namespace}") if experiment is None else experiment.experiment_id
    if client.search_runs([place], f"tags.`{_ID}` = '{run.id}'", max_results=1):
        return False
    start = round(datetime.fromisoformat(run.started_at).timestamp() * 1000)
    end = start + round(run.seconds["total"] * 1000)
    made = client.create_run(place, start_time=start, run_name=f"{run.kind}-{run.id}").info.run_id
    values = {_name(name): value for name, value in run.metrics.items() if value is not None}
    values |= {f"seconds/{_name(stage)}": took for stage, took in run.seconds.items()}
    client.log_batch(
        made,
        metrics=[entities.Metric(name, float(value), end, 0) for name, value in values.items()],
        params=[entities.Param(name, str(value)[:_LONGEST]) for name, value in flat(run.settings).items()],
        tags=[entities.RunTag(name, str(value)) for name, value in _tags(run).items() if value is not None],
    )
    client.set_terminated(made, "FINISHED" if run.outcome == DONE else "FAILED", end)
    # Last: a run whose export was cut short has no tag, and is brought once more.
    client.set_tag(made, _ID, run.id)
    return True


def _tags(run: Run) -> dict[str, Any]:
    told = {"kind": run.kind, "version": run.version, "outcome": run.outcome, "reason": run.reason}
    return {
        **{f"recsys.{name}": value for name, value in told.items()},
        **{f"recsys.data.{name}": value for name, value in run.data.items()},
        "mlflow.source.git.commit": run.code.revision,
    }


def _name(name: str) -> str:
    """MLflow takes no '@' in a name, and writes precision_at_k itself."""
    kept = name.replace("@", "_at_")
    return "".join(one if one.isalnum() or one in "_-. /" else "_" for one in kept)
