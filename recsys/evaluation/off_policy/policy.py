"""`EpsilonGreedy`: a recommender as a policy, whose probabilities are known."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError, DataError
from recsys.evaluation.off_policy.impressions import LoggedImpressions
from recsys.evaluation.off_policy.rewards import RewardModel

if TYPE_CHECKING:
    # The protocol is all that is needed of the models; importing their package would load kernels.
    from recsys.models.base import Recommender

_CELLS = 1 << 20  # rewards or random numbers in memory at a time


class EpsilonGreedy:
    """The model's list, or with probability epsilon a random one: k distinct items the user does not have.

    A list of a deterministic recommender is the case of epsilon 0. At a position, with n items the user does not have::

        P(item) = (1 - epsilon) [the model's list has it there] + epsilon / n

    Parameters
    ----------
    model : Recommender
        Fitted. Its dataset also says what a user has.
    k : int
        Length of the lists.
    epsilon : float
        From 0 to 1.

    Raises
    ------
    ConfigError
        If `k` or `epsilon` is out of its range.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> from recsys.models import Popularity
    >>> pairs = [("anna", "tea", 1.0), ("bo", "tea", 1.0), ("bo", "milk", 1.0), ("cleo", "rice", 1.0)]
    >>> data = Dataset.from_interactions(interactions_from_tuples(pairs))
    >>> logged = LoggedImpressions(
    ...     users=data.users, items=data.items,
    ...     user=data.users.encode(["anna", "anna", "anna"]), item=data.items.encode(["milk", "rice", "tea"]),
    ...     reward=np.array([1.0, 0.0, 1.0]), propensity=np.array([0.5, 0.4, 0.1]),
    ... )
    >>> EpsilonGreedy(Popularity().fit(data), k=1, epsilon=0.2).probabilities(logged).tolist()
    [0.9, 0.1, 0.0]
    """

    def __init__(self, model: Recommender, *, k: int, epsilon: float) -> None:
        if k < 1 or not 0 <= epsilon <= 1:
            raise ConfigError(
                f"k is {k} and epsilon {epsilon}. Give a list length of 1 or more and a share from 0 to 1"
            )
        self.model, self.k, self.epsilon = model, k, epsilon

    def probabilities(self, logged: LoggedImpressions) -> NDArray[np.float64]:
        """Probability of each logged item at its position, as the estimators take it.

        Raises
        ------
        DataError
            If the log counts users or items in other rows than the model.
        ConfigError
            If it has positions beyond `k`.
        """
        self._check(logged)
        users, place = np.unique(logged.user, return_inverse=True)
        lists, free = self._lists(users)[place], self._free[logged.user]
        listed = lists[np.arange(len(logged)), logged.places] == logged.item
        random = ~self._has(logged.user, logged.item) & (logged.places < free)
        chances = (1 - self.epsilon) * listed + self.epsilon * random / np.maximum(free, 1)
        return np.where(logged.item >= 0, chances, 0.0)

    def expected(self, logged: LoggedImpressions, reward: RewardModel) -> NDArray[np.float64]:
        """Return the policy's expected reward for the user of each row at its position, as `doubly_robust` takes it.

        Every item the user does not have is predicted, block by block; with epsilon 0 only the model's list is.

        Parameters
        ----------
        logged : LoggedImpressions
        reward : callable
            Given rows of users and items, and positions.
        """
        self._check(logged)
        pairs, place = np.unique(logged.user.astype(np.int64) * self.k + logged.places, return_inverse=True)
        user, position = (pairs // self.k).astype(np.int32), (pairs % self.k).astype(np.int32)
        users, owner = np.unique(user, return_inverse=True)
        item = self._lists(users)[owner, position]
        there, mean = item >= 0, np.zeros(len(pairs))
        mean[there] = (1 - self.epsilon) * reward(user[there], item[there], position[there])
        if self.epsilon:
            for some in _blocks(len(pairs), len(self._dataset.items)):
                mean[some] += self.epsilon * self._random_reward(user[some], position[some], reward)
        return mean[place]

    def draw(self, users: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        """Act: one list for each request, item rows of shape (n_requests, k), padded with -1.

        Parameters
        ----------
        users : ndarray of shape (n_requests,), int32
            Rows of those who ask.
        rng : Generator
        """
        distinct, place = np.unique(users, return_inverse=True)
        lists = self._lists(distinct)[place]
        explored = np.flatnonzero(rng.random(len(users)) < self.epsilon)
        for some in _blocks(len(explored), len(self._dataset.items)):
            lists[explored[some]] = self._random_lists(users[explored[some]], rng)
        return lists

    @property
    def _dataset(self) -> Dataset:
        return self.model.dataset

    @cached_property
    def _free(self) -> NDArray[np.int64]:
        """How many items each user does not have."""
        return np.asarray(len(self._dataset.items) - np.diff(self._dataset.seen_items.indptr), np.int64)

    @cached_property
    def _owned(self) -> NDArray[np.int64]:
        """What users have, as ``user * n_items + item``, rising."""
        seen = self._dataset.seen_items
        owner = np.repeat(np.arange(seen.shape[0], dtype=np.int64), np.diff(seen.indptr))
        return np.asarray(owner * len(self._dataset.items) + seen.indices)

    def _has(self, user: NDArray[np.int32], item: NDArray[np.int32]) -> NDArray[np.bool_]:
        wanted = user.astype(np.int64) * len(self._dataset.items) + item
        place = np.minimum(np.searchsorted(self._owned, wanted), len(self._owned) - 1)
        return np.asarray(self._owned[place] == wanted)

    def _lists(self, users: NDArray[np.int32]) -> NDArray[np.int32]:
        return self.model.recommend(self._dataset.users.ids(users), self.k).rows

    def _catalogue(self, users: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """All items beside each user, flat, and which of them the user has, users x items."""
        item = np.tile(np.arange(len(self._dataset.items), dtype=np.int32), len(users))
        return item, self._has(np.repeat(users, len(self._dataset.items)), item).reshape(len(users), -1)

    def _random_lists(self, users: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        has = self._catalogue(users)[1]
        order = np.where(has, 2.0, rng.random(has.shape))
        rows = np.argsort(order, axis=1)[:, : self.k].astype(np.int32)
        rows[np.take_along_axis(has, rows, axis=1)] = -1
        return np.pad(rows, ((0, 0), (0, self.k - rows.shape[1])), constant_values=-1)

    def _random_reward(
        self, user: NDArray[np.int32], position: NDArray[np.int32], reward: RewardModel
    ) -> NDArray[np.float64]:
        item, has = self._catalogue(user)
        rewards = reward(np.repeat(user, has.shape[1]), item, np.repeat(position, has.shape[1])).reshape(has.shape)
        free = self._free[user]
        return np.asarray(np.where(has, 0.0, rewards).sum(axis=1) / np.maximum(free, 1) * (position < free))

    def _check(self, logged: LoggedImpressions) -> None:
        for name, theirs, ours in (
            ("users", logged.users, self._dataset.users),
            ("items", logged.items, self._dataset.items),
        ):
            if theirs is not ours and theirs.fingerprint != ours.fingerprint:
                raise DataError(
                    f"the log counts {name} in other rows than the model",
                    remedy="Build it with the maps of model.dataset",
                )
        if logged.places.max() >= self.k:
            raise ConfigError(f"position {logged.places.max()} was logged. Give k = {logged.places.max() + 1} or more")


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _CELLS // width)
    return (slice(start, start + step) for start in range(0, rows, step))
