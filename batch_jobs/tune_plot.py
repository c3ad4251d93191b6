"""The search as a picture: the best so far, the score of every epoch, and the score by each setting."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from batch_jobs.tune_study import finished
from recsys.errors import storing

_PRUNED, _COMPLETE, _BEST = "#b0b0b0", "#2a6f97", "#c1121f"
_COLUMNS = 2


def draw(study: Study, metric: str, path: Path) -> None:
    """Write an SVG."""
    trials = [trial for trial in finished(study) if trial.value is not None]
    names = list(trials[0].params)
    panels = 2 + len(names)
    rows = -(-panels // _COLUMNS)
    figure = Figure(figsize=(4.6 * _COLUMNS, 3.2 * rows), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(rows, _COLUMNS).flat
    _history(axes[0], trials, metric)
    _epochs(axes[1], trials, metric)
    for axis, name in zip(axes[2:], names, strict=False):
        _setting(axis, trials, name, metric)
    for axis in axes[panels:]:
        axis.remove()
    bottom, top = _band([trial.value or 0.0 for trial in trials])
    for axis in axes[:panels]:
        axis.set_ylim(bottom, top)
    below = sum((trial.value or 0.0) < bottom for trial in trials)
    figure.suptitle(
        f"{study.study_name}: {len(trials)} trials" + (f", {below} of them below the axes" if below else "")
    )
    with storing(f"writing {path}"), matplotlib.rc_context({"svg.hashsalt": study.study_name, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _band(values: list[float]) -> tuple[float, float]:
    """Return the values to be seen: far below the better half nothing is of interest, and it would flatten the rest."""
    best, least = max(values), min(values)
    bottom = max(least, best - 3 * (best - statistics.median(values)))
    margin = 0.05 * (best - bottom or best or 1.0)
    return bottom - margin, best + margin


def _history(axis: Axes, trials: list[FrozenTrial], metric: str) -> None:
    _points(axis, [trial.number for trial in trials], trials)
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    best = [max(one.value or 0.0 for one in done[: at + 1]) for at in range(len(done))]
    axis.step([trial.number for trial in done], best, where="post", color=_BEST, label="best so far")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="trial", ylabel=metric, title="Every trial")
    axis.legend(loc="lower right", fontsize="small")


def _epochs(axis: Axes, trials: list[FrozenTrial], metric: str) -> None:
    for trial in trials:
        epochs = sorted(trial.intermediate_values)
        colour = _COMPLETE if trial.state is TrialState.COMPLETE else _PRUNED
        axis.plot(epochs, [trial.intermediate_values[one] for one in epochs], color=colour, linewidth=0.8, alpha=0.7)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="epoch", ylabel=metric, title="Every epoch")


def _setting(axis: Axes, trials: list[FrozenTrial], name: str, metric: str) -> None:
    distribution: Any = trials[0].distributions[name]
    if isinstance(distribution, CategoricalDistribution):
        _points(axis, [str(trial.params[name]) for trial in trials], trials)
    else:
        _points(axis, [trial.params[name] for trial in trials], trials)
        axis.set_xscale("log" if distribution.log else "linear")
    axis.set(xlabel=name.replace(".", ": "), ylabel=metric, title=name.partition(".")[2])


def _points(axis: Axes, at: Sequence[Any], trials: list[FrozenTrial]) -> None:
    for state, colour, marker, label in (
        (TrialState.PRUNED, _PRUNED, "x", "pruned"),
        (TrialState.COMPLETE, _COMPLETE, "o", "complete"),
    ):
        chosen = [number for number, trial in enumerate(trials) if trial.state is state]
        values = [trials[number].value or 0.0 for number in chosen]
        axis.scatter([at[number] for number in chosen], values, 18, color=colour, marker=marker, label=label)
