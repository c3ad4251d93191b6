"""What the plots of a report show, as numbers: by popularity, by length of history, coverage, calibration, learning."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.result import EvaluationResult
from recsys.evaluation.segments import Segment, at, item_segments, mean, traces

_BUCKETS = 7  # as many as have room for their names on a phone
_BINS = 10
_POINTS = 40  # of a coverage curve

Points = dict[float, float]


@dataclass(frozen=True)
class Chart:
    """One plot.

    Parameters
    ----------
    name, title, about : str
        A word for files and anchors, a heading, and what is to be seen, in a sentence.
    x, y : str
        Labels of the axes with their units.
    lines : mapping of str to dict of float to float
        By model: y at each x; an x without a value is left out.
    ticks : sequence of str
        Names of the x 0, 1, 2, ... where they are classes.
    log : bool
        Whether x is on a logarithmic scale.
    diagonal : bool
        Whether points should lie on y = x.
    """

    name: str
    title: str
    about: str
    x: str
    y: str
    lines: Mapping[str, Points]
    ticks: Sequence[str] = ()
    log: bool = False
    diagonal: bool = False

    def to_json(self) -> dict[str, Any]:
        """Everything as ``json.dumps`` takes it: the points of a line as pairs."""
        lines = {name: [list(point) for point in points.items()] for name, points in self.lines.items()}
        return {**asdict(self), "lines": lines, "ticks": list(self.ticks)}


def by_popularity(results: Mapping[str, EvaluationResult], k: int) -> Chart:
    """Recall of test items by how many training users they have, in per cent."""
    first = traces(next(iter(results.values()))).popularity
    buckets = _buckets(first)
    lines = {
        name: _line(100 * one.recall for one in item_segments(result, k, buckets)) for name, result in results.items()
    }
    return Chart(
        "popularity",
        "Recall by popularity of the item",
        f"Of the test events whose item has so many training users, how many are in the list of {k}. Below each class "
        "stands its number of items.",
        "training users of the item (number; items below)",
        f"test events found in {k} (%)",
        lines,
        _named(buckets, first),
    )


def by_history(results: Mapping[str, EvaluationResult], metric: str) -> Chart:
    """Mean of a metric by how many items a user has in training."""
    first = traces(next(iter(results.values()))).histories
    buckets = _buckets(first)
    lines = {}
    for name, result in results.items():
        histories, values = traces(result).histories, result.per_user(metric)
        lines[name] = _line(mean(values[bucket.mask(histories)]) for bucket in buckets)
    return Chart(
        "history",
        "Accuracy by length of history",
        "Mean over the users with so many training items. Below each class stands its number of users.",
        "training items of the user (number; users below)",
        f"{metric} (mean, 0 to 1)",
        lines,
        _named(buckets, first),
    )


def coverage_curve(results: Mapping[str, EvaluationResult], k: int) -> Chart:
    """Share of all places in lists that the most shown items take."""
    lines = {}
    for name, result in results.items():
        shown = np.sort(at(traces(result).shown, k))[::-1]
        taken = 100 * np.cumsum(shown) / max(shown.sum(), 1)
        points = np.unique(np.geomspace(1, len(shown), _POINTS).round().astype(int))
        lines[name] = {float(100 * n / len(shown)): float(taken[n - 1]) for n in points}
    return Chart(
        "coverage",
        "Coverage of the catalogue",
        f"The share of all places in lists of {k} that goes to the most shown items. Where a line reaches 100% is the "
        "coverage; the further to the right, the more even.",
        "catalogue, most shown first (% of items)",
        "places in lists (%)",
        lines,
        log=True,
    )


def calibration(
    name: str, predicted: NDArray[np.floating[Any]], observed: NDArray[np.floating[Any]], unit: str
) -> Chart:
    """Mean observed value by predicted value, in bins of equally many pairs.

    Parameters
    ----------
    name : str
        Of the model.
    predicted, observed : ndarray of shape (n_pairs,)
        At least one pair.
    unit : str
        Of both, such as ``rating``.
    """
    order = np.argsort(predicted, kind="stable")
    bins = [part for part in np.array_split(order, _BINS) if len(part)]
    points = {float(predicted[part].mean()): float(observed[part].mean()) for part in bins}
    return Chart(
        "calibration",
        "Calibration",
        f"Mean observed against mean predicted {unit}, in {len(bins)} bins of equally many of {len(order):,} test "
        "events. What is well calibrated lies on the diagonal.",
        f"predicted {unit} (mean of the bin)",
        f"observed {unit} (mean of the bin)",
        {name: points},
        diagonal=True,
    )


def learning(name: str, loss: Sequence[float]) -> Chart:
    """Training loss by epoch."""
    return Chart(
        "learning",
        "Learning curve",
        "What training minimises, after each epoch. It is of training events: it says whether training has settled, "
        "not how good the lists are.",
        "epoch (number)",
        "training loss (unit of the objective)",
        {name: _epochs(loss)},
    )


def validation(name: str, scores: Sequence[float], metric: str) -> Chart:
    """Mean of a metric on a validation part by epoch."""
    return Chart(
        "validation",
        "Accuracy by epoch",
        "Of a model trained on an earlier cut of the training part, judged on what was cut off. Where the line falls, "
        "further epochs learn noise; where it still rises, more of them may help.",
        "epoch (number)",
        f"validation {metric} (mean, 0 to 1)",
        {name: _epochs(scores)},
    )


def _buckets(counts: NDArray[np.int64]) -> list[Segment]:
    """Return classes that grow by the smallest whole factor with which there are few enough; 0 alone, if need be."""
    most, nothing = int(counts.max(initial=1)), [Segment("", 0, 0)] if (counts == 0).any() else []
    for factor in itertools.count(2):
        lowest = [factor**power for power in range(64) if factor**power <= most]
        if len(lowest) < _BUCKETS:
            highest = [*(one - 1 for one in lowest[1:]), None]
            return nothing + [Segment("", *edges) for edges in zip(lowest, highest, strict=True)]
    raise AssertionError


def _named(buckets: Sequence[Segment], counts: NDArray[np.int64]) -> list[str]:
    return [f"{bucket.range}\n({bucket.mask(counts).sum():,})" for bucket in buckets]


def _epochs(values: Sequence[float]) -> Points:
    return {float(epoch): float(value) for epoch, value in enumerate(values, 1)}


def _line(values: Any) -> Points:
    return {float(x): y for x, y in enumerate(values) if not np.isnan(y)}
