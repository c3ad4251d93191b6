"""Results of several models as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recsys.errors import ConfigError
from recsys.evaluation.ranking_metrics import RANKING_METRICS
from recsys.evaluation.result import EvaluationResult

if TYPE_CHECKING:
    from rich.table import Table

# Novelty and popularity lift have no better direction: random lists are the most novel.
_HIGHER_IS_BETTER = (*RANKING_METRICS, "coverage")
_LOWER_IS_BETTER = ("gini",)
# As many as fit into 80 columns.
_SHOWN_BY_DEFAULT = ("recall", "ndcg", "coverage", "gini", "novelty")


def table(results: Mapping[str, EvaluationResult], metrics: Sequence[str] | None = None) -> Table:
    """One row per model, one column per metric; the best value of a column bold and with a star, counts underneath.

    Parameters
    ----------
    results : mapping of str to EvaluationResult
        By model name, in the order of the rows.
    metrics : sequence of str, optional
        Names of columns such as ``recall@20``. Without them recall, NDCG, coverage, Gini and novelty at the greatest
        list length of the first result.

    Returns
    -------
    rich.table.Table
        A notebook shows it, ``rich.print`` prints it.

    Raises
    ------
    ConfigError
        If there is no result, or one lacks a metric.
    """
    # Only tables need rich; whoever just evaluates should not load it.
    from rich.table import Table
    from rich.text import Text

    if not results:
        raise ConfigError("there are no results to show. Give at least one")
    names = _default_metrics(next(iter(results.values()))) if metrics is None else list(metrics)
    # Names are text and not console markup, or a model called "als [new]" would lose half its name.
    rendered = Table("model", caption=Text(_caption(results), style="table.caption"), caption_justify="left")
    best = {}
    for name in names:
        rendered.add_column(Text(name), justify="right")
        best[name] = _best(name, [_shown(result.mean(name)) for result in results.values()])
    for model, result in results.items():
        cells = [Text(model)]
        for name in names:
            value = _shown(result.mean(name))
            # The space keeps the decimal points below each other.
            cells.append(Text(f"{value}*", style="bold") if value == best[name] else Text(f"{value} "))
        rendered.add_row(*cells)
    return rendered


def _default_metrics(result: EvaluationResult) -> list[str]:
    longest = max(int(name.rpartition("@")[2]) for name in result.means)
    return [name for metric in _SHOWN_BY_DEFAULT if (name := f"{metric}@{longest}") in result.means]


def _shown(value: float) -> str:
    return f"{value:.4f}"


def _best(name: str, shown: list[str]) -> str | None:
    """Compare as shown: two models that print the same number are both marked."""
    metric = name.partition("@")[0]
    candidates = [value for value in shown if value != "nan"]
    if not candidates or len(shown) < 2:
        return None
    if metric in _HIGHER_IS_BETTER:
        return max(candidates, key=float)
    return min(candidates, key=float) if metric in _LOWER_IS_BETTER else None


def _caption(results: Mapping[str, EvaluationResult]) -> str:
    lines = {
        model: ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in result.counts.items())
        for model, result in results.items()
    }
    if len(set(lines.values())) == 1:
        return next(iter(lines.values()))
    return "\n".join(f"{model}: {line}" for model, line in lines.items())
