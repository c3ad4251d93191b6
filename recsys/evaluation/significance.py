"""Is a mean of per-user differences more than chance: intervals by the bootstrap, tests by flipping signs, Holm.

Users are the sampling unit: the metrics of one user hang together, so a resample takes whole users, and a user's
values under both models stay a pair (Smucker, Allan and Carterette 2007, A Comparison of Statistical Significance Tests
for Information Retrieval Evaluation). There is no Wilcoxon test: it does not test the mean (arXiv 2305.02461; Urbano
2026, Stop Using the Wilcoxon Test).

Everything is drawn block by block, at most `_CELLS` users x resamples at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError, DataError, InsufficientDataError

Columns = NDArray[np.float64]

_CELLS = 1 << 20
_NORMAL = NormalDist()


def bca_interval(
    differences: NDArray[np.floating], *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the mean, bias-corrected and accelerated.

    With z0 the normal quantile of the share of resampled means below the mean, and acceleration ``a``, the interval
    ends at the resampled quantiles ``Phi(z0 + (z0 + z) / (1 - a (z0 + z)))`` for z at both tails (Efron 1987, Better
    Bootstrap Confidence Intervals). The jackknife's ``a`` is that of Efron and Tibshirani 1993, equation 14.15; of a
    mean it is ``sum u^3 / (6 (sum u^2)^1.5)`` with u the deviations from it.

    Parameters
    ----------
    differences : ndarray of shape (n_users,), floating
        Finite, of two users at least. Where they are all equal, both ends are that value.
    resamples : int
        So many that both tails hold one at least.
    confidence : float
        Between 0 and 1.
    seed : int
        Of ``numpy.random.default_rng``.

    Returns
    -------
    low, high : float

    Raises
    ------
    ConfigError
        If `resamples` or `confidence` cannot be used.
    InsufficientDataError
        If there are fewer than two users.
    DataError
        If a difference is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> low, high = bca_interval(np.array([0.1, 0.0, 0.3, 0.2, 0.0, 0.1]))
    >>> round(low, 2), round(high, 2)
    (0.05, 0.22)
    """
    low, high = bca_intervals(_column(differences), resamples, confidence, seed)[0]
    return float(low), float(high)


def sign_flip_test(differences: NDArray[np.floating], *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of "neither model is better": how often random signs give a mean at least as far from 0.

    The randomisation test of Smucker et al. (2007): if the models do not differ, a user's two values could have changed
    places. The observed signs count as one of the draws, ``(1 + as far) / (1 + resamples)``, so that p is never 0 and
    never too small (Phipson and Smyth 2010, Permutation P-values Should Never Be Zero).

    Parameters
    ----------
    differences : ndarray of shape (n_users,), floating
        Finite, of two users at least.
    resamples : int
        Random signs for everybody, that many times.
    seed : int
        Of ``numpy.random.default_rng``.

    Raises
    ------
    ConfigError, InsufficientDataError, DataError
        As `bca_interval`.

    Examples
    --------
    >>> import numpy as np
    >>> round(sign_flip_test(np.array([0.1, 0.0, 0.3, 0.2, 0.0, 0.1])), 2)
    0.13
    """
    return float(sign_flip_p(_column(differences), resamples, seed)[0])


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values adjusted for their number: rejecting those below 0.05 errs once or more in at most 5 % of all families.

    The i-th smallest of m is multiplied by m - i + 1, and none may be below a smaller one (Holm 1979, A Simple
    Sequentially Rejective Multiple Test Procedure). Valid however the tests hang together.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def bca_intervals(differences: Columns, resamples: int, confidence: float, seed: int) -> NDArray[np.float64]:
    """`bca_interval` of each column, shape (n_columns, 2); all columns see the same resampled users."""
    _check(differences, resamples)
    if not 0 < confidence < 1 or resamples * (1 - confidence) < 2:
        raise ConfigError(
            f"confidence is {confidence:g} of {resamples:,} resamples. Give a confidence between 0 and 1, such as "
            "0.95, and so many resamples that two or more lie outside"
        )
    rng = np.random.default_rng(seed)
    n, width = differences.shape
    means = np.empty((resamples, width))
    for part in _blocks(resamples, n):
        rows = np.arange(part.stop - part.start)[:, None] * n
        drawn = rows + rng.integers(0, n, (len(rows), n))
        # How often each user was drawn: one product then serves every metric.
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        means[part] = counts.astype(np.float64) @ differences / n
    return np.array([_bca(differences[:, one], means[:, one], confidence) for one in range(width)])


def sign_flip_p(differences: Columns, resamples: int, seed: int) -> NDArray[np.float64]:
    """`sign_flip_test` of each column, shape (n_columns,); all columns see the same signs."""
    _check(differences, resamples)
    rng = np.random.default_rng(seed)
    total, as_far = differences.sum(axis=0), np.zeros(differences.shape[1])
    # The same differences summed in another order must count as equally far.
    rounding = 1e-12 * np.abs(differences).sum(axis=0)
    for part in _blocks(resamples, len(differences)):
        cells = (part.stop - part.start) * len(differences)
        bits = np.unpackbits(np.frombuffer(rng.bytes(-(-cells // 8)), np.uint8), count=cells)
        flipped = 2.0 * (bits.reshape(-1, len(differences)).astype(np.float64) @ differences) - total
        as_far += (np.abs(flipped) >= np.abs(total) - rounding).sum(axis=0)
    p: NDArray[np.float64] = (1.0 + as_far) / (1.0 + resamples)
    return p


def _bca(differences: NDArray[np.float64], means: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    mean = differences.mean()
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    deviations = differences - mean
    acceleration = (deviations**3).sum() / (6.0 * (deviations**2).sum() ** 1.5)
    # Differences of top-k metrics are few distinct values: resampled means that tie with the mean lie half below.
    near = np.isclose(means, mean, rtol=1e-12, atol=1e-12 * np.abs(differences).max())
    below = np.mean(np.where(near, 0.5, means < mean))
    z0 = _NORMAL.inv_cdf(float(np.clip(below, 0.5 / len(means), 1 - 0.5 / len(means))))
    tails = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = z0 + _NORMAL.inv_cdf(tail)
        tails.append(_NORMAL.cdf(z0 + z / (1 - acceleration * z)))
    low, high = np.quantile(means, tails)
    return float(low), float(high)


def _blocks(resamples: int, n_users: int) -> Iterator[slice]:
    step = max(1, _CELLS // n_users)
    return (slice(start, min(start + step, resamples)) for start in range(0, resamples, step))


def _column(differences: NDArray[np.floating]) -> Columns:
    if differences.ndim != 1:
        raise DataError(f"differences of shape {differences.shape} are not one value per user")
    return differences.astype(np.float64)[:, None]


def _check(differences: Columns, resamples: int) -> None:
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}. Give a positive number, such as 10000")
    if len(differences) < 2:
        raise InsufficientDataError(
            f"{len(differences)} users cannot show how much users differ", remedy="Compare over two users or more"
        )
    if not np.isfinite(differences).all():
        raise DataError("a difference is not finite", remedy="Leave out the users that one model has no value for")
