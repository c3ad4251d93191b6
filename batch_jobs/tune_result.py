"""What a search leaves: the best settings as a file of settings, its trials as a table and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from batch_jobs.config import JobConfig
from batch_jobs.console import Screen
from batch_jobs.tune_space import Space
from batch_jobs.tune_study import finished
from recsys.errors import storing

_SHOWN = 5  # of the best trials


@dataclass(frozen=True, eq=False)
class Found:
    """A study in which at least one trial came to its end."""

    study: Study
    space: Space
    metric: str
    best: FrozenTrial

    @property
    def value(self) -> float:
        """Of the best trial, on the validation part."""
        assert self.best.value is not None
        return self.best.value

    @property
    def settings(self) -> JobConfig:
        """Settings of the job with those of the best trial, and as many epochs as were best for it."""
        config = self.space.settings(self.best.params)
        model = {**config.model, "iterations": self.best.user_attrs["iterations"]}
        return msgspec.structs.replace(config, model=model)

    @property
    def words(self) -> str:
        """Where the settings are from."""
        return (
            f"trial {self.best.number} of study {self.study.study_name}: "
            f"{self.metric} {self.value:.6f} on the validation part"
        )


def write_settings(path: Path, found: Found) -> None:
    """Write the settings of the best trial as TOML that every command takes."""
    told = msgspec.to_builtins(found.settings)
    usual = msgspec.to_builtins(JobConfig())
    del told["tune"]  # what was searched is of no use to who trains
    lines = [f"# {found.words}", *_table((), _told(told, usual))]
    replace_file(path, "\n".join(lines) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    draft = path.with_name(f".{path.name}")
    with storing(f"writing {path}"):
        draft.write_text(text, "utf-8")
        draft.replace(path)


def show(study: Study, metric: str, screen: Screen) -> None:
    """Print the best trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:_SHOWN]
    names = list(best[0].params) if best else []
    columns = ["trial", *(name.partition(".")[2] for name in names), "iterations", metric]
    rows = [
        [one.number, *(_short(one.params[name]) for name in names), one.user_attrs["iterations"], one.value]
        for one in best
    ]
    screen.rows("The best trials", columns, rows)


def counts(study: Study) -> dict[str, int]:
    """Return how many trials came to which end."""
    states = [trial.state for trial in finished(study)]
    return {
        "trials": len(states),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
    }


def trials(study: Study) -> list[dict[str, Any]]:
    """Return every trial that came to an end."""
    return [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "settings": trial.params,
            "epochs": [trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)],
            **trial.user_attrs,
        }
        for trial in finished(study)
    ]


def _told(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs from the defaults; TOML has no None."""
    told = {}
    for name, value in values.items():
        default = usual.get(name)
        if isinstance(value, dict) and isinstance(default, dict):
            value = _told(value, default)
        if value is not None and value not in (default, {}):
            told[name] = value
    return told


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    if path:
        yield f"\n[{'.'.join(map(_key, path))}]"
    for name, value in table.items():
        if not isinstance(value, dict):
            yield f"{_key(name)} = {_value(value)}"
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _table((*path, name), value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):  # as JSON writes it, but for one character that TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value) if isinstance(value, bool) else repr(value)


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
