"""What a judgement says, as plain tables for terminal and page and as values for machines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from batch_jobs.against import name_of
from batch_jobs.config import EvaluateConfig
from recsys.evaluation import Comparison, EvaluationResult, compare_all
from recsys.evaluation.segments import (
    COLD,
    ItemSegment,
    Segment,
    UserSegment,
    Variety,
    item_segments,
    user_segments,
    variety,
)
from recsys.models import Popularity


class Grid(NamedTuple):
    """A table of texts: the first `labels` columns are names, the others numbers. `note` explains it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str
    labels: int = 1

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(
            title=Text(f"\n{self.title}"),
            title_justify="left",
            caption=Text(self.note),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for at, name in enumerate(self.columns):
            table.add_column(Text(name), justify="left" if at < self.labels else "right")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


@dataclass(frozen=True)
class Findings:
    """Comparison, variety and segments of models that were judged together, by their names.

    Parameters
    ----------
    k : int
        The greatest list length, at which segments and variety are taken.
    against : str, optional
        Name of the model all are compared with.
    comparisons : mapping of str to Comparison
        Empty without `against`.
    varieties : mapping of str to Variety
        Empty without the popularity baseline.
    users, items : mapping of str to list
        Rows of cold, warm and hot.
    """

    k: int
    against: str | None
    comparisons: Mapping[str, Comparison]
    varieties: Mapping[str, Variety]
    users: Mapping[str, list[UserSegment]]
    items: Mapping[str, list[ItemSegment]]

    @classmethod
    def of(cls, results: Mapping[str, EvaluationResult], config: EvaluateConfig) -> Findings:
        """Work everything out."""
        k = max(config.k)
        against = None if config.against is None else name_of(config.against, results)
        compared = [f"{name}@{one}" for one in sorted(set(config.k)) for name in ("recall", "ndcg")]
        best = results.get(Popularity.kind)
        metrics = (f"recall@{k}", f"ndcg@{k}")
        return cls(
            k,
            against,
            {} if against is None else compare_all(results, against, metrics=compared),
            {} if best is None else {name: variety(one, best, k) for name, one in results.items()},
            {name: user_segments(one, metrics) for name, one in results.items()},
            {name: item_segments(one, k) for name, one in results.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """As ``json.dumps`` takes it; NaN becomes None."""
        values: dict[str, Any] = _without_nan(
            {
                "against": self.against,
                "comparisons": {name: one.to_json() for name, one in self.comparisons.items()},
                "varieties": {name: {**one._asdict(), "verdict": one.verdict} for name, one in self.varieties.items()},
                "segments": {
                    side: {
                        name: [{**row._asdict(), "segment": row.segment._asdict()} for row in rows]
                        for name, rows in models.items()
                    }
                    for side, models in (("users", self.users), ("items", self.items))
                },
            }
        )
        return values

    def grids(self) -> list[Grid]:
        """Everything as tables."""
        return [
            *([self._variety_grid()] if self.varieties else []),
            *([self._comparison_grid()] if self.comparisons else []),
            self._user_grid(),
            self._item_grid(),
        ]

    def _comparison_grid(self) -> Grid:
        first = next(iter(self.comparisons.values()))
        rows = [
            [
                name if not at else "",
                one.metric,
                f"{one.difference:+.4f}",
                f"{one.low:+.4f}",
                f"{one.high:+.4f}",
                f"{one.ours:.4f}",
                f"{one.adjusted_p:.4f}{'*' if one.adjusted_p < 0.05 else ' '}",
                f"{one.effect_size:+.2f}",
            ]
            for name, comparison in self.comparisons.items()
            for at, one in enumerate(comparison)
        ]
        users = sorted({one.n_users for comparison in self.comparisons.values() for one in comparison})
        return Grid(
            f"Compared with {self.against}",
            ("model", "metric", "difference", "low", "high", "mean", "p", "effect"),
            rows,
            f"Over the {' to '.join(f'{one:,}' for one in sorted({users[0], users[-1]}))} users that both judge. "
            f"Low and high: {first.confidence:.0%} interval of the difference of the means (BCa bootstrap of users, "
            f"{first.resamples:,} resamples). p: sign-flip test, after Holm over the whole table; * is below 0.05. "
            "Effect: mean of the differences over their standard deviation.",
            2,
        )

    def _variety_grid(self) -> Grid:
        return Grid(
            f"More than bestsellers? (lists of {self.k})",
            ("model", "verdict"),
            [[name, one.verdict] for name, one in self.varieties.items()],
            "Bestsellers: the popularity baseline. In common: places given to the same items as often. Close is what "
            "has half of the places or more in common, or half of what makes bestsellers more popular than usual.",
            2,
        )

    def _user_grid(self) -> Grid:
        rows = [
            [label, name, f"{row.users:,}", *map(_decimal, row.means.values())]
            for label, name, row in _by_segment(self.users)
        ]
        metrics = next(iter(self.users.values()))[0].means
        return Grid(
            "Users by number of training items",
            ("users", "model", "judged", *metrics),
            rows,
            f"Cold: fewer than {COLD}. Hot: the fewest with the most that hold half of the training items of all "
            "judged users. Users the model does not know are judged in no row; the counts say how many.",
            2,
        )

    def _item_grid(self) -> Grid:
        rows = [
            [label, name, f"{row.items:,}", *map(_percent, (row.exposure, row.hits, row.recall))]
            for label, name, row in _by_segment(self.items)
        ]
        return Grid(
            "Items by number of training users",
            ("items", "model", "number", "places", "hits", f"recall@{self.k}"),
            rows,
            f"Cold: fewer than {COLD}. Hot: the fewest with the most that hold half of all training events. Places: "
            f"share of all places in lists of {self.k}; hits: share of all hits; recall: share of the test events with "
            "these items that are found.",
            2,
        )


def all_metrics(results: Mapping[str, EvaluationResult]) -> Grid:
    """Means of every metric by model."""
    names = list(next(iter(results.values())).means)
    rows = [[name, *(_decimal(results[one].means[name]) for one in results)] for name in names]
    return Grid(
        "All metrics", ("metric", *results), rows, "Means over the judged users; coverage and Gini of all lists."
    )


def _by_segment(models: Mapping[str, Sequence[Any]]) -> list[tuple[str, str, Any]]:
    """Rows of all models, cold before warm before hot; each with its label where that is not the one above."""
    labelled, above = [], ""
    for at in range(3):
        for name, rows in models.items():
            segment: Segment = rows[at].segment
            label = f"{segment.name}, {segment.range}"
            labelled.append(("" if label == above else label, name, rows[at]))
            above = label
    return labelled


def _decimal(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
