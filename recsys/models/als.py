"""Implicit-feedback matrix factorization by alternating least squares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError
from recsys.factors import Factors, FoldIn
from recsys.models.als_steps import Numbering, Objective, Side, Solver, padded
from recsys.models.base import Progress, ServableRecommender
from recsys.models.training import EpochModel, OnEpoch, carry_over

_RELAXATION = 1.3  # share of the way to a half-step's solution that is gone, from the second iteration on
_RELAXATION_GROWTH, _MOST_RELAXATION = 0.05, 1.6  # per iteration; the closer to the end, the slower the plain steps
_POLISH_STEPS = 30  # conjugate gradient steps of the last pass over the users


class ImplicitALS(EpochModel):
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
    patience : int
        Training ends early when `on_epoch` has returned no better score this many times in a row.
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
    scores : list of float
        What `on_epoch` returned after each.

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
        patience: int = 3,
        solver: str = "cg",
        steps: int = 3,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        if min(factors, iterations, patience, steps, threads) < 1:
            raise ConfigError("factors, iterations, patience, steps and threads are at least 1")
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
        self.patience = patience
        self.solver = solver
        self.steps = steps
        self.threads = threads
        self.seed = seed
        self.loss, self.scores = [], []

    def fit(
        self,
        dataset: Dataset,
        *,
        progress: Progress | None = None,
        on_epoch: OnEpoch | None = None,
        start: ServableRecommender | None = None,
    ) -> Self:
        """Train anew.

        Parameters
        ----------
        dataset : Dataset
            A weight of 0 counts as not observed.
        progress : callable, optional
        on_epoch : callable, optional
            Called with the model after each iteration; a score it returns decides when to stop and which one is kept.
        start : ServableRecommender, optional
            An earlier model, fitted on any ids: vectors of known users and items start from its.

        Raises
        ------
        DataError
            If a weight is negative.
        """
        numbering = Numbering.of(dataset.interactions)
        users, items = self._sides(numbering.apply(dataset.interactions).to_csr())
        x, y = self._tables(dataset)
        if start is not None:
            carry_over(start, dataset, x, y)
        x, y = x[numbering.users], y[numbering.items]
        solver = self._solver()
        losses = self._alternate(solver, users, items, x, y)
        del items  # gone with the last iteration, before the tables are copied

        def factors(last: bool) -> Factors:
            return numbering.undo(self._finished(solver, users, *((x, y) if last else (x.copy(), y.copy()))))

        return self._train(dataset, losses, factors, progress, on_epoch)

    def partial_fit(self, events: Interactions) -> Self:
        """Learn later events by solving only the rows of their users and items; the other vectors stay.

        Much cheaper than `fit`, and not the same: what the events say about others waits for the next `fit`, which can
        start from this model.

        Parameters
        ----------
        events : Interactions
            In any maps; new ids become new rows after the known ones. The weight of a pair known already is added to.

        Raises
        ------
        ConfigError
            Before `fit`.
        DataError
            If a weight is negative.
        """
        dataset = self.dataset.join(events)
        x, y = self._tables(dataset)
        y[len(self.dataset.items) :] = 0  # nobody's taste yet
        carry_over(self, dataset, x, y)
        sides = self._sides(dataset.interactions.to_csr())
        users, items = (
            side.only(ids.encode(changed.ids(np.unique(rows))))
            for side, ids, changed, rows in zip(
                sides,
                (dataset.users, dataset.items),
                (events.users, events.items),
                (events.user, events.item),
                strict=True,
            )
        )
        solver = self._solver()
        solver.half_step(users, x, y)
        solver.half_step(items, y, x)
        self._keep(dataset, self._finished(solver, users, x, y))
        return self

    def _sides(self, user_items: sp.csr_matrix) -> tuple[Side, Side]:
        """Rows of users and of items; takes the matrix over."""
        user_items.eliminate_zeros()  # no weight: not observed
        if user_items.nnz and user_items.data.min() < 0:
            raise DataError(
                "implicit feedback has no negative weights",
                field="weight",
                remedy="Drop what is no sign of interest with min_weight, or use weights='binary'",
            )
        return Side.of(user_items, self._objective), Side.of(user_items.T.tocsr(), self._objective)

    @property
    def _objective(self) -> Objective:
        return Objective(self.alpha, self.regularization, self.unobserved_weight, self.frequency_exponent)

    def _solver(self) -> Solver:
        return Solver(self._objective, self.factors, steps=self._steps, threads=self.threads)

    @property
    def _steps(self) -> int:
        return self.steps if self.solver == "cg" else 0

    def _tables(self, dataset: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Small random items, and users that the first half-step finds."""
        rng = np.random.default_rng(self.seed)
        n_users, n_items = dataset.interactions.shape
        y = np.zeros((n_items, padded(self.factors)), np.float32)
        y[:, : self.factors] = rng.standard_normal((n_items, self.factors), np.float32) * (0.1 / self.factors**0.5)
        return np.zeros((n_users, y.shape[1]), np.float32), y

    def _alternate(
        self, solver: Solver, users: Side, items: Side, x: NDArray[np.float32], y: NDArray[np.float32]
    ) -> Iterator[float]:
        """Iterate over both half-steps; yield the loss after each iteration."""
        relaxation, before = 1.0, np.inf
        for _ in range(self.iterations):
            solver.half_step(users, x, y, relaxation)
            _, loss = solver.half_step(items, y, x, relaxation)
            loss += solver.penalty(users, x)
            yield loss
            risen, before = loss > before, loss
            relaxation = 1.0 if risen else min(max(_RELAXATION, relaxation + _RELAXATION_GROWTH), _MOST_RELAXATION)

    def _finished(self, solver: Solver, users: Side, x: NDArray[np.float32], y: NDArray[np.float32]) -> Factors:
        """Solve the users to convergence, in place: folding in a user's own history gives the vector of training."""
        eigenvalues = solver.rotate(x, y)
        solver.solve(users, x, y, eigenvalues, steps=self._steps and _POLISH_STEPS)
        fold_in = FoldIn(
            np.ascontiguousarray(eigenvalues[: self.factors]),
            self.alpha,
            self.regularization,
            self.unobserved_weight,
            self.frequency_exponent,
        )
        user_vectors, item_vectors = (np.ascontiguousarray(table[:, : self.factors]) for table in (x, y))
        return Factors(user_vectors, item_vectors, np.zeros(len(y), np.float32), fold_in)
