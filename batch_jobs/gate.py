"""The gate: what a candidate must reach before the pointer moves to it."""

from __future__ import annotations

import numpy as np

from batch_jobs.config import EvaluateConfig, GateConfig
from batch_jobs.evaluate import IN_SERVICE, Judgement
from recsys.artifacts import ArtifactManifest
from recsys.errors import ConfigError, GateRefusedError, InsufficientDataError
from recsys.evaluation import EvaluationResult
from recsys.evaluation.ranking_metrics import RANKING_METRICS


def gate_metric(config: GateConfig, judged: EvaluateConfig) -> str:
    """Return the metric to gate by; `ConfigError` if it is none of those that will be judged."""
    metric = config.metric or f"ndcg@{max(judged.k)}"
    known = [f"{name}@{k}" for k in judged.k for name in RANKING_METRICS]
    if metric not in known:
        raise ConfigError(f"[gate] metric = {metric!r} is not judged; choose one of {', '.join(known)}")
    return metric


def gate(judgement: Judgement, current: ArtifactManifest | None, config: GateConfig, metric: str) -> str:
    """Return in words why the candidate passes.

    It must be judged on enough users, find something at all, show enough of the catalogue, and not fall more than
    `max_drop` below the model in service: on the same test events, for the users both can be judged on, where that
    model never saw them, else against what that model reached under the same protocol.

    Raises
    ------
    InsufficientDataError
        If too few users could be judged.
    GateRefusedError
        With the figures.
    """
    candidate = judgement.candidate
    if len(candidate.users) < config.min_users:
        raise InsufficientDataError(
            f"only {len(candidate.users)} users could be judged, the gate asks for {config.min_users}",
            remedy="Wait for more events, or lower [gate] min_users",
        )
    reached = candidate.mean(metric)
    if not reached > 0:
        raise GateRefusedError(f"the candidate finds nothing: {metric} is {reached}")
    covered = candidate.mean(f"coverage@{metric.rpartition('@')[2]}")
    if covered < config.min_coverage:
        raise GateRefusedError(
            f"the candidate shows {covered:.1%} of the catalogue, {config.min_coverage:.1%} are asked for"
        )
    words = _against_current(judgement, current, config, metric)
    popularity = judgement.results.get("popularity", candidate).mean(metric)
    return f"{words}; popularity alone reaches {popularity:.4f}" if popularity > reached else words


def _against_current(judgement: Judgement, current: ArtifactManifest | None, config: GateConfig, metric: str) -> str:
    reached = judgement.candidate.mean(metric)
    words = f"{metric} {reached:.4f}"
    if current is None:
        return f"{words}; nothing is in service yet"
    if IN_SERVICE in judgement.results:
        reached, before, users = _in_common(judgement.candidate, judgement.results[IN_SERVICE], metric)
        how = f"on the same test events of {users:,} users"
        if not users:
            return f"{words}; no test user is known to it and to the model in service"
    elif current.data.get("judged_by") == judgement.split.name and metric in current.metrics:
        before, how = float(current.metrics[metric]), "when it was judged by the same protocol"
    else:
        return f"{words}; the model in service was never judged by {judgement.split.name}"
    words = f"{metric} {reached:.4f}; the model in service reached {before:.4f} {how}"
    if reached < before * (1 - config.max_drop):
        raise GateRefusedError(f"{words}, and a drop of more than {config.max_drop:.0%} is refused")
    return words


def _in_common(candidate: EvaluationResult, before: EvaluationResult, metric: str) -> tuple[float, float, int]:
    """Means over the users that both results judge, and their number."""
    _, ours, theirs = np.intersect1d(candidate.users, before.users, assume_unique=True, return_indices=True)
    if not len(ours):
        return float("nan"), float("nan"), 0
    means = float(candidate.per_user(metric)[ours].mean()), float(before.per_user(metric)[theirs].mean())
    return *means, len(ours)
