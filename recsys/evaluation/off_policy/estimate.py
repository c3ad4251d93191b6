"""`Estimate`: a value, its interval, and how far the log knows what it says."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InsufficientDataError
from recsys.evaluation.off_policy.impressions import LoggedImpressions
from recsys.evaluation.significance import bca_interval

_FEWEST = 200  # effective rows: with 50 to 110, nominal 95 % were measured to be 91 to 94, with more 93 to 96
_STANDARD_ERRORS = 4.0  # between the mean weight and 1: beyond chance


class OffPolicyWarning(UserWarning):
    """The log says too little about the policy, or its propensities are not those of the logger."""


@dataclass(frozen=True)
class Estimate:
    """What a policy is worth, and how much the log knows about it.

    Parameters
    ----------
    value : float
        Reward per request.
    low, high : float
        Ends of the interval.
    effective_sample_size : float
        ``(sum w)^2 / sum w^2`` over rows (Kish 1965), of weights as they are used: so many rows of the policy's own
        would tell as much.
    largest_weight : float
        As it is used, that is after clipping.
    support : float
        Mean weight over rows, without clipping. Expected is the share of what the policy shows that the logger could
        have shown, so about 1 where it could have shown all of it.
    """

    value: float
    low: float
    high: float
    effective_sample_size: float
    largest_weight: float
    support: float


def estimate(
    logged: LoggedImpressions,
    weight: NDArray[np.float64],
    used: NDArray[np.float64],
    terms: NDArray[np.float64],
    confidence: float,
    resamples: int,
    seed: int,
) -> Estimate:
    """Put together what the rows say: ``terms`` sum to the value, ``used`` are the weights after clipping."""
    requests = np.bincount(logged.user[np.unique(logged.request_numbers, return_index=True)[1]])
    users = requests > 0
    if users.sum() < 2:
        raise InsufficientDataError("an interval needs requests of two users or more", field="user")
    value = terms.sum() / logged.n_requests
    shares = _linear(np.bincount(logged.user, terms)[users], requests[users])
    low, high = bca_interval(shares, confidence=confidence, resamples=resamples, seed=seed)
    effective = used.sum() ** 2 / (used**2).sum()
    support = _linear(np.bincount(logged.user, weight)[users], np.bincount(logged.user)[users])
    _warn(effective, support, len(logged))
    return Estimate(float(value), low, high, float(effective), float(used.max()), float(weight.mean()))


def _linear(total: NDArray[Any], count: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Values of users whose mean is ``sum(total) / sum(count)`` and varies, to first order, as it does."""
    ratio = total.sum() / count.sum()
    return np.asarray(ratio + (total - ratio * count) / count.mean())


def _warn(effective: float, support: NDArray[np.float64], rows: int) -> None:
    if effective < _FEWEST:
        warnings.warn(
            f"the log says little about this policy: {rows:,} rows are worth {effective:.3g} of its own, and below "
            f"{_FEWEST} the interval is too narrow. Log more, or with more exploration",
            OffPolicyWarning,
            stacklevel=4,
        )
        return
    mean, error = support.mean(), support.std(ddof=1) / np.sqrt(len(support))
    if abs(mean - 1) > _STANDARD_ERRORS * error + 1e-9:
        unshown = "the logger cannot show all the policy shows, or " if mean < 1 else ""
        warnings.warn(
            f"the weights average to {mean:.3g} and not to 1: {unshown}the propensities are not those of the logger, "
            "or the target probabilities those of no policy",
            OffPolicyWarning,
            stacklevel=4,
        )
