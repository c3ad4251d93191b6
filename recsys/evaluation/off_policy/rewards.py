"""Models of rewards, for the doubly robust estimator, and how they are kept from knowing what they are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.evaluation.off_policy.impressions import LoggedImpressions

if TYPE_CHECKING:
    from recsys.evaluation.off_policy.policy import EpsilonGreedy  # which knows of reward models

RewardModel = Callable[[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]], NDArray[np.float64]]
"""Expected reward of (user rows, item rows, positions), one for each."""


def cross_fit(
    logged: LoggedImpressions,
    policy: EpsilonGreedy,
    fit: Callable[[LoggedImpressions], RewardModel],
    *,
    folds: int = 2,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rewards by models that have not seen them, for `doubly_robust`: each fold of requests by a fit on the others.

    Parameters
    ----------
    logged : LoggedImpressions
    policy : EpsilonGreedy
        The one that is judged.
    fit : callable
        Given a part of the log, returns a `RewardModel`.
    folds : int
        2 up to the number of requests, else `ConfigError`.
    seed : int
        Of the folds.

    Returns
    -------
    predicted, expected : ndarray of shape (n_rows,), float64
        Of an item that is not in the maps the prediction is 0: its weight is 0 too.
    """
    if not 2 <= folds <= logged.n_requests:
        raise ConfigError(f"folds is {folds}. Give 2 up to the number of requests, {logged.n_requests:,}")
    fold_of = np.random.default_rng(seed).permutation(logged.n_requests) % folds
    fold = fold_of[logged.request_numbers]
    predicted, expected = np.zeros(len(logged)), np.empty(len(logged))
    for one in range(folds):
        part, reward = logged.select(fold == one), fit(logged.select(fold != one))
        known = (fold == one) & (logged.item >= 0)
        predicted[known] = reward(logged.user[known], logged.item[known], logged.places[known])
        expected[fold == one] = policy.expected(part, reward)
    return predicted, expected
