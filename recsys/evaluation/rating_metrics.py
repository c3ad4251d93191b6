"""Accuracy of predicted ratings and clicks: one number over all pairs; less is better, but for AUC."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError

Predicted = NDArray[np.floating[Any]]
Values = NDArray[np.float64]


def rmse(predicted: Predicted, actual: Predicted) -> float:
    """Root of the mean squared error, ``sqrt(mean((predicted - actual)^2))`` (Herlocker et al. 2004, section 4.1).

    Parameters
    ----------
    predicted, actual : ndarray of shape (n_pairs,), floating
        At least one pair, else `DataError`; summed in float64.

    Examples
    --------
    >>> import numpy as np
    >>> rmse(np.array([3.0, 5.0]), np.array([4.0, 2.0]))
    2.23606797749979
    """
    return float(np.sqrt(np.mean(absolute_errors(predicted, actual) ** 2)))


def mae(predicted: Predicted, actual: Predicted) -> float:
    """Mean absolute error, ``mean(|predicted - actual|)`` (Herlocker et al. 2004, section 4.1).

    Parameters
    ----------
    predicted, actual : ndarray of shape (n_pairs,), floating
        At least one pair, else `DataError`; summed in float64.

    Examples
    --------
    >>> import numpy as np
    >>> mae(np.array([3.0, 5.0]), np.array([4.0, 2.0]))
    2.0
    """
    return float(np.mean(absolute_errors(predicted, actual)))


def auc(scores: Predicted, clicked: NDArray[np.bool_]) -> float:
    """Chance that a random click has a higher score than a random impression without one; ties count half.

    The area under the ROC curve by the rank sum of the clicks (Hanley and McNeil 1982).

    Parameters
    ----------
    scores : ndarray of shape (n_pairs,), floating
    clicked : ndarray of shape (n_pairs,), bool
        With and without a click, at least one each, else `DataError`.

    Examples
    --------
    >>> import numpy as np
    >>> auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    area = float(auc_by_user(np.zeros(len(scores), np.int64), scores, clicked)[0])
    if np.isnan(area):
        raise DataError("there is no AUC where all were clicked or none", remedy="Bring impressions of both kinds")
    return area


def log_loss(predicted: Predicted, clicked: NDArray[np.bool_]) -> float:
    """Mean of ``-log(probability given to what happened)``, natural logarithm (Good 1952).

    Probabilities count as 2^-52 away from 0 and 1 at least: a single certain error would otherwise be infinite.

    Parameters
    ----------
    predicted : ndarray of shape (n_pairs,), floating
        Probabilities of a click from 0 to 1, at least one, else `DataError`.
    clicked : ndarray of shape (n_pairs,), bool

    Examples
    --------
    >>> import numpy as np
    >>> round(log_loss(np.array([0.5, 0.25]), np.array([True, False])), 4)
    0.4904
    """
    return float(np.mean(losses(predicted, clicked)))


def absolute_errors(predicted: Predicted, actual: Predicted) -> Values:
    """Absolute error of each pair."""
    _check(predicted, actual)
    return np.abs(predicted.astype(np.float64) - actual.astype(np.float64))


def losses(predicted: Predicted, clicked: NDArray[np.bool_]) -> Values:
    """Log loss of each pair."""
    _check(predicted, clicked)
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise DataError("a predicted click is no probability", remedy="Give numbers from 0 to 1")
    given = np.where(clicked, predicted, 1.0 - predicted.astype(np.float64))
    tiny = np.finfo(np.float64).eps
    loss: Values = -np.log(np.clip(given, tiny, 1.0 - tiny))
    return loss


def auc_by_user(rows: NDArray[np.int64], scores: Predicted, clicked: NDArray[np.bool_]) -> Values:
    """AUC over the pairs of each user, shape (max(rows) + 1,); NaN where all were clicked or none."""
    _check(scores, clicked)
    if np.isnan(scores).any():
        raise DataError("a score is not a number", remedy="Look for NaN in the model's predictions")
    order = np.lexsort((scores, rows))
    row, score, hit = rows[order], scores[order], clicked[order].astype(np.float64)
    # Pairs of a user with the same score share the mean of their ranks.
    starts = np.flatnonzero(np.append(True, (row[1:] != row[:-1]) | (score[1:] != score[:-1])))
    lengths = np.diff(np.append(starts, len(row)))
    rank = np.repeat(starts + (lengths - 1) / 2, lengths) - np.searchsorted(row, row) + 1
    clicks = np.bincount(row, weights=hit)
    others = np.bincount(row) - clicks
    above = np.bincount(row, weights=rank * hit) - clicks * (clicks + 1) / 2
    both = clicks * others
    return np.where(both > 0, above / np.maximum(both, 1), np.nan)


def _check(predicted: NDArray[Any], actual: NDArray[Any]) -> None:
    if predicted.shape != actual.shape or predicted.ndim != 1 or not len(actual):
        raise DataError(f"ratings of shapes {predicted.shape} and {actual.shape} are not pairs, one at least")
