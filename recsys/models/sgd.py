"""What keeps training by stochastic gradient from ending in NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import TrainingDivergedError

_HALVINGS = 6  # a rate 64 times too large is no longer an accident


def guarded(
    tables: Sequence[NDArray[Any]], work: Callable[[float], float], learning_rate: float, ceiling: float = math.inf
) -> tuple[float, float]:
    """Do the work of an epoch; where it diverges, put the tables back, halve the learning rate and do it again.

    Diverged is an epoch that leaves a number of the tables, or its loss, not finite, or a loss above `ceiling`.

    Parameters
    ----------
    tables : sequence of ndarray
        All that `work` changes, in place; a copy of each is held meanwhile.
    work : callable
        Takes the learning rate, returns the loss. It calls the kernel for a bounded amount at a time, so that Ctrl-C
        is answered in between.
    learning_rate : float
        To begin with.
    ceiling : float
        The loss of a model worse than none.

    Returns
    -------
    loss : float
    learning_rate : float
        With which the epoch succeeded; go on with it.

    Raises
    ------
    TrainingDivergedError
        If halving does not help; the tables are as they were before.

    Examples
    --------
    >>> import numpy as np
    >>> table = np.ones(2, np.float32)
    >>> def work(rate):
    ...     table[:] *= np.inf if rate > 0.3 else 1 - rate
    ...     return float(table @ table)
    >>> guarded([table], work, 1.0)
    (1.125, 0.25)
    """
    before = [table.copy() for table in tables]
    rate = learning_rate
    for _ in range(_HALVINGS + 1):
        loss = work(rate)
        if math.isfinite(loss) and loss <= ceiling and all(np.isfinite(table).all() for table in tables):
            return loss, rate
        for table, old in zip(tables, before, strict=True):
            table[...] = old
        rate /= 2
    raise TrainingDivergedError(
        f"training diverges at a learning_rate of {learning_rate:g}, and still does at {rate * 2:g}. "
        "Lower learning_rate, raise regularization, or scale the weights down"
    )
