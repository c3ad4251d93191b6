"""The guard around an epoch of stochastic gradient."""

import math

import numpy as np
import pytest

from recsys.errors import TrainingDivergedError
from recsys.models.sgd import guarded


def work_of(tables, outcomes, rates):
    """An epoch that spoils the tables and then ends as told: each outcome is a loss and what is written."""
    left = iter(outcomes)

    def work(rate):
        rates.append(rate)
        loss, written = next(left)
        tables[0] += 1
        tables[1][-1] = written
        return loss

    return work


@pytest.mark.parametrize("bad", [(1.0, np.nan), (1.0, np.inf), (math.nan, 0.0), (math.inf, 0.0), (5.1, 0.0)])
def test_what_diverged_is_put_back_and_done_again_at_half_the_rate(bad):
    tables, rates = [np.arange(3, dtype=np.int64), np.ones(4, np.float32)], []
    answer = guarded(tables, work_of(tables, [bad, bad, (5.0, 7.0)], rates), 0.8, ceiling=5.0)
    assert answer == (5.0, 0.2)
    assert rates == [0.8, 0.4, 0.2]
    assert tables[0].tolist() == [1, 2, 3]
    assert tables[1].tolist() == [1, 1, 1, 7]


def test_after_several_halvings_the_error_names_the_remedy_and_the_tables_are_as_before():
    tables, rates = [np.zeros(2), np.zeros(3, np.float32)], []
    with pytest.raises(TrainingDivergedError, match=r"learning_rate of 1, .* 0\.015625\. Lower learning_rate"):
        guarded(tables, work_of(tables, [(1.0, np.nan)] * 99, rates), 1.0)
    assert len(rates) == 7
    assert not tables[0].any()
    assert not tables[1].any()
