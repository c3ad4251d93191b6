"""Logs: what is refused, and by which words."""

import numpy as np
import pytest

from recsys.errors import DataError, InsufficientDataError
from recsys.evaluation.off_policy import LoggedImpressions
from recsys.ids import IdMap

GOOD = {
    "users": IdMap.from_ids(["anna", "bo"]),
    "items": IdMap.from_ids(["tea", "milk", "rice"]),
    "user": np.array([0, 0, 1, 1], np.int32),
    "item": np.array([2, 1, 0, -1], np.int32),
    "reward": np.array([1.0, 0.0, -2.5, 0.0]),
    "propensity": np.array([0.5, 1.0, 1e-6, 0.2]),
    "request": np.array([7, 7, 3, 3], np.int64),
    "position": np.array([0, 1, 1, 0], np.int32),
}


def changed(name, row, value):
    column = GOOD[name].copy()
    column[row] = value
    return {**GOOD, name: column}


def test_a_good_log():
    logged = LoggedImpressions(**GOOD)
    assert repr(logged) == "LoggedImpressions(4 rows, 2 requests of 2 users, reward -0.75 per request)"
    assert logged.request_numbers.tolist() == [1, 1, 0, 0]
    assert logged.select(logged.user == 1).propensity.tolist() == [1e-6, 0.2]
    alone = LoggedImpressions(**{**GOOD, "request": None, "position": None})
    assert (alone.n_requests, alone.places.tolist()) == (4, [0, 0, 0, 0])


@pytest.mark.parametrize(
    ("name", "row", "value", "reason"),
    [
        ("propensity", 2, 0.0, "0.0, is no probability above 0"),
        ("propensity", 1, 1.0000001, "is no probability"),
        ("propensity", 0, -0.1, "is no probability"),
        ("propensity", 3, np.nan, "nan, is no probability"),
        ("reward", 1, np.inf, "inf, is not finite"),
        ("reward", 2, np.nan, "nan, is not finite"),
        ("user", 3, 2, "2, is no row of users"),
        ("user", 0, -1, "-1, is no row of users"),
        ("user", 1, 1, "1, is another one than the rest of the request has"),
        ("item", 2, 3, "3, is no row of items"),
        ("item", 1, -2, "-2, is no row of items, nor -1"),
        ("position", 2, -1, "-1, is below 0"),
        ("position", 1, 0, "0, occurs twice in its request"),
    ],
)
def test_a_value_that_cannot_be_is_named_by_column_and_row(name, row, value, reason):
    with pytest.raises(DataError) as raised:
        LoggedImpressions(**changed(name, row, value))
    assert str(raised.value).startswith(f"column '{name}': row {row}, ")
    assert reason in str(raised.value)


@pytest.mark.parametrize("name", ["user", "item", "reward", "propensity", "request", "position"])
@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((4, 1)), np.zeros(4, np.float16)])
def test_columns_of_another_length_or_dtype(name, bad):
    column = bad if bad.dtype == np.float16 else bad.astype(GOOD[name].dtype)
    with pytest.raises(DataError, match=r"expected \w+ of shape \(") as raised:
        LoggedImpressions(**{**GOOD, name: column})
    assert raised.value.field == ("item" if name == "user" and column.shape == (3,) else name)


def test_lists_need_both_columns_and_a_log_needs_rows():
    for lost in ("request", "position"):
        with pytest.raises(DataError, match="needs both"):
            LoggedImpressions(**{**GOOD, lost: None})
    empty = {name: column[:0] for name, column in GOOD.items() if isinstance(column, np.ndarray)}
    with pytest.raises(InsufficientDataError, match="no impressions"):
        LoggedImpressions(**{**GOOD, **empty})
