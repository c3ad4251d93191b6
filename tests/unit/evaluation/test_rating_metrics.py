"""Errors of predicted ratings, by hand."""

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.evaluation.rating_metrics import mae, rmse


def test_by_hand():
    predicted, actual = np.array([1.0, 2.0, 6.0], np.float32), np.array([2.0, 2.0, 2.0], np.float32)
    assert rmse(predicted, actual) == pytest.approx((17 / 3) ** 0.5)
    assert mae(predicted, actual) == pytest.approx(5 / 3)


def test_large_float32_ratings_do_not_overflow():
    far = np.full(10, 1e38, np.float32)
    assert rmse(far, -far) == pytest.approx(2e38)


@pytest.mark.parametrize("metric", [rmse, mae])
@pytest.mark.parametrize("shapes", [((0,), (0,)), ((2,), (3,)), ((2, 1), (2, 1)), ((2, 1), (2,))])
def test_what_is_not_pairs_is_refused(metric, shapes):
    with pytest.raises(DataError, match="not pairs"):
        metric(*(np.ones(shape) for shape in shapes))
