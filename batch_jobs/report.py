"""A judgement as one HTML file that needs nothing else, no script and no other host, and the same as JSON beside it.

Ids, names and paths come from others: every text goes through `escape`, and the page forbids itself all but styles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from batch_jobs.findings import Findings, Grid
from batch_jobs.page_style import STYLE
from batch_jobs.plots import Plots
from recsys.errors import ConfigError
from recsys.evaluation.charts import Chart
from recsys.evaluation.drawing import check_matplotlib, svg


def checked_page(name: str) -> Path:
    """Return where the report goes; `ConfigError`, before anything is judged, if it cannot be drawn or go there."""
    check_matplotlib()
    page = Path(name)
    if page.suffix not in (".html", ".htm"):
        raise ConfigError(f"--report {name}: give a name that ends in .html; the JSON beside it ends in .json")
    if not page.parent.is_dir():
        raise ConfigError(f"--report {name}: there is no folder {page.parent}. Make it first")
    return page


def write_report(page: Path, facts: Mapping[str, Any], metrics: Grid, findings: Findings, plots: Plots) -> None:
    """Write the page and, beside it, facts and charts as JSON."""
    values = {**facts, "charts": [chart.to_json() for chart in plots.charts], "left_out": plots.left_out}
    page.with_suffix(".json").write_text(json.dumps(values, indent=1, allow_nan=False), "utf-8")
    page.write_text(html(facts, [metrics, *findings.grids()], plots), "utf-8")


def html(facts: Mapping[str, Any], grids: Sequence[Grid], plots: Plots) -> str:
    """Return the page."""
    models = list(facts["results"])
    title = f"Evaluation of {models[0]}"
    counts = facts["results"][models[0]]["counts"]
    about = {
        "Namespace": facts["namespace"],
        "Split": facts["split"],
        "Training events": f"{facts['train_events']:,}",
        "Test events": f"{facts['test_events']:,}",
        **{name.replace("_", " ").capitalize(): f"{count:,}" for name, count in counts.items()},
        "Models": ", ".join(models),
    }
    details = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in about.items())
    figures = "".join(map(_figure, plots.charts))
    missing = "".join(f'<p class="note">{escape(reason)}</p>' for reason in plots.left_out)
    tables = "".join(f"<h2>{escape(grid.title)}</h2>{_table(grid)}" for grid in grids[1:])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n\n'
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">\n"""
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n<dl>{details}</dl>\n{tables}\n"
        f'<h2>Plots</h2>\n{missing}<div class="figures">{figures}</div>\n'
        f"<h2>{escape(grids[0].title)}</h2>\n{_table(grids[0])}\n</main>\n</body>\n</html>\n"
    )


def _table(grid: Grid) -> str:
    """Return a table that scrolls on its own where it is wider than the page, and can be scrolled by keyboard."""
    head = "".join(f'<th scope="col"{_label(at, grid)}>{escape(name)}</th>' for at, name in enumerate(grid.columns))
    body = "".join(
        "<tr>" + "".join(f"<td{_label(at, grid)}>{escape(cell)}</td>" for at, cell in enumerate(row)) + "</tr>\n"
        for row in grid.rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(grid.title)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
        f'<p class="note">{escape(grid.note)}</p>\n'
    )


def _label(at: int, grid: Grid) -> str:
    return ' class="label"' if at < grid.labels else ""


def _figure(chart: Chart) -> str:
    """Return a drawing with what it shows in words, and in a table of its points."""
    xs = sorted({x for points in chart.lines.values() for x in points})
    ticks = [tick.replace("\n", " ") for tick in chart.ticks]
    rows = [
        [ticks[int(x)] if ticks else f"{x:.4g}", *(_value(points.get(x)) for points in chart.lines.values())]
        for x in xs
    ]
    table = _table(Grid(f"{chart.title}, values", (chart.x, *chart.lines), rows, f"Values: {chart.y}."))
    return (
        f'<figure id="{chart.name}"><h3>{escape(chart.title)}</h3>\n{svg(chart)}\n'
        f"<figcaption>{escape(chart.about)}</figcaption>\n"
        f"<details><summary>Values</summary>{table}</details></figure>\n"
    )


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
