"""`evaluate_ratings` and `evaluate_clicks`: predictions of given pairs judged per user, as lists are by `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.evaluation.rating_metrics import absolute_errors, auc, auc_by_user, log_loss, losses, mae, rmse
from recsys.evaluation.result import EvaluationResult

Values = NDArray[np.float64]


def evaluate_ratings(
    users: Sequence[str], predicted: NDArray[np.floating], actual: NDArray[np.floating]
) -> EvaluationResult:
    """RMSE and MAE of each user, and over all pairs together.

    Users who rated much decide the errors over all pairs, which is what the literature reports; the means over users
    are what `recsys.evaluation.compare` compares.

    Parameters
    ----------
    users : sequence of str, n_pairs long
        External id of the user of each pair.
    predicted, actual : ndarray of shape (n_pairs,), floating

    Returns
    -------
    EvaluationResult
        ``rmse`` and ``mae`` per user, ``rmse_of_pairs`` and ``mae_of_pairs`` overall.

    Raises
    ------
    DataError
        If the three are not of one length, one at least.

    Examples
    --------
    >>> import numpy as np
    >>> result = evaluate_ratings(["bo", "anna", "bo"], np.array([3.0, 5.0, 4.0]), np.array([4.0, 2.0, 4.0]))
    >>> result.users, result.per_user("mae").tolist(), round(result.mean("mae_of_pairs"), 2)
    (('anna', 'bo'), [3.0, 0.5], 1.33)
    """
    errors = absolute_errors(predicted, actual)
    names, rows = _rows(users, len(errors))
    values = {"rmse": np.sqrt(_means(rows, errors**2)), "mae": _means(rows, errors)}
    overall = {"rmse_of_pairs": rmse(predicted, actual), "mae_of_pairs": mae(predicted, actual)}
    return _result(names, rows, values, overall, {})


def evaluate_clicks(
    users: Sequence[str], predicted: NDArray[np.floating], clicked: NDArray[np.bool_]
) -> EvaluationResult:
    """AUC and log loss of each user, and over all impressions together.

    A user who clicked everything or nothing has no AUC: NaN, left out of the mean and counted.

    Parameters
    ----------
    users : sequence of str, n_pairs long
        External id of the user of each impression.
    predicted : ndarray of shape (n_pairs,), floating
        Probability of a click, 0 to 1.
    clicked : ndarray of shape (n_pairs,), bool

    Returns
    -------
    EvaluationResult
        ``auc`` and ``log_loss`` per user, ``auc_of_pairs`` and ``log_loss_of_pairs`` overall, the former NaN where all
        impressions are alike.

    Raises
    ------
    DataError
        If the three are not of one length, one at least, or a prediction is no probability.
    """
    loss = losses(predicted, clicked)
    names, rows = _rows(users, len(loss))
    values = {"auc": auc_by_user(rows, predicted, clicked), "log_loss": _means(rows, loss)}
    both = 0 < np.count_nonzero(clicked) < len(clicked)
    overall = {
        "auc_of_pairs": auc(predicted, clicked) if both else float("nan"),
        "log_loss_of_pairs": log_loss(predicted, clicked),
    }
    return _result(names, rows, values, overall, {"users_without_auc": int(np.isnan(values["auc"]).sum())})


def _rows(users: Sequence[str], n_pairs: int) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    if len(users) != n_pairs:
        raise DataError(f"{len(users):,} users do not fit to {n_pairs:,} pairs", remedy="Give the user of each pair")
    row = {user: number for number, user in enumerate(sorted(set(users)))}
    return tuple(row), np.array([row[user] for user in users], np.int64)


def _means(rows: NDArray[np.int64], values: Values) -> Values:
    means: Values = np.bincount(rows, weights=values) / np.bincount(rows)
    return means


def _result(
    names: tuple[str, ...],
    rows: NDArray[np.int64],
    values: Mapping[str, Values],
    overall: Mapping[str, float],
    counts: Mapping[str, int],
) -> EvaluationResult:
    counted = {"users": len(names), "pairs": len(rows), **counts}
    return EvaluationResult(names, MappingProxyType(dict(values)), MappingProxyType(overall), MappingProxyType(counted))
