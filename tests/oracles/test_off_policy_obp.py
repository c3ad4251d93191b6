"""Against obp 0.5.7 (Open Bandit Pipeline), frozen: `freeze_obp.py` says how its values were made.

Its slate estimators treat lists item by item where they are told the probabilities of items at positions.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from recsys.evaluation.off_policy import LoggedImpressions, clipped_ips, doubly_robust, ips, snips
from recsys.ids import IdMap

FROZEN = json.loads(Path(__file__).with_name("obp_values.json").read_text())
FEW = {"resamples": 50}

pytestmark = pytest.mark.filterwarnings("ignore::recsys.evaluation.off_policy.OffPolicyWarning")


def logged(case):
    """Rewards and propensities are all that estimators ask of a log: any users and items do."""
    request = np.array(case.get("request", np.arange(len(case["reward"]))), np.int64)
    lists = {"request": request, "position": np.array(case["position"], np.int32)} if "position" in case else {}
    return LoggedImpressions(
        users=IdMap.from_ids(f"u{one}" for one in range(request.max() + 1)),
        items=IdMap.from_ids(["i"]),
        user=request.astype(np.int32),
        item=np.zeros(len(request), np.int32),
        reward=np.array(case["reward"]),
        propensity=np.array(case["propensity"]),
        **lists,
    )


@pytest.mark.parametrize("case", FROZEN["single"])
def test_one_item(case):
    log, target = logged(case), np.array(case["target"])
    rewards = {name: np.array(case[name]) for name in ("predicted", "expected")}
    ours = {
        "ips": ips(log, target, **FEW).value,
        "clipped_ips": clipped_ips(log, target, clip=case["clip"], **FEW).value,
        "snips": snips(log, target, **FEW).value,
        "doubly_robust": doubly_robust(log, target, **rewards, **FEW).value,
    }
    assert ours == pytest.approx(case["values"], rel=1e-12)


@pytest.mark.parametrize("case", FROZEN["lists"])
def test_lists(case):
    log, target = logged(case), np.array(case["target"])
    ours = {"ips": ips(log, target, **FEW).value, "snips": snips(log, target, **FEW).value}
    assert ours == pytest.approx(case["values"], rel=1e-12)


def test_the_cases_are_those_obp_made():
    assert FROZEN["versions"]["obp"] == "0.5.7"
    clipped = [case["values"]["clipped_ips"] != case["values"]["ips"] for case in FROZEN["single"]]
    assert (len(FROZEN["single"]), len(FROZEN["lists"]), sum(clipped)) == (12, 6, 10)
