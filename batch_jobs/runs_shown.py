"""Runs on the screen: many as a table, one as a whole, two beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from batch_jobs.console import Screen
from batch_jobs.log_files import LogFiles
from batch_jobs.runs import DONE, Run, find, names, read
from recsys.errors import DataError

_COLUMNS = ("run", "when (UTC)", "kind", "namespace", "model", "metric", "seconds", "version, or why there is none")


def overview(files: LogFiles, namespace: str | None, kind: str | None, limit: int, screen: Screen) -> dict[str, Any]:
    """Show the newest runs, of one namespace and kind if they are given; one that cannot be read is named."""
    found = []
    for place in names(files, namespace, kind)[:limit]:
        try:
            found.append(read(files, *place))
        except DataError as error:
            screen.note(str(error))
    if found:
        screen.rows("", _COLUMNS, [_row(run) for run in found])
    else:
        screen.note(f"there is no such run under {files}. recsys train, evaluate, tune and nightly leave one each")
    return {"runs": [msgspec.to_builtins(run) for run in found]}


def show(files: LogFiles, run_id: str, screen: Screen) -> dict[str, Any]:
    """Show all of one run."""
    run = find(files, run_id)
    document: dict[str, Any] = msgspec.to_builtins(run)
    judged = {run.settings["model"].get("kind", "candidate"): document.pop("metrics"), **document.pop("beside")}
    facts = [[name, str(value)] for name, value in flat(document).items() if value is not None]
    screen.rows(f"run {run.id}", ["", ""], facts)
    if run.metrics:
        rows = [[name, *(_cell(means.get(name)) for means in judged.values())] for name in run.metrics]
        screen.rows("metrics", ["", *judged], rows)
    return msgspec.to_builtins(run)  # type: ignore[no-any-return]


def compare(files: LogFiles, first: str, second: str, screen: Screen) -> dict[str, Any]:
    """Show what differs between two runs, their metrics beside each other, and whether they saw the same events."""
    ours, theirs = find(files, first), find(files, second)
    differ, metrics = _differing(ours, theirs), _both(ours, theirs)
    same, words = same_data(ours, theirs)
    if differ:
        screen.rows(
            "settings that differ", ["", first, second], [[name, *map(str, pair)] for name, pair in differ.items()]
        )
    else:
        screen.note("settings: the same")
    if metrics:
        rows = [[name, _cell(a), _cell(b), _cell(_gap(a, b))] for name, (a, b) in metrics.items()]
        screen.rows("metrics", ["", first, second, "second - first"], rows)
        screen.note("means alone do not tell a difference from chance; recsys.evaluation.compare does, user by user")
    screen.note(f"data: {words}")
    return {"runs": [first, second], "settings": differ, "metrics": metrics, "same_data": same, "data": words}


def same_data(ours: Run, theirs: Run) -> tuple[bool | None, str]:
    """Return whether two runs read the same events and held out the same, and that in words; None if nobody knows."""
    for run in (ours, theirs):
        if "fingerprint" not in run.data:
            return None, f"run {run.id} ended before it had read any"
    if ours.data["fingerprint"] != theirs.data["fingerprint"]:
        return False, "not the same events; their metrics cannot be compared"
    held_out = [run.data.get("test_fingerprint") for run in (ours, theirs)]
    if None in held_out:
        return True, "the same events"
    if held_out[0] != held_out[1]:
        return False, "the same events, but others held out; their metrics cannot be compared"
    return True, "the same events, and the same of them held out"


def flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables as one, by names with dots."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        inner = flat(value) if isinstance(value, Mapping) else {}
        found |= {f"{name}.{key}": one for key, one in inner.items()} if inner else {name: value}
    return {name: value for name, value in found.items() if value != {}}


def _row(run: Run) -> list[Any]:
    value = run.metrics.get(run.metric or "")
    told = "" if value is None else f"{run.metric} {value:.4f}"
    kind = run.settings["model"].get("kind", "als")
    when = run.started_at[:16].replace("T", " ")
    ended = (run.version or "nothing to store") if run.outcome == DONE else run.outcome
    return [run.id, when, run.kind, run.namespace, kind, told, f"{run.seconds['total']:,.1f}", ended]


def _differing(ours: Run, theirs: Run) -> dict[str, list[Any]]:
    tables = [flat({**run.settings, "code": msgspec.to_builtins(run.code)}) for run in (ours, theirs)]
    order = list(dict.fromkeys([*tables[0], *tables[1]]))
    pairs = {name: [table.get(name) for table in tables] for name in order}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _both(ours: Run, theirs: Run) -> dict[str, list[float | None]]:
    order = dict.fromkeys([*ours.metrics, *theirs.metrics])
    return {name: [ours.metrics.get(name), theirs.metrics.get(name)] for name in order}


def _gap(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else second - first


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
