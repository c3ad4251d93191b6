"""A small world whose every probability is known: kinds of users, items, clicks; logs of it, and the truth."""

import numpy as np

from recsys.evaluation.off_policy import LoggedImpressions
from recsys.ids import IdMap


def policy_of(scores, floor):
    """Rows of probabilities, none below floor / items."""
    soft = np.exp(scores)
    return (1 - floor) * soft / soft.sum(axis=1, keepdims=True) + floor / scores.shape[1]


class Bandit:
    """A user of kind x sees item a by `logger[x, a]`, would by `target[x, a]`, and clicks by `clicks[x, a]`."""

    def __init__(self, seed=7, kinds=5, items=6, sharpness=1.0):
        rng = np.random.default_rng(seed)
        self.clicks = rng.beta(1, 3, (kinds, items))
        self.logger = policy_of(sharpness * rng.standard_normal((kinds, items)), 0.3)
        self.target = policy_of(sharpness * rng.standard_normal((kinds, items)), 0.0)
        self.model = np.clip(self.clicks + 0.05 * rng.standard_normal((kinds, items)), 0, 1)  # a good one, not exact
        self.items = IdMap.from_ids(f"i{one}" for one in range(items))
        self._users = {}

    @property
    def value(self):
        return (self.target * self.clicks).sum(axis=1).mean()

    def variance(self, model=0.0):
        """Of one row of doubly robust with that model; of IPS with none."""
        w, m = self.target / self.logger, np.broadcast_to(model, self.clicks.shape)
        expected = (self.target * m).sum(axis=1, keepdims=True)
        second = (expected + w * (self.clicks - m)) ** 2 + w**2 * self.clicks * (1 - self.clicks)
        return (self.logger * second).sum(axis=1).mean() - self.value**2

    def log(self, n, rng, per_user=1):
        """Return a log of n requests, each user's `per_user` of one kind, and that kind by row."""
        user = np.arange(n, dtype=np.int32) // per_user
        kind = rng.integers(0, len(self.clicks), user[-1] + 1)[user]
        item = (rng.random(n)[:, None] > self.logger.cumsum(axis=1)[kind]).sum(axis=1)
        item = np.minimum(item, len(self.items) - 1).astype(np.int32)
        clicked = (rng.random(n) < self.clicks[kind, item]).astype(np.float64)
        return LoggedImpressions(self.users(n), self.items, user, item, clicked, self.logger[kind, item]), kind

    def users(self, n):
        if n not in self._users:
            self._users[n] = IdMap.from_ids(f"u{one}" for one in range(n))
        return self._users[n]

    def shown(self, logged, kind):
        """Probability of what was shown, under the target."""
        return self.target[kind, logged.item]

    def rewards(self, logged, kind, model=None):
        """What doubly robust takes."""
        m = self.model if model is None else model
        return {"predicted": m[kind, logged.item], "expected": (self.target * m).sum(axis=1)[kind]}
