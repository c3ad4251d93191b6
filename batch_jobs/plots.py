"""Which charts a judgement has: those of all models, and those that only some candidates have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from batch_jobs.train import Fit
from recsys.data import Split
from recsys.data.cleaning import merge_duplicates
from recsys.evaluation import EvaluationResult
from recsys.evaluation.charts import (
    Chart,
    by_history,
    by_popularity,
    calibration,
    coverage_curve,
    learning,
    validation,
)
from recsys.models import BiasedMF, FactorizationMachine, Recommender


class Plots(NamedTuple):
    """Charts, and in words what could not be drawn."""

    charts: list[Chart]
    left_out: list[str]


def plots(fitted: Fit, split: Split, results: Mapping[str, EvaluationResult], k: int, scores: Sequence[float]) -> Plots:
    """Return what is drawn: of all models how lists depend on popularity and history, of the candidate what it has.

    `scores` are the NDCG at k after each epoch, none where there is none.
    """
    model = fitted.model
    charts = [by_popularity(results, k), by_history(results, f"ndcg@{k}"), coverage_curve(results, k)]
    left_out = []
    drawn = _calibration(model, fitted, split)
    if isinstance(drawn, str):
        left_out.append(drawn)
    else:
        charts.append(drawn)
    loss = getattr(model, "loss", [])
    if loss:
        charts.append(learning(model.kind, loss))
        if scores:
            charts.append(validation(model.kind, scores, f"ndcg@{k}"))
        else:
            left_out.append("No accuracy by epoch: an earlier cut leaves too little to train or judge on.")
    else:
        left_out.append(f"No learning curve: {model.kind} is not trained in epochs.")
    return Plots(charts, left_out)


def _calibration(model: Recommender, fitted: Fit, split: Split) -> Chart | str:
    """Predicted against observed, or why there is none."""
    unit = _predicts(model)
    if unit is None or not isinstance(model, BiasedMF | FactorizationMachine):
        return f"No calibration: {model.kind} ranks items; its scores predict neither a rating nor a probability."
    # What the model was trained to predict, not the raw weight: the same rule drops, merges and transforms.
    test = merge_duplicates(split.test, fitted.cleaned.rule)
    observed = test.weight if unit == "rating" else (test.weight > 0).astype(np.float32)
    if len(np.unique(observed)) < 2:
        return "No calibration: all test events are alike, whatever is predicted."
    predicted = model.predict(test.users.ids(test.user), test.items.ids(test.item))
    return calibration(model.kind, predicted, observed, unit)


def _predicts(model: Recommender) -> str | None:
    if isinstance(model, BiasedMF):
        return "rating"
    units = {"squared": "rating", "logistic": "probability", "probit": "probability"}
    return units.get(model.objective) if isinstance(model, FactorizationMachine) else None
