"""Judge models by the lists they give, full ranking and counts of what was left out, or by the ratings they predict."""

from recsys.evaluation.comparison import Comparison, Difference, compare, compare_all
from recsys.evaluation.predictions import evaluate_clicks, evaluate_ratings
from recsys.evaluation.protocol import evaluate
from recsys.evaluation.rating_metrics import auc, log_loss, mae, rmse
from recsys.evaluation.report import table
from recsys.evaluation.result import EvaluationResult
from recsys.evaluation.significance import bca_interval, holm, sign_flip_test

__all__ = [
    "Comparison",
    "Difference",
    "EvaluationResult",
    "auc",
    "bca_interval",
    "compare",
    "compare_all",
    "evaluate",
    "evaluate_clicks",
    "evaluate_ratings",
    "holm",
    "log_loss",
    "mae",
    "rmse",
    "sign_flip_test",
    "table",
]
