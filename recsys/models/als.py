"""Implicit-feedback matrix factorization by alternating least squares."""

from __future__ import annotations

from typing import Self

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError, DataError
from recsys.factors import Factors, FoldIn
from recsys.models.base import Progress
from recsys.models.fitted import FittedFactors


class ImplicitALS(FittedFactors):
    """Confidence-weighted factorization of who-has-what (Hu, Koren and Volinsky 2008).

    Minimises, with confidence ``c_ui = alpha * weight_ui`` of a pair that occurs and 1 of one that does not::

        sum_ui c_ui (p_ui - x_u . y_i)^2 + regularization (sum_u |x_u|^2 + sum_i |y_i|^2)

    where p is 1 for pairs that occur, else 0. The half-steps are solved by implicit's conjugate gradients; the
    users are solved exactly once more at the end, so that the vector folded in from a user's own history is the
    one that was trained.

    Parameters
    ----------
    factors : int
        Length of the vectors, d.
    regularization : float
        Strength of the penalty on the squared lengths.
    alpha : float
        Confidence per unit of weight; ``alpha * weight`` should be above 1.
    iterations : int
        Pairs of half-steps.
    threads, seed : int
        The same seed gives the same factors.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> pairs = [("anna", "tea", 1.0), ("anna", "milk", 1.0), ("bo", "tea", 1.0), ("cleo", "rice", 1.0)]
    >>> dataset = Dataset.from_interactions(interactions_from_tuples(pairs))
    >>> model = ImplicitALS(factors=2, alpha=10.0).fit(dataset)
    >>> model.recommend(["bo"], k=1).lists()[0][0][0]
    'milk'
    """

    kind = "als"

    def __init__(
        self,
        *,
        factors: int = 64,
        regularization: float = 1.0,
        alpha: float = 10.0,
        iterations: int = 15,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        if factors < 1 or iterations < 1 or threads < 1:
            raise ConfigError("factors, iterations and threads are at least 1")
        if not (regularization > 0 and alpha > 0):
            raise ConfigError("regularization and alpha are above 0")
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.threads = threads
        self.seed = seed

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """Train from scratch; `DataError` if a weight is not positive."""
        user_items = dataset.user_items
        if user_items.nnz and user_items.data.min() <= 0:
            raise DataError(
                "implicit feedback needs positive weights",
                field="weight",
                remedy="Drop what is no sign of interest with min_weight, or use weights='binary'",
            )
        with threadpool_limits(limits=1, user_api="blas"):
            peer = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=self.alpha,
                iterations=self.iterations,
                num_threads=self.threads,
                random_state=self.seed,
            )

            def on_iteration(iteration: int, elapsed_s: float, loss: float | None) -> None:
                if progress is not None:
                    progress(iteration + 1, self.iterations)

            peer.fit(user_items, show_progress=False, callback=on_iteration)
            every_user = np.arange(len(dataset.users))
            user_vectors = peer.recalculate_user(every_user, user_items)
            item_vectors = np.ascontiguousarray(peer.item_factors, np.float32)
            gram = item_vectors.T @ item_vectors
        self._keep(
            dataset,
            Factors(
                np.ascontiguousarray(user_vectors, np.float32),
                item_vectors,
                np.zeros(len(dataset.items), np.float32),
                FoldIn(gram, self.regularization, self.alpha),
            ),
        )
        return self
