"""What every model trained in epochs shares: the loop with early stopping, and the start from an earlier model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError
from recsys.factors import Factors
from recsys.models.base import Progress, ServableRecommender
from recsys.models.fitted import FittedFactors

OnEpoch = Callable[[Any], float | None]
"""Called with the model after each epoch, ready to recommend; what it returns is a validation score, more is better."""


class EpochModel(FittedFactors):
    """A model trained in epochs, `iterations` of them at most.

    Training ends early when an epoch lowers the loss by a smaller share than `tolerance`, or when `on_epoch` has
    returned no better score for `patience` epochs. With scores, the model of the best epoch is kept.

    Attributes
    ----------
    loss : list of float
        After each epoch.
    scores : list of float
        What `on_epoch` returned after each epoch, empty without it.
    """

    iterations: int
    tolerance: float
    patience: int
    loss: list[float]
    scores: list[float]

    @property
    def best_epoch(self) -> int:
        """Number, from 1, of the epoch whose model was kept."""
        return int(np.argmax(self.scores)) + 1 if self.scores else len(self.loss)

    def _train(
        self,
        dataset: Dataset,
        epochs: Iterator[float],
        factors: Callable[[bool], Factors],
        progress: Progress | None,
        on_epoch: OnEpoch | None,
    ) -> Self:
        """Take losses from `epochs` until one rule says stop; anything raised leaves the model as it was before.

        `factors` returns the model as it stands; called with True it is called for the last time, and may work in
        place.
        """
        before = self.__dict__.copy()
        try:
            self.loss, self.scores = [], []
            best: Factors | None = None
            for loss in epochs:
                self.loss.append(loss)
                if progress is not None:
                    progress(len(self.loss), self.iterations)
                if on_epoch is not None:
                    self._keep(dataset, factors(False))
                    if self._scored(on_epoch(self)):
                        best = self._factors
                if self._converged():
                    break
            self._keep(dataset, factors(True) if best is None else best)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _scored(self, score: float | None) -> bool:
        """Note a validation score; True if it is the best so far."""
        if score is None:
            return False
        if not math.isfinite(score):
            raise ConfigError(f"on_epoch returned {score}; return a finite score, or None")
        self.scores.append(score)
        return self.best_epoch == len(self.scores)

    def _converged(self) -> bool:
        if self.scores and len(self.scores) - self.best_epoch >= self.patience:
            return True
        if not self.tolerance or len(self.loss) < 2:
            return False
        return self.loss[-2] - self.loss[-1] < self.tolerance * abs(self.loss[-2])


def carry_over(
    start: ServableRecommender, dataset: Dataset, user_vectors: NDArray[np.float32], item_vectors: NDArray[np.float32]
) -> None:
    """Overwrite the rows of users and items an earlier model knows with its vectors, matched by external id.

    Parameters
    ----------
    start : ServableRecommender
        Fitted on any ids.
    dataset : Dataset
        Whose rows the tables have.
    user_vectors, item_vectors : ndarray of shape (n_users, d or more) and (n_items, d or more), float32

    Raises
    ------
    ConfigError
        If the earlier model has more factors than the tables are wide.
    """
    earlier, width = start.export(), start.export().width
    if width > min(user_vectors.shape[1], item_vectors.shape[1]):
        raise ConfigError(f"the earlier model has {width} factors, more than this one; start with equal factors")
    maps = (start.dataset.users, dataset.users), (start.dataset.items, dataset.items)
    tables = (earlier.user_vectors, user_vectors), (earlier.item_vectors, item_vectors)
    for (known, wanted), (source, target) in zip(maps, tables, strict=True):
        rows = known.encode(wanted.ids())
        target[rows >= 0, :width] = source[rows[rows >= 0]]
