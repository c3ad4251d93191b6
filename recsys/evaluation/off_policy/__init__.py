"""What another policy would have earned, from the log of the one that was in service."""

from recsys.evaluation.off_policy.estimate import Estimate, OffPolicyWarning
from recsys.evaluation.off_policy.estimators import clipped_ips, doubly_robust, ips, snips
from recsys.evaluation.off_policy.impressions import LoggedImpressions
from recsys.evaluation.off_policy.policy import EpsilonGreedy
from recsys.evaluation.off_policy.rewards import RewardModel, cross_fit
from recsys.evaluation.off_policy.simulation import SimulatedImpressions, simulate_impressions

__all__ = [
    "EpsilonGreedy",
    "Estimate",
    "LoggedImpressions",
    "OffPolicyWarning",
    "RewardModel",
    "SimulatedImpressions",
    "clipped_ips",
    "cross_fit",
    "doubly_robust",
    "ips",
    "simulate_impressions",
    "snips",
]
