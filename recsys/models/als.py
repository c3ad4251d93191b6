"""Implicit-feedback matrix factorization by alternating least squares."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError, DataError
from recsys.factors import Factors, FoldIn
from recsys.models.als_steps import Objective, Side, Solver, padded
from recsys.models.base import Progress
from recsys.models.fitted import FittedFactors

_RELAXATION = 1.3  # over the whole way to a half-step's solution, from the second iteration on
_POLISH_STEPS = 30  # conjugate gradient steps of the last pass over the users


class ImplicitALS(FittedFactors):
    """Confidence-weighted factorization of who-has-what.

    Minimises, with ``c_ui = alpha * weight_ui`` (Hu, Koren and Volinsky 2008; Rendle et al. 2021, arXiv 2110.14037)::

        sum_obs c_ui (1 - x_u.y_i)^2 + unobserved_weight sum_all (x_u.y_i)^2
          + regularization [ sum_u (n_u + unobserved_weight n_items)^nu |x_u|^2
                           + sum_i (n_i + unobserved_weight n_users)^nu |y_i|^2 ]

    with nu the `frequency_exponent`. Half-steps are solved by conjugate gradients in the eigenbasis of the Gram
    matrix, warm started; at the end the users are solved to convergence, so that the vector folded in from a user's
    own history is the one that was trained.

    Parameters
    ----------
    factors : int
        Length of the vectors, d.
    alpha : float
        Confidence per unit of weight.
    regularization : float
        Strength of the penalty on the squared lengths.
    unobserved_weight : float
        Weight of every pair, observed or not; the smaller, the less popularity counts.
    frequency_exponent : float
        How the penalty grows with the number of a row's entries: 0 not at all, 1 in proportion.
    iterations : int
        Pairs of half-steps at most.
    tolerance : float
        Training ends early when an iteration lowers the loss by a smaller share than this; 0 never.
    solver : {"cg", "cholesky"}
        Conjugate gradients, or every row exactly: slower, for comparison.
    steps : int
        Conjugate gradient steps per row and half-step.
    threads, seed : int
        The same seed gives the same bits on any number of threads.

    Attributes
    ----------
    loss : list of float
        The objective after each iteration; it comes for free.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> pairs = [("anna", "tea", 1.0), ("anna", "milk", 1.0), ("bo", "tea", 1.0), ("cleo", "rice", 1.0)]
    >>> dataset = Dataset.from_interactions(interactions_from_tuples(pairs))
    >>> model = ImplicitALS(factors=2).fit(dataset)
    >>> model.recommend(["bo"], k=1).lists()[0][0][0]
    'milk'
    """

    kind = "als"

    def __init__(
        self,
        *,
        factors: int = 64,
        alpha: float = 1.0,
        regularization: float = 0.01,
        unobserved_weight: float = 0.05,
        frequency_exponent: float = 1.0,
        iterations: int = 16,
        tolerance: float = 0.0,
        solver: str = "cg",
        steps: int = 3,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        if min(factors, iterations, steps, threads) < 1:
            raise ConfigError("factors, iterations, steps and threads are at least 1")
        if not (0 < alpha < np.inf and 0 < regularization < np.inf and 0 < unobserved_weight < np.inf):
            raise ConfigError("alpha, regularization and unobserved_weight are above 0 and finite")
        if not (0 <= frequency_exponent <= 2 and 0 <= tolerance < 1):
            raise ConfigError("frequency_exponent is between 0 and 2, tolerance from 0 to below 1")
        if seed < 0:
            raise ConfigError("seed is 0 or more")
        if solver not in ("cg", "cholesky"):
            raise ConfigError(f"solver is 'cg' or 'cholesky', not {solver!r}")
        self.factors = factors
        self.alpha = alpha
        self.regularization = regularization
        self.unobserved_weight = unobserved_weight
        self.frequency_exponent = frequency_exponent
        self.iterations = iterations
        self.tolerance = tolerance
        self.solver = solver
        self.steps = steps
        self.threads = threads
        self.seed = seed
        self.loss: list[float] = []

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """Train from scratch; `DataError` if a weight is negative. A weight of 0 counts as not observed."""
        user_items = dataset.user_items.copy()
        user_items.eliminate_zeros()  # no weight: not observed
        if user_items.nnz and user_items.data.min() < 0:
            raise DataError(
                "implicit feedback has no negative weights",
                field="weight",
                remedy="Drop what is no sign of interest with min_weight, or use weights='binary'",
            )
        objective = Objective(self.alpha, self.regularization, self.unobserved_weight, self.frequency_exponent)
        users, items = Side.of(user_items, objective), Side.of(user_items.T.tocsr(), objective)
        steps = self.steps if self.solver == "cg" else 0
        solver = Solver(objective, self.factors, steps=steps, threads=self.threads)
        x, y = self._start(len(dataset.users), len(dataset.items))
        loss = self._alternate(solver, users, items, x, y, progress)
        eigenvalues = solver.rotate(x, y)
        solver.solve(users, x, y, eigenvalues, steps=steps and _POLISH_STEPS)
        fold_in = FoldIn(
            np.ascontiguousarray(eigenvalues[: self.factors]),
            self.alpha,
            self.regularization,
            self.unobserved_weight,
            self.frequency_exponent,
        )
        user_vectors, item_vectors = (np.ascontiguousarray(table[:, : self.factors]) for table in (x, y))
        self._keep(dataset, Factors(user_vectors, item_vectors, np.zeros(len(y), np.float32), fold_in))
        self.loss = loss
        return self

    def _start(self, n_users: int, n_items: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Small random items, and users that the first half-step finds."""
        rng = np.random.default_rng(self.seed)
        y = np.zeros((n_items, padded(self.factors)), np.float32)
        y[:, : self.factors] = rng.standard_normal((n_items, self.factors), np.float32) * (0.1 / self.factors**0.5)
        return np.zeros((n_users, y.shape[1]), np.float32), y

    def _alternate(
        self,
        solver: Solver,
        users: Side,
        items: Side,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        progress: Progress | None,
    ) -> list[float]:
        """Iterate; return the loss after each iteration."""
        losses: list[float] = []
        relaxation = 1.0
        for iteration in range(self.iterations):
            solver.half_step(users, x, y, relaxation)
            _, loss = solver.half_step(items, y, x, relaxation)
            losses.append(loss + float(users.penalty @ np.einsum("ij,ij->i", x, x, dtype=np.float64)))
            if progress is not None:
                progress(iteration + 1, self.iterations)
            if len(losses) > 1 and losses[-2] - losses[-1] < self.tolerance * losses[-2]:
                break
            relaxation = _RELAXATION if len(losses) < 2 or losses[-1] <= losses[-2] else 1.0
        return losses
