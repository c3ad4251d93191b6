"""Estimators of a policy's value: the reward per request it would have had, were it in service when the log was made.

With w = target / propensity, a value is the mean over requests of the sum over positions of

    w r                                 ips             unbiased; the variance grows with the weights
    min(w, clip) r                      clipped_ips     less variance; too low where rewards are positive
    w r / mean of w at the position     snips           consistent; never beyond the largest rewards
    expected + w (r - predicted)        doubly_robust   unbiased; the variance shrinks as predictions get better

A list is judged item by item: what is shown at a position is weighed by the chance of that item at that position alone
(Li et al. 2018, Offline evaluation of ranking policies with click models). That is right where the reward of an item
depends on the user, the item and the position, and wrong where it depends on what else is in the list: with a reader
who stops at the first hit, or among near-duplicates. In return, weights do not grow exponentially with the length.

Intervals resample users, since the requests of one user are alike; they are for the users of whom these are a sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError, DataError, InsufficientDataError
from recsys.evaluation.off_policy.estimate import Estimate, estimate
from recsys.evaluation.off_policy.impressions import LoggedImpressions, check_rows


def ips(
    logged: LoggedImpressions,
    target: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Estimate:
    """Inverse propensity score (Horvitz and Thompson 1952): unbiased where the logger can show all the policy shows.

    Parameters
    ----------
    logged : LoggedImpressions
    target : ndarray of shape (n_rows,), float64
        Probability of each logged item, at its position, under the policy that is judged; see `EpsilonGreedy`.
    confidence, resamples, seed : optional
        Of the bootstrap interval; see `recsys.evaluation.significance.bca_interval`.

    Raises
    ------
    DataError
        If `target` has another length than the log or is no probability, naming the row.
    InsufficientDataError
        If the policy shows nothing of what was logged, or there are fewer than two users.

    Warns
    -----
    OffPolicyWarning
        If the effective sample size is below 200, or the weights do not average to 1 as they must.

    Examples
    --------
    Somebody asked a thousand times; black was shown three times in four, and liked half the time.

    >>> from recsys.ids import IdMap
    >>> n = np.arange(1000)
    >>> logged = LoggedImpressions(
    ...     users=IdMap.from_ids(f"u{one}" for one in n), items=IdMap.from_ids(["black", "green"]),
    ...     user=n.astype(np.int32), item=(n % 4 == 3).astype(np.int32),
    ...     reward=(n % 8 < 3).astype(float), propensity=np.where(n % 4 == 3, 0.25, 0.75),
    ... )
    >>> always_black = (logged.item == 0).astype(float)
    >>> round(ips(logged, always_black).value, 3)
    0.5
    """
    weight = _weights(logged, target)
    return estimate(logged, weight, weight, weight * logged.reward, confidence, resamples, seed)


def clipped_ips(
    logged: LoggedImpressions,
    target: NDArray[np.float64],
    *,
    clip: float,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Estimate:
    """IPS with weights of at most `clip` (Ionides 2008): less variance for a value that is too low if rewards are not.

    The interval is for the clipped value and knows nothing of the bias. Parameters and errors are otherwise those of
    `ips`; `ConfigError` if `clip` is not above 0.
    """
    if not clip > 0:
        raise ConfigError(f"clip is {clip}. Give the largest weight, above 0")
    weight = _weights(logged, target)
    clipped = np.minimum(weight, clip)
    return estimate(logged, weight, clipped, clipped * logged.reward, confidence, resamples, seed)


def snips(
    logged: LoggedImpressions,
    target: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Estimate:
    """Self-normalised IPS (Swaminathan and Joachims 2015): weights are divided by their mean, position by position.

    Consistent, and unlike IPS it moves along when all rewards do: adding 1 to them adds 1 per position. Parameters and
    errors are those of `ips`; `InsufficientDataError` also if nothing of the policy was logged at some position.
    """
    weight, position = _weights(logged, target), logged.places
    rows = np.maximum(np.bincount(position), 1)
    total = np.bincount(position, weight)
    if not total[position].all():
        lost = position[np.argmin(total[position])]
        raise InsufficientDataError(f"nothing of what was logged at position {lost} would be shown by the policy")
    mean = np.bincount(position, weight * logged.reward) / np.where(total > 0, total, 1)
    # Linear in the rows, so that resampling them tells how the quotient varies: sums to the quotients themselves.
    terms = (
        mean[position] + weight * (logged.reward - mean[position]) * (rows / np.where(total > 0, total, 1))[position]
    )
    return estimate(logged, weight, weight, terms, confidence, resamples, seed)


def doubly_robust(
    logged: LoggedImpressions,
    target: NDArray[np.float64],
    *,
    predicted: NDArray[np.float64],
    expected: NDArray[np.float64],
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Estimate:
    """Doubly robust (Dudik, Langford and Li 2011): a model predicts the rewards, IPS corrects its errors.

    Unbiased whatever the predictions are, as long as they do not know the rewards they are held against: a model that
    is fitted on this log is fitted by `cross_fit`. Other parameters and errors are those of `ips`.

    Parameters
    ----------
    predicted : ndarray of shape (n_rows,), float64
        The model's reward of what was shown.
    expected : ndarray of shape (n_rows,), float64
        The model's reward, averaged over what the policy would show to the user of the row at its position.
    """
    for name, column in (("predicted", predicted), ("expected", expected)):
        _check_length(name, column, len(logged))
        check_rows(name, column, np.isfinite(column), "is not finite")
    weight = _weights(logged, target)
    terms = expected + weight * (logged.reward - predicted)
    return estimate(logged, weight, weight, terms, confidence, resamples, seed)


def _check_length(name: str, column: NDArray[np.float64], length: int) -> None:
    if column.shape != (length,):
        raise DataError(f"has shape {column.shape}; expected ({length},), one for each logged row", field=name)


def _weights(logged: LoggedImpressions, target: NDArray[np.float64]) -> NDArray[np.float64]:
    _check_length("target", target, len(logged))
    check_rows("target", target, (target >= 0) & (target <= 1), "is no probability")
    if not target.any():
        raise InsufficientDataError(
            "nothing of what was logged would be shown by the policy", remedy="Log with more exploration"
        )
    return target / logged.propensity
