"""`EvaluationResult`: the value of each user, and the means as views of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.evaluation.segments import Traces


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """How one model did on one test part.

    Parameters
    ----------
    users : tuple of str
        External ids of the judged users, in ascending order of the model's rows.
    values : mapping of str to ndarray of shape (n_users,), float64
        By names such as ``recall@20``; NaN for a user who has none, as the novelty of an empty list.
    overall : mapping of str to float
        Values that all lists have together and no user alone, such as ``coverage@20``; NaN if there was no list.
    counts : mapping of str to int
        What was judged and what was left out, as `recsys.evaluation.relevance.relevant_items` explains.
    traces : Traces, optional
        Where in the catalogue the lists and their hits are, and how much each user had in training.
    """

    users: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    overall: Mapping[str, float]
    counts: Mapping[str, int]
    traces: Traces | None = None

    def per_user(self, name: str) -> NDArray[np.float64]:
        """Value of each user, in the order of `users`; `ConfigError` for a name without per-user values."""
        if name not in self.values:
            raise ConfigError(f"there is no metric {name!r} per user. There are {', '.join(self.values)}")
        return self.values[name]

    def mean(self, name: str) -> float:
        """Mean over the users with a value, or the overall value; `ConfigError` for an unknown name."""
        if name not in self.means:
            raise ConfigError(f"there is no metric {name!r}. There are {', '.join(self.means)}")
        return self.means[name]

    @cached_property
    def means(self) -> Mapping[str, float]:
        """Every mean and overall value by name."""
        means = {name: _mean(values) for name, values in self.values.items()}
        return MappingProxyType({**means, **self.overall})

    def to_json(self) -> dict[str, dict[str, float | None] | dict[str, int]]:
        """Means and counts as ``json.dumps`` takes them: NaN becomes None. Users and their values stay out."""
        return {
            "means": {name: None if math.isnan(value) else value for name, value in self.means.items()},
            "counts": dict(self.counts),
        }


def _mean(values: NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")
