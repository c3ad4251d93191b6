"""Judge a model on held-out events, beside the baselines and what is in service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batch_jobs.against import IN_SERVICE, check_against, stored_models
from batch_jobs.config import JobConfig, call
from batch_jobs.console import Screen
from batch_jobs.findings import Findings, all_metrics
from batch_jobs.plots import plots
from batch_jobs.report import checked_page, write_report
from batch_jobs.runs import Run, recording
from batch_jobs.splits import check_test_file, sampled, split_of, validation_split
from batch_jobs.stores import Stores
from batch_jobs.train import Fit, Logged, check_settings, fit, make_model, read_log, with_features
from recsys.data import (
    Dataset,
    Interactions,
    Split,
    clean,
)
from recsys.data.cleaning import drop_light_events
from recsys.errors import InsufficientDataError
from recsys.evaluation import EvaluationResult, evaluate, table
from recsys.models import ItemKNN, Popularity, Recommender
from recsys.models.training import EpochModel

_VALIDATED = 2000  # users judged after each epoch


@dataclass(frozen=True, eq=False)
class Judgement:
    """How the candidate and those beside it did on one split.

    Parameters
    ----------
    fitted : Fit
        The candidate, trained on the training part.
    split : Split
    results : mapping of str to EvaluationResult
        By name: the kind of the candidate, the baselines, and "in service" where that model saw no test event.
    """

    fitted: Fit
    split: Split
    results: Mapping[str, EvaluationResult]

    @property
    def candidate(self) -> EvaluationResult:
        """Result of the candidate."""
        return self.results[self.fitted.model.kind]


def judge(
    stores: Stores, config: JobConfig, logged: Logged, screen: Screen, run: Run, split: Split | None = None
) -> Judgement:
    """Train the candidate on the training part of a split, that of the settings if none is given, and rank for all.

    The record of the run is told of it.
    """
    model = make_model(config.model)
    run.trains(model)
    split = split or split_of(logged.interactions, config)
    fitted = fit(stores, model, split.train, config, screen)
    models: dict[str, Recommender] = {fitted.model.kind: fitted.model}
    if config.evaluate.baselines or config.evaluate.against is not None:
        dataset = fitted.model.dataset
        for baseline in (Popularity(), ItemKNN()):
            if baseline.kind not in models:
                models[baseline.kind] = baseline.fit(dataset)
    models |= stored_models(stores, config, split, screen)
    # A test event too light to be positive feedback in training is none in the test either.
    test = drop_light_events(split.test, fitted.cleaned.rule)
    results = {}
    for name, model in models.items():
        with screen.bar(f"judging {name}") as step:
            try:
                results[name] = evaluate(model, test, k=config.evaluate.k, progress=step)
            except InsufficientDataError:
                if name != IN_SERVICE:  # it may know none of tonight's users
                    raise
    run.judges(split.name, split.test, fitted.model.kind, results)
    return Judgement(fitted, split, results)


def show(judgement: Judgement, screen: Screen) -> dict[str, Any]:
    """Print the table of results; return it as plain values."""
    screen.table(table(judgement.results))
    return {name: result.to_json() for name, result in judgement.results.items()}


def evaluate_job(stores: Stores, config: JobConfig, screen: Screen) -> dict[str, Any]:
    """Judge the configured model on the event log; stored are the record of it and, where it is asked for, a report."""
    with recording(stores.runs, "evaluate", config, screen) as run:
        check_settings(config)
        check_test_file(config)
        check_against(stores, config)
        page = None if config.evaluate.report is None else checked_page(config.evaluate.report)
        logged = read_log(stores, config, screen)
        run.reads(logged.interactions)
        judgement = judge(stores, config, logged, screen, run)
    results = show(judgement, screen)
    findings = Findings.of(judgement.results, config.evaluate)
    for grid in findings.grids():
        screen.table(grid.rich())
    facts = {
        "namespace": config.namespace,
        "split": judgement.split.name,
        "train_events": len(judgement.split.train),
        "test_events": len(judgement.split.test),
        "results": results,
        **findings.to_json(),
    }
    if page is None:
        return facts
    scores = by_epoch(stores, config, judgement.split.train, f"ndcg@{findings.k}", screen)
    with screen.bar("drawing the report"):
        plotted = plots(judgement.fitted, judgement.split, judgement.results, findings.k, scores)
        write_report(page, facts, all_metrics(judgement.results), findings, plotted)
    return {**facts, "report": str(page)}


def by_epoch(stores: Stores, config: JobConfig, train: Interactions, metric: str, screen: Screen) -> list[float]:
    """Return a metric after each epoch, of a model trained once more on an earlier cut of the training part.

    It is judged on what was cut off, by `_VALIDATED` users at most, so that no test event is looked at. Empty for a
    model that is not trained in epochs, and where too little is left to train or judge on.
    """
    scores: list[float] = []
    model: Any = make_model(config.model)
    if not issubclass(type(model), EpochModel):
        return scores
    try:
        inner = validation_split(train, config)
        cleaned = call(clean, config.clean, "clean", inner.train)
        test = sampled(drop_light_events(inner.test, cleaned.rule), _VALIDATED)
        dataset = with_features(stores, Dataset.from_interactions(cleaned.interactions, inner.train), config, screen)

        def judged(one: Recommender) -> None:
            scores.append(evaluate(one, test, k=(int(metric.partition("@")[2]),)).mean(metric))

        with screen.bar(f"{model.kind} by epoch") as step:
            model.fit(dataset, progress=step, on_epoch=judged)
    except InsufficientDataError:
        return []
    return scores
