"""What obp (Open Bandit Pipeline) makes of random logs, frozen: it needs versions of its own that no suite can share.

Run in an environment of its own, Python 3.11, from the repository root; its estimators ask torch for nothing but the
names of types, so any object that has them will do in its place::

    pip install --no-deps --ignore-requires-python obp==0.5.7
    pip install "numpy<2" "pandas<2" "scikit-learn<1.2" "scipy<1.11" pyyaml tqdm matplotlib seaborn mypy-extensions
    python tests/oracles/freeze_obp.py > tests/oracles/obp_values.json
"""

import json
import platform
import sys
from importlib.metadata import version
from types import ModuleType

import numpy as np


class Names(ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> type:
        return type(name, (), {})


def estimators() -> ModuleType:
    """Import obp, with names in place of torch; here and not above, since the tests read every file for doctests."""
    for name in ("torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.utils", "torch.utils.data"):
        sys.modules[name] = Names(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    from obp import ope

    return ope


def single(ope: ModuleType, seed: int) -> dict:
    """One item per request."""
    rng = np.random.default_rng(seed)
    n, items = int(rng.integers(5, 40)), int(rng.integers(2, 7))
    logger, target = rng.dirichlet(np.ones(items), n), rng.dirichlet(np.ones(items), n)
    if seed % 2:  # a deterministic policy
        target = np.eye(items)[target.argmax(axis=1)]
    action = np.array([rng.choice(items, p=row) for row in logger])
    row = np.arange(n)
    reward = np.round(rng.normal(1, 2, n), 3) if seed % 3 else rng.integers(0, 2, n).astype(float)
    log = {"reward": reward, "action": action, "pscore": logger[row, action], "action_dist": target[:, :, None]}
    model = rng.normal(0.5, 1, (n, items))
    both = {**log, "estimated_rewards_by_reg_model": model[:, :, None]}
    clip = float(np.round(rng.uniform(0.5, 3), 2))
    values = {
        "ips": ope.InverseProbabilityWeighting().estimate_policy_value(**log),
        "clipped_ips": ope.InverseProbabilityWeighting(lambda_=clip).estimate_policy_value(**log),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**log),
        "doubly_robust": ope.DoublyRobust().estimate_policy_value(**both),
    }
    return {
        "reward": reward.tolist(),
        "propensity": log["pscore"].tolist(),
        "target": target[row, action].tolist(),
        "predicted": model[row, action].tolist(),
        "expected": (target * model).sum(axis=1).tolist(),
        "clip": clip,
        "values": {name: float(value) for name, value in values.items()},
    }


def lists(ope: ModuleType, seed: int) -> dict:
    """Lists, item by item."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(4, 20)), int(rng.integers(2, 6))
    columns = {
        "slate_id": np.repeat(np.arange(n), k),
        "position": np.tile(np.arange(k), n),
        "reward": rng.integers(0, 2, n * k).astype(float),
        "pscore_item_position": rng.uniform(0.05, 1, n * k),
        "evaluation_policy_pscore_item_position": rng.uniform(0, 1, n * k),
    }
    values = {
        "ips": ope.SlateIndependentIPS(len_list=k).estimate_policy_value(**columns),
        "snips": ope.SelfNormalizedSlateIndependentIPS(len_list=k).estimate_policy_value(**columns),
    }
    names = ("request", "position", "reward", "propensity", "target")
    return {**{name: one.tolist() for name, one in zip(names, columns.values(), strict=True)}, "values": values}


if __name__ == "__main__":
    ope = estimators()
    versions = {name: version(name) for name in ("obp", "numpy")}
    frozen = {
        "made_by": "tests/oracles/freeze_obp.py",
        "versions": {"python": platform.python_version(), **versions},
        "single": [single(ope, seed) for seed in range(12)],
        "lists": [lists(ope, seed) for seed in range(100, 106)],
    }
    json.dump(frozen, sys.stdout, indent=None, separators=(",", ":"))
    print()
