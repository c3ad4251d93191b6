"""Accuracy of predicted ratings: one number over all pairs, less is better."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError


def rmse(predicted: NDArray[np.floating[Any]], actual: NDArray[np.floating[Any]]) -> float:
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
    return float(np.sqrt(np.mean(_errors(predicted, actual) ** 2)))


def mae(predicted: NDArray[np.floating[Any]], actual: NDArray[np.floating[Any]]) -> float:
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
    return float(np.mean(np.abs(_errors(predicted, actual))))


def _errors(predicted: NDArray[np.floating[Any]], actual: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    if predicted.shape != actual.shape or predicted.ndim != 1 or not len(actual):
        raise DataError(f"ratings of shapes {predicted.shape} and {actual.shape} are not pairs, one at least")
    return predicted.astype(np.float64) - actual.astype(np.float64)
