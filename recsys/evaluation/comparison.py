"""`compare`: two models over the same users, metric by metric, with an interval and a corrected test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError, InsufficientDataError
from recsys.evaluation.result import EvaluationResult
from recsys.evaluation.significance import bca_intervals, holm, sign_flip_p

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Difference:
    """How far two models are apart in one metric, over the users that both judge.

    Parameters
    ----------
    metric : str
    ours, theirs : float
        Means.
    difference : float
        Mean of ours minus theirs.
    low, high : float
        BCa bootstrap interval of `difference`.
    p_value : float
        Of the sign-flip test.
    adjusted_p : float
        The same after Holm, over all metrics (and models) compared together.
    effect_size : float
        Mean of the differences over their standard deviation (Cohen's d of pairs); 0 where they are all equal.
    n_users : int
    """

    metric: str
    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p: float
    effect_size: float
    n_users: int


@dataclass(frozen=True)
class Comparison:
    """A sequence of `Difference`, one per metric, and how they were computed."""

    differences: tuple[Difference, ...]
    resamples: int
    confidence: float
    seed: int

    def __len__(self) -> int:
        """Return the number of metrics."""
        return len(self.differences)

    def __getitem__(self, position: int) -> Difference:
        """Return the difference at that position."""
        return self.differences[position]

    def __iter__(self) -> Iterator[Difference]:
        """Go through the differences."""
        return iter(self.differences)

    def to_json(self) -> dict[str, Any]:
        """Everything as ``json.dumps`` takes it."""
        return asdict(self)

    def table(self) -> Table:
        """One row per metric, the counts of users underneath; a star where the adjusted p is below 0.05."""
        from rich.table import Table
        from rich.text import Text

        counts = sorted({one.n_users for one in self})
        users = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
        caption = Text(f"paired over {users} users; p after Holm, * below 0.05; d is mean / sd", style="table.caption")
        rendered = Table("metric", caption=caption, caption_justify="left")
        for name in ("ours", "theirs", f"difference, {100 * self.confidence:g} % interval", "p", "d"):
            rendered.add_column(Text(name), justify="right")
        for one in self:
            rendered.add_row(
                Text(one.metric),
                f"{one.ours:.4f}",
                f"{one.theirs:.4f}",
                f"{one.difference:+.4f} ({one.low:+.4f} {one.high:+.4f})",
                f"{one.adjusted_p:.4f}{'*' if one.adjusted_p < 0.05 else ' '}",
                f"{one.effect_size:+.2f}",
            )
        return rendered


def compare(
    ours: EvaluationResult,
    theirs: EvaluationResult,
    *,
    metrics: Sequence[str] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two models judged on the same test part, over the users that both judge, paired by external id.

    Parameters
    ----------
    ours, theirs : EvaluationResult
    metrics : sequence of str, optional
        Per-user metrics; all that both have without it. Ask for the few that matter: Holm charges for each.
    resamples : int
        Of the bootstrap and of the signs.
    confidence : float
        Of the intervals.
    seed : int
        The same seed gives the same numbers, whatever the order of the users.

    Returns
    -------
    Comparison
        Users without a value of a metric under one model (NaN, as the diversity of an empty list) are left out of that
        metric and not counted in its `n_users`.

    Raises
    ------
    ConfigError
        If a metric is not in both, or `resamples` or `confidence` cannot be used.
    InsufficientDataError
        If fewer than two users are common.

    Examples
    --------
    >>> import numpy as np
    >>> from recsys.evaluation import EvaluationResult
    >>> ours = EvaluationResult(("a", "b", "c"), {"ndcg@10": np.array([0.5, 0.4, 0.2])}, {}, {})
    >>> theirs = EvaluationResult(("b", "c", "d"), {"ndcg@10": np.array([0.2, 0.1, 0.9])}, {}, {})
    >>> [(one.metric, round(one.difference, 2), one.n_users) for one in compare(ours, theirs)]
    [('ndcg@10', 0.15, 2)]
    """
    found = _differences(ours, theirs, metrics, resamples, confidence, seed)
    return Comparison(_adjusted(found), resamples, confidence, seed)


def compare_all(
    results: Mapping[str, EvaluationResult],
    against: str,
    *,
    metrics: Sequence[str] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Mapping[str, Comparison]:
    """`compare` every other result with `against`; Holm counts all models and metrics as one family.

    Parameters
    ----------
    results : mapping of str to EvaluationResult
        By model name.
    against : str
        Name of the result that is ``theirs`` everywhere.
    metrics, resamples, confidence, seed
        As `compare`.

    Raises
    ------
    ConfigError
        As `compare`, and if `against` is not among the results or alone there.
    InsufficientDataError
        As `compare`.
    """
    names = [name for name in results if name != against]
    if against not in results or not names:
        raise ConfigError(f"there is nothing to compare with {against!r} among {', '.join(results) or 'no results'}")
    found = [_differences(results[name], results[against], metrics, resamples, confidence, seed) for name in names]
    adjusted = iter(_adjusted([one for family in found for one in family]))
    return MappingProxyType(
        {
            name: Comparison(tuple(next(adjusted) for _ in family), resamples, confidence, seed)
            for name, family in zip(names, found, strict=True)
        }
    )


def _adjusted(found: Sequence[Difference]) -> tuple[Difference, ...]:
    adjusted = holm([one.p_value for one in found])
    return tuple(replace(one, adjusted_p=float(p)) for one, p in zip(found, adjusted, strict=True))


def _differences(
    ours: EvaluationResult,
    theirs: EvaluationResult,
    metrics: Sequence[str] | None,
    resamples: int,
    confidence: float,
    seed: int,
) -> list[Difference]:
    """Without the correction: `adjusted_p` is the p-value still."""
    names = [name for name in ours.values if name in theirs.values] if metrics is None else list(metrics)
    if not names:
        raise ConfigError("there is no metric to compare. Give results that share a metric per user, or name one")
    our_rows, their_rows = _common_users(ours, theirs)
    a = np.stack([ours.per_user(name)[our_rows] for name in names], axis=1)
    b = np.stack([theirs.per_user(name)[their_rows] for name in names], axis=1)
    present = ~(np.isnan(a) | np.isnan(b))
    found: dict[str, Difference] = {}
    # Metrics that the same users have share their resamples.
    for pattern in np.unique(present, axis=1).T:
        columns = np.flatnonzero((present == pattern[:, None]).all(axis=0))
        cells = np.ix_(pattern, columns)
        family = [names[column] for column in columns]
        found.update(zip(family, _together(family, a[cells], b[cells], resamples, confidence, seed), strict=True))
    return [found[name] for name in names]


def _together(
    names: list[str],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    resamples: int,
    confidence: float,
    seed: int,
) -> Iterator[Difference]:
    differences = a - b
    if len(differences) < 2:
        raise InsufficientDataError(
            f"{len(differences)} users have {', '.join(names)} under both models, two or more are needed",
            remedy="Judge both on the same test part, with the same user ids",
        )
    intervals = bca_intervals(differences, resamples, confidence, seed)
    p_values = sign_flip_p(differences, resamples, seed)
    for column, name in enumerate(names):
        one, p = differences[:, column], float(p_values[column])
        yield Difference(
            metric=name,
            ours=float(a[:, column].mean()),
            theirs=float(b[:, column].mean()),
            difference=float(one.mean()),
            low=float(intervals[column, 0]),
            high=float(intervals[column, 1]),
            p_value=p,
            adjusted_p=p,
            effect_size=0.0 if np.ptp(one) == 0 else float(one.mean() / one.std(ddof=1)),
            n_users=len(one),
        )


def _common_users(ours: EvaluationResult, theirs: EvaluationResult) -> tuple[list[int], list[int]]:
    """Rows in both results, in the order of the external ids, so that the order of the results does not matter."""
    our_rows, their_rows = ({user: row for row, user in enumerate(one.users)} for one in (ours, theirs))
    users = sorted(our_rows.keys() & their_rows.keys())
    return [our_rows[user] for user in users], [their_rows[user] for user in users]
