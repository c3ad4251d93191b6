"""A `Chart` as SVG that stands in a page: its colours, size and font are the page's.

Drawn as wide as a phone, so that text is as large there as around it. Models differ by marker and dash too, not only
by colour. Colours are written as ``var(--ink)``, ``var(--grid)`` and ``var(--line-0)``, ..., which the page defines.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from typing import TYPE_CHECKING, Any

from recsys.errors import ConfigError
from recsys.evaluation.charts import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = 6
"""Number of colours a page defines; more models begin again, with other markers."""
_MARKERS, _DASHES = "os^Dv*P", ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
# matplotlib knows no variables: each is drawn in a colour nothing else has and renamed afterwards.
_INK, _GRID = "#000001", "#000002"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recsys",
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.markersize": 5.5,
    "lines.linewidth": 1.6,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    "grid.color": _GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
}


def check_matplotlib() -> None:
    """Raise `ConfigError` unless charts can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "a report is drawn with matplotlib. Install the extra: pip install 'recsys[science]'"
        ) from None


def svg(chart: Chart) -> str:
    """Return an ``<svg>`` element of a chart, with title and description; equal charts give equal text."""
    check_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The page's font has what the one used for measuring may lack.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure = Figure(figsize=(5.2, 3.4 + 0.22 * math.ceil(len(chart.lines) / 2)), layout="constrained")
        axes = figure.subplots()
        _draw(chart, axes)
        figure.legend(
            *_legend(chart, axes), loc="outside upper left", ncols=2, frameon=False, borderaxespad=0, handlelength=2.6
        )
        written = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    return _for_page(written.getvalue(), chart)


def _draw(chart: Chart, axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    for at, points in enumerate(chart.lines.values()):
        axes.plot(
            list(points),
            list(points.values()),
            color=_colour(at),
            marker=_MARKERS[at % len(_MARKERS)] if len(points) <= 20 else None,
            linestyle=_DASHES[at % len(_DASHES)],
        )
    if chart.diagonal:
        low, high = (bound(axes.get_xlim() + axes.get_ylim()) for bound in (min, max))
        axes.plot([low, high], [low, high], color=_INK, linewidth=0.8, linestyle=":")
    elif chart.ticks or chart.log:
        axes.set_ylim(bottom=0)
    if chart.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    if chart.ticks:
        axes.set_xticks(range(len(chart.ticks)), chart.ticks)
    elif not chart.log and not chart.diagonal:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)


def _legend(chart: Chart, axes: Axes) -> tuple[list[Any], list[str]]:
    # A name that begins with an underscore would be left out: an invisible sign goes before it. XML has no control
    # characters.
    clean = ("".join(one if one.isprintable() else "\ufffd" for one in name) for name in chart.lines)
    short = (name if len(name) <= 24 else f"{name[:23]}…" for name in clean)
    return list(axes.lines[: len(chart.lines)]), [f"\u2060{name}" if name[:1] == "_" else name for name in short]


def _colour(at: int) -> str:
    return f"#0000{16 + at % LINES:02x}"


def _for_page(drawn: str, chart: Chart) -> str:
    """Leave out what belongs to a file, give ids that are unique in a page, and name colours by variables."""
    from html import escape

    text = drawn[drawn.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    own = f"{chart.name}-"
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}", text).replace("xlink:href", "href")
    text = re.sub(r"font-family: [^;\"]*;", "", text)
    names = {_INK: "ink", _GRID: "grid", **{_colour(at): f"line-{at}" for at in range(LINES)}}
    for colour, name in names.items():
        text = text.replace(colour, f"var(--{name})")
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    opening = (
        f'<svg {view[0]} role="img" aria-labelledby="{own}title {own}about">'
        f'<title id="{own}title">{escape(chart.title)}</title><desc id="{own}about">{escape(chart.about)}</desc>'
    )
    return opening + text[text.index(">") + 1 :]
