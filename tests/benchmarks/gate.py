"""How often the gate errs: honest retrains it blocks, and worse candidates it lets pass, by how many users judge.

In an invented shop of many users, yesterday's candidate is the twin, and tonight's are retrains with other seeds on the
events of a day more. Worse ones are retrains whose user vectors are blurred until NDCG@20 over all users is so much
below the twin's. A night draws some of the users, and the rule of the gate decides on them.
"""

from pathlib import Path

import numpy as np

from batch_jobs.config import GateConfig
from batch_jobs.gate import _rule
from batch_jobs.paired import Among
from recsys.data import Dataset, frozen_split
from recsys.data.synthetic import generate
from recsys.errors import GateRefusedError, InsufficientDataError
from recsys.evaluation import Difference, bca_interval, evaluate
from recsys.models import ImplicitALS
from tests.benchmarks.harness import options, report

METRIC, DROPS, USERS = "ndcg@20", (0.0, 0.05, 0.1, 0.15, 0.2), (30, 100, 300, 1000)
SETTINGS = {"factors": 16, "unobserved_weight": 0.7, "regularization": 0.02, "threads": 2}


class Shop:
    """The twin, retrains of the next night, and the value of each user under both."""

    def __init__(self, users, retrains):
        made = generate(users=users, items=400, mean_history=25, categories=8, seed=11).interactions
        order = np.argsort(made.timestamp, kind="stable")
        before, tonight = made.select(order[: len(order) * 364 // 365]), made.select(order)
        self.twin = ImplicitALS(**SETTINGS, seed=0).fit(Dataset.from_interactions(frozen_split(before, 0.1).train))
        split = frozen_split(tonight, 0.1)
        self.test, data = split.test, Dataset.from_interactions(split.train)
        self.retrains = [ImplicitALS(**SETTINGS, seed=seed).fit(data) for seed in range(1, retrains + 1)]
        users, items = self.twin.dataset.users, self.twin.dataset.items
        self.left_out = Dataset(data.interactions.recode(users, items)[0])
        self.theirs = self.values(Among(self.twin, self.left_out))

    def values(self, model):
        return evaluate(model, self.test, k=(20,)).per_user(METRIC)

    def blurred(self, model, much):
        """Values of a model whose users are less like themselves."""
        among = Among(model, self.left_out)
        vectors = among.export().user_vectors
        noise = np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
        vectors += np.float32(much * vectors.std()) * noise
        return self.values(among)

    def worse(self, model, drop):
        """Values of the model blurred until it is that much below the twin."""
        low, high = 0.0, 2.0
        for _ in range(8):
            middle = (low + high) / 2
            found = self.blurred(model, middle)
            low, high = (middle, high) if found.mean() > (1 - drop) * self.theirs.mean() else (low, middle)
        return found


def outcome(ours, theirs):
    """What the gate says to the values of some users."""
    low, high = bca_interval(ours - theirs, resamples=1000)
    means = ours.mean(), theirs.mean(), (ours - theirs).mean()
    try:
        _rule(Difference(METRIC, *map(float, means), low, high, 1.0, 1.0, 0.0, len(ours)), GateConfig(), "", "")
    except GateRefusedError:
        return "refused"
    except InsufficientDataError:
        return "too few"
    return "passes"


def main():
    given = options(__doc__.splitlines()[0])
    nights = 100 if given.quick else 400
    shop, rng, rows = Shop(4000, 4 if given.quick else 10), np.random.default_rng(0), []
    for drop in DROPS:
        some = shop.retrains if drop == 0 else shop.retrains[:3]
        values = [shop.blurred(one, 0.0) if drop == 0 else shop.worse(one, drop) for one in some]
        reached = np.mean([one.mean() for one in values]) / shop.theirs.mean() - 1
        for users in USERS:
            said = []
            for night in range(nights):
                drawn = rng.choice(len(shop.theirs), users, replace=False)
                said.append(outcome(values[night % len(values)][drawn], shop.theirs[drawn]))
            shares = {name: said.count(name) / nights for name in ("passes", "refused", "too few")}
            rows.append({"drop": drop, "reached": f"{reached:+.3f}", "users": users, "nights": nights, **shares})
    report("What the gate says, max_drop 0.1", rows, given.json or Path("var/bench/gate.jsonl"))


if __name__ == "__main__":
    main()
