"""Judge models by the lists they give, full ranking and counts of what was left out, or by the ratings they predict."""

from recsys.evaluation.protocol import evaluate
from recsys.evaluation.rating_metrics import mae, rmse
from recsys.evaluation.report import table
from recsys.evaluation.result import EvaluationResult

__all__ = ["EvaluationResult", "evaluate", "mae", "rmse", "table"]
