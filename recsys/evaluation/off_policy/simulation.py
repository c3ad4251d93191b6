"""Impressions of an invented shop whose every reward is known, so that estimates can be held against the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.data.synthetic import Synthetic
from recsys.errors import ConfigError
from recsys.evaluation.off_policy.impressions import LoggedImpressions
from recsys.evaluation.off_policy.policy import EpsilonGreedy

_INDIFFERENT, _KEEN = 0.02, 0.6  # chance of a click on what is looked at: on anything, and added by a perfect match


@dataclass(frozen=True, eq=False)
class SimulatedImpressions:
    """What `simulate_impressions` made, and the truth behind it.

    Parameters
    ----------
    logged : LoggedImpressions
    attraction : ndarray of shape (n_users, n_items), float64
        Chance of a click on an item that is looked at.
    examination : ndarray of shape (k,), float64
        Chance that a position is looked at.
    """

    logged: LoggedImpressions
    attraction: NDArray[np.float64]
    examination: NDArray[np.float64]

    def reward(
        self, user: NDArray[np.int32], item: NDArray[np.int32], position: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Return the true chance of a click, a `RewardModel`."""
        return np.asarray(self.attraction[user, item] * self.examination[position])

    def value(self, policy: EpsilonGreedy) -> float:
        """Return the true clicks per request of a policy, over all users alike."""
        n_users, k = len(self.attraction), len(self.examination)
        user = np.repeat(np.arange(n_users, dtype=np.int32), k)
        anything, position = np.zeros(len(user), np.int32), np.tile(np.arange(k, dtype=np.int32), n_users)
        everybody = LoggedImpressions(
            self.logged.users, self.logged.items, user, anything, np.zeros(len(user)), np.ones(len(user)),
            user.astype(np.int64), position,
        )  # fmt: skip
        return float(policy.expected(everybody, self.reward).sum() / n_users)


def simulate_impressions(made: Synthetic, policy: EpsilonGreedy, *, requests: int, seed: int) -> SimulatedImpressions:
    """Let a policy answer requests of users drawn at random, and the users click or not.

    The position-based click model: a click needs a look, ``1 / (1 + position)``, and an item that attracts, by the
    user's latest taste in its category and by its popularity. So the reward of an item depends on nothing else in the
    list, which is what the estimators assume.

    Parameters
    ----------
    made : Synthetic
        Users, items and tastes, of `recsys.data.synthetic.generate`; the policy's model is fitted on its interactions.
    policy : EpsilonGreedy
        The one in service. With an epsilon above 0, or the log knows nothing of other policies.
    requests : int
        At least 1, else `ConfigError`.
    seed : int
        The same arguments give the same bits.

    Examples
    --------
    >>> from recsys.data import Dataset
    >>> from recsys.data.synthetic import generate
    >>> from recsys.models import Popularity
    >>> made = generate(users=50, items=40, mean_history=6, categories=4, seed=1)
    >>> policy = EpsilonGreedy(Popularity().fit(Dataset.from_interactions(made.interactions)), k=3, epsilon=0.5)
    >>> simulate_impressions(made, policy, requests=100, seed=0).logged.n_requests
    100
    """
    if requests < 1:
        raise ConfigError(f"requests is {requests}. Give 1 or more")
    rng = np.random.default_rng(seed)
    attraction, examination = _attraction(made), 1.0 / np.arange(1, policy.k + 1)
    asking = rng.integers(0, len(attraction), requests).astype(np.int32)
    lists = policy.draw(asking, rng)
    request, position = np.nonzero(lists >= 0)
    user, item = asking[request], lists[request, position]
    clicked = rng.random(len(user)) < attraction[user, item] * examination[position]
    unweighted = LoggedImpressions(
        made.interactions.users, made.interactions.items, user, item, clicked.astype(np.float64), np.ones(len(user)),
        request.astype(np.int64), position.astype(np.int32),
    )  # fmt: skip
    logged = replace(unweighted, propensity=policy.probabilities(unweighted))
    return SimulatedImpressions(logged, attraction, examination)


def _attraction(made: Synthetic) -> NDArray[np.float64]:
    liking = made.final_taste / made.final_taste.max(axis=1, keepdims=True)
    match = liking[:, made.category]
    also = made.second_category >= 0
    match[:, also] = np.maximum(match[:, also], 0.5 * liking[:, made.second_category[also]])
    return np.asarray(_INDIFFERENT + _KEEN * match * np.sqrt(made.popularity / made.popularity.max()))
