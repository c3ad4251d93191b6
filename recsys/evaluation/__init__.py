"""Judge models by the lists they give: full ranking, per-user values, counts of what was left out."""

from recsys.evaluation.protocol import evaluate
from recsys.evaluation.report import table
from recsys.evaluation.result import EvaluationResult

__all__ = ["EvaluationResult", "evaluate", "table"]
