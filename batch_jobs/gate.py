"""The gate: what a candidate, and the artefact made of it, must reach before the pointer moves.

A candidate is compared with the twin of the model in service: the candidate judged that night, which like tonight's has
never learned the holdout, while what was published then has learned everything. It is compared as well with the best
twin accepted so far, which only a clearly better one (interval above 0) replaces, so that the losses of many nights do
not add up. Both comparisons are paired: the same users, the same held-out events, the same items to choose from.

The rule: the mean difference is not below ``-max_drop`` times what the other reaches, and the lower end of its 95 %
interval (BCa over users) not below twice that. With many users the first decides, and a candidate worse by exactly
`max_drop` is a toss-up. With few the second sees to it that one worse by twice `max_drop` passes in about 2.5 % of
nights, and says that the users were too few, not that the model is bad. At `max_drop` 0.1 and 100 judged users all of
400 honest retrains passed, and 3 % of the candidates 20 % worse; with 300 users all and none (`tests.benchmarks.gate`).

What is published is trained on all events afterwards and is another model. It is compared by the same rule with the
candidate that passed, over the events of the whole log, most of which both have learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from batch_jobs.config import EvaluateConfig, GateConfig
from batch_jobs.evaluate import Judgement
from batch_jobs.in_service import NOW, PublishedModel
from batch_jobs.paired import on_learned, on_unseen
from recsys.artifacts import ArtifactManifest
from recsys.data import Interactions
from recsys.data.cleaning import drop_light_events
from recsys.errors import ConfigError, GateRefusedError, InsufficientDataError
from recsys.evaluation import Difference, EvaluationResult
from recsys.evaluation.ranking_metrics import RANKING_METRICS
from recsys.ids import IdMap
from recsys.models import ServableRecommender
from recsys.weights import WeightRule

_BY_HAND = "What is meant to be so goes into service by hand: recsys train, then recsys publish VERSION"


class Verdict(NamedTuple):
    """Why a candidate passes, in words, and the version of the best twin so far; None if the candidate is better."""

    words: str
    best: str | None


def gate_metric(config: GateConfig, judged: EvaluateConfig) -> str:
    """Return the metric to gate by; `ConfigError` if it is none of those that will be judged."""
    metric = config.metric or f"ndcg@{max(judged.k)}"
    known = [f"{name}@{k}" for k in judged.k for name in RANKING_METRICS]
    if metric not in known:
        raise ConfigError(f"[gate] metric = {metric!r} is not judged; choose one of {', '.join(known)}")
    return metric


def gate(
    judgement: Judgement,
    current: ArtifactManifest | None,
    twins: Mapping[str, PublishedModel],
    config: GateConfig,
    metric: str,
) -> Verdict:
    """Return in words why the candidate passes.

    Parameters
    ----------
    judgement : Judgement
    current : ArtifactManifest, optional
        Of the model in service.
    twins : mapping of str to PublishedModel
        What there is to compare with: what stands for the model in service, and the best accepted so far where that is
        another. Empty for the first model, and where the one in service was judged otherwise or not at all.
    config : GateConfig
    metric : str

    Raises
    ------
    InsufficientDataError
        If too few users could be judged, or too few to rule out the drop that is not allowed.
    GateRefusedError
        With the figures and what to do.
    """
    if is_frozen := judgement.split.name.startswith("frozen"):
        _check_leak(judgement.candidate)
    words = _alone(judgement.candidate, config, metric)
    if not twins:
        why = "nothing is in service yet" if current is None else f"{NOW} left nothing judged by {judgement.split.name}"
        return Verdict(f"{words}; {why}{_beside_popularity(judgement, metric)}", None)
    candidate = cast(ServableRecommender, judgement.fitted.model)
    test = drop_light_events(judgement.split.test, judgement.fitted.cleaned.rule)
    for name, other in twins.items():
        if name == NOW:
            _check_lost(candidate, other, config, name)
        found = on_unseen(candidate, other, _of_its_time(other, test) if is_frozen else test, metric)
        _check_users(found.n_users, config)
        if name == NOW and is_frozen:
            _check_unchanged(found, other.manifest, config)
        words += "; " + _rule(found, config, "the candidate", name)
        best = None if found.low > 0 else other.manifest.version
    return Verdict(words + _beside_popularity(judgement, metric), best)


def check_artifact(
    artifact: PublishedModel, judged: PublishedModel, events: Interactions, config: GateConfig, metric: str
) -> str:
    """Compare what is about to be published with what was judged, over all events; return in words why it passes.

    It has learned what that one has and the held-out events besides, so that it can hardly be worse.
    """
    name = "the candidate that passed the gate"
    _check_lost(artifact, judged, config, name)
    rule = WeightRule(**artifact.manifest.config["weights"])
    found = on_learned(artifact, judged, drop_light_events(events, rule), metric)
    return _rule(found, config, "what was trained on all events", name)


def _check_leak(candidate: EvaluationResult) -> None:
    """Refuse held-out pairs that were trained on: where pairs are held out by a hash there can be none."""
    if leaked := candidate.counts["repeats"]:
        raise GateRefusedError(
            f"a leak, or mixed-up ids: {leaked:,} of {leaked + candidate.counts['relevant']:,} held-out pairs of user "
            "and item are in the training part too. No setting does that: it is a defect"
        )


def _alone(candidate: EvaluationResult, config: GateConfig, metric: str) -> str:
    """Check what needs no other model."""
    _check_users(len(candidate.users), config)
    reached = candidate.mean(metric)
    if not reached > 0:
        raise GateRefusedError(f"the candidate finds nothing: {metric} is {reached}. Look at data and settings")
    covered = candidate.mean(f"coverage@{metric.rpartition('@')[2]}")
    if covered < config.min_coverage:
        raise GateRefusedError(
            f"the candidate shows {covered:.1%} of the catalogue, {config.min_coverage:.1%} are asked for. "
            "Look at the settings of the model, or lower [gate] min_coverage"
        )
    return f"{metric} {reached:.4f}"


def _check_users(n_users: int, config: GateConfig) -> None:
    if n_users < config.min_users:
        raise InsufficientDataError(
            f"only {n_users} users could be judged, the gate asks for {config.min_users}",
            remedy="Wait for more events, or lower [gate] min_users",
        )


def _check_lost(ours: ServableRecommender, theirs: ServableRecommender, config: GateConfig, name: str) -> None:
    """Refuse a model that no longer knows who and what the other learned."""
    learned = theirs.dataset.interactions.compact()
    for what in ("users", "items"):
        known: IdMap = getattr(learned, what)
        lost = int((getattr(ours.dataset, what).encode(known.ids()) < 0).sum())
        if lost > config.max_lost * len(known):
            raise GateRefusedError(
                f"{lost:,} of {len(known):,} {what} of {name} are lost, more than {config.max_lost:.0%}. Look for them "
                f"in the data, or raise [gate] max_lost. {_BY_HAND}"
            )


def _check_unchanged(found: Difference, manifest: ArtifactManifest, config: GateConfig) -> None:
    """Refuse if a model that has not changed reaches much less than it did, on events that cannot change."""
    recorded = manifest.metrics.get(found.metric, 0.0)
    if found.theirs < (1 - config.max_drop) * recorded:
        raise GateRefusedError(
            f"{NOW} itself reaches {found.metric} {found.theirs:.4f} on the frozen holdout, where it reached "
            f"{recorded:.4f} when it was judged: the events are no longer what they were. Look at what was taken in "
            f"since. {_BY_HAND}"
        )


def _rule(found: Difference, config: GateConfig, ours: str, theirs: str) -> str:
    """Return the figures in words; refuse where the interval reaches beyond the drop that is allowed."""
    words = (
        f"{ours} reaches {found.metric} {found.ours:.4f} and {theirs} {found.theirs:.4f} on the same events of "
        f"{found.n_users:,} users, a difference of {found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
    )
    allowed = -config.max_drop * found.theirs
    if found.difference < allowed:
        raise GateRefusedError(
            f"{words}, and a drop of more than {config.max_drop:.0%} is refused. Look at data and settings, or raise "
            f"[gate] max_drop. {_BY_HAND}"
        )
    if max(found.low, -found.theirs) < 2 * allowed:  # nobody can lose more than all
        raise InsufficientDataError(
            f"{words}, too few to rule out a drop of more than {2 * config.max_drop:.0%}",
            remedy="Wait for more events, or raise [gate] holdout or max_drop",
        )
    return words


def _beside_popularity(judgement: Judgement, metric: str) -> str:
    reached = judgement.candidate.mean(metric)
    popularity = judgement.results.get("popularity", judgement.candidate).mean(metric)
    return f"; popularity alone reaches {popularity:.4f}" if popularity > reached else ""


def _of_its_time(model: PublishedModel, test: Interactions) -> Interactions:
    """Return the test events of the model's own time: of what came later it can know nothing."""
    window = model.manifest.data["window"]
    return test if test.timestamp is None or window is None else test.select(test.timestamp <= window[1])
