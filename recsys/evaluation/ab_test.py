"""Is one variant of an experiment better than another: lifts with intervals over users, and whether the split is sound.

Users are the sampling unit, as they are what is split; the metrics of one user hang together. A metric is a quotient of
sums over users, R = sum(x) / sum(y): conversions per user with y = 1, click-through with y the items shown. To first
order it varies as the mean of its residuals does (the delta method; Deng, Knoblich and Lu 2018, Applying the Delta
Method in Metric Analytics)::

    se(R)^2 = n / (n - 1) sum((x - R y)^2) / sum(y)^2

A lift is R_b / R_a - 1. Its logarithm is closer to normal than itself, so that the interval is worked out there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from recsys.errors import DataError, InsufficientDataError
from recsys.evaluation.significance import holm

Column = NDArray[np.float64]
Metric = tuple[Column, Column]
"""What is counted of each user, and what it is divided by."""

MISMATCH = 1e-3
"""Below this p-value users are not split as they should be, and nothing else in a report can be believed."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Ratio:
    """A metric of one variant.

    Parameters
    ----------
    value, error : float
        The quotient, and its standard error over users.
    n_users : int
    """

    value: float
    error: float
    n_users: int

    @classmethod
    def of(cls, metric: Metric) -> Ratio:
        """Work out the formulas above; `InsufficientDataError` for less than two users."""
        x, y = metric
        if len(x) < 2:
            raise InsufficientDataError(f"{len(x)} users of a variant cannot show how much users differ")
        value = x.sum() / y.sum()
        spread = len(x) / (len(x) - 1) * ((x - value * y) ** 2).sum()
        return cls(float(value), float(math.sqrt(spread) / y.sum()), len(x))


@dataclass(frozen=True)
class Lift:
    """How much more a variant has of a metric than the one it is compared with.

    Parameters
    ----------
    variant, metric : str
    lift, low, high : float
        As a share: 0.1 is a tenth more. The interval is of the confidence that was asked for.
    p_value, adjusted_p : float
        Of no lift at all, the latter after Holm over all variants and metrics of a report.
    """

    variant: str
    metric: str
    lift: float
    low: float
    high: float
    p_value: float
    adjusted_p: float


def lifts(
    variants: Mapping[str, Mapping[str, Metric]], *, confidence: float = 0.95
) -> tuple[dict[str, dict[str, Ratio]], list[Lift]]:
    """Return every metric of every variant, and the lifts over the first variant.

    A metric that is nowhere above 0 in one of two variants has no lift.

    Parameters
    ----------
    variants : mapping of str to mapping of str to Metric
        By variant and metric: numerator and denominator of each user.
    confidence : float

    Raises
    ------
    InsufficientDataError
        If a variant has less than two users.

    Examples
    --------
    >>> one = np.ones(4)
    >>> old, new = ({"bought": (np.array(bought), one)} for bought in ([0.0, 1, 1, 2], [1.0, 1, 2, 2]))
    >>> ratios, (lift,) = lifts({"old": old, "new": new})
    >>> ratios["new"]["bought"].value, round(lift.lift, 3), lift.low < 0 < lift.high
    (1.5, 0.5, True)
    """
    ratios = {name: {metric: Ratio.of(one) for metric, one in told.items()} for name, told in variants.items()}
    first, *others = ratios
    found = [
        _lift(name, metric, ours, ratios[first][metric], confidence)
        for name in others
        for metric, ours in ratios[name].items()
        if ours.value > 0 and ratios[first][metric].value > 0
    ]
    adjusted = holm([one.p_value for one in found])
    return ratios, [replace(one, adjusted_p=float(p)) for one, p in zip(found, adjusted, strict=True)]


def _lift(variant: str, metric: str, ours: Ratio, theirs: Ratio, confidence: float) -> Lift:
    middle = math.log(ours.value / theirs.value)
    error = math.hypot(ours.error / ours.value, theirs.error / theirs.value)
    wide = _NORMAL.inv_cdf((1 + confidence) / 2) * error
    p = 2 * _NORMAL.cdf(-abs(middle) / error) if error else float(middle == 0)
    low, high = (math.exp(end) - 1 for end in (middle - wide, middle + wide))
    return Lift(variant, metric, math.exp(middle) - 1, low, high, p, p)


def sample_ratio_p(users: Sequence[int], shares: Sequence[float]) -> float:
    """Return the chance that users who are split by these shares are as far from them as these, or farther.

    Pearson's chi-square test (Fabijan et al. 2019, Diagnosing Sample Ratio Mismatch in Online Controlled Experiments).
    Below `MISMATCH` something splits them otherwise, or loses those of one variant.

    Raises
    ------
    DataError
        If somebody is in a variant of no share.

    Examples
    --------
    >>> round(sample_ratio_p([520, 480], [0.5, 0.5]), 3)
    0.206
    """
    counts, wanted = np.asarray(users, np.float64), np.asarray(shares, np.float64)
    if (counts[wanted == 0] > 0).any():
        raise DataError("somebody is in a variant that has no share", field="variant")
    expected = counts.sum() * wanted[wanted > 0] / wanted.sum()
    if len(expected) < 2 or not counts.sum():
        return 1.0
    return float(chdtrc(len(expected) - 1, ((counts[wanted > 0] - expected) ** 2 / expected).sum()))
