"""`FactorizationMachine`: users, items and anything known of them or of the moment, as one dot product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.features import FeatureMatrix
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError
from recsys.factors import Factors
from recsys.models.base import Progress
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.problem import POINTWISE, Labelled, Learned, Problem, checked_weight, to_targets
from recsys.models.fm.publish import rescaled, to_factors
from recsys.models.fm.rows import RowPredictor
from recsys.models.fm.sides import carry_over
from recsys.models.fm.solving import GRADIENT, LINKS, SOLVERS, Solving, usual
from recsys.models.history import fit_history_map
from recsys.models.queries import Context, Queries
from recsys.models.ratings import Scale
from recsys.models.training import EpochModel, OnEpoch

_PAIRS = 2**16  # predicted at once


class FactorizationMachine(Solving, EpochModel):
    """Factorization machine (Rendle 2010): every pair of features interacts through a product of vectors.

    With x the features of a user (the id and what is known of the user), of a context and of an item::

        y(x) = w0 + sum_j w_j x_j + sum_(j<l) <v_j, v_l> x_j x_l

    The features come with the dataset (`Dataset.with_features`); without any this is matrix factorization with biases.
    Users and items without events are scored by their attributes, any context without training again.

    Parameters
    ----------
    factors : int
        Length of the vectors v, d. 0 leaves a linear model: logistic regression, or a linear SVM.
    loss : str
        What is minimised, over interactions of weight r:

        - ``"squared"``: ``(r - y)^2``; y are ratings.
        - ``"probit"``, ``"logistic"``, ``"hinge"``: of the class +1 (r above 0) or -1 (r is 0, or a pair drawn by
          `negatives`); with the first two y becomes a probability.
        - ``"warp"``, ``"bpr"``, ``"softmax"``: what a user has is ranked above drawn items, as in `BPR`.
        - ``"implicit"``: ``alpha r (1 - y)^2`` over what was observed and ``unobserved_weight y^2`` over every query
          with every item, as in `ImplicitALS`.
    solver : str, optional
        By default the first of those the loss has: squared: gibbs, als, adagrad, sgd, momentum; probit: gibbs, als;
        logistic, hinge: adagrad, sgd, momentum; warp, bpr, softmax: adagrad, sgd; implicit: icd. ``"gibbs"`` draws from
        the posterior and needs no regularization (Rendle 2012, Factorization machines with libFM), ``"als"`` and
        ``"icd"`` solve block by block (Bayer et al. 2017, A generic coordinate descent framework), the others step
        along gradients.
    learning_rate, momentum : float
        Of the gradient solvers; the rate is 0.5 for ranking losses by default and 0.05 for the others.
    regularization : float, optional
        Penalty on the squared vectors: per sample for gradients, by default 0.05 for ranking losses and 0.002 for the
        others; over all samples for als and icd, by default 10.
    weight_regularization : float, optional
        The same for the weights w; by default as `regularization`.
    iterations : int
        Epochs or sweeps at most.
    burn_in : int
        Sweeps of gibbs that do not count; predictions are the mean of all later draws.
    posterior_factors : int, optional
        Length of the vectors that hold this mean, at most; 8 times `factors` by default.
    field_weights : bool
        Learn how much each pair of fields interacts (Pan et al. 2018, Field-weighted factorization machines); for the
        gradient solvers of squared, logistic and hinge.
    negatives : int, optional
        Items drawn per positive; by default 30 for ranking losses and 0 for the others.
    sampling : {"uniform", "popularity", "in_batch"}
        How they are drawn: all alike, in proportion to ``count ** popularity_exponent``, or from the positives nearby.
    popularity_exponent : float
    alpha, unobserved_weight : float
        Of the implicit loss.
    asynchronous : bool
        Gradient steps on all `threads` without locks; the numbers then depend on their timing. Else the same seed gives
        the same bits.
    tolerance, patience
        When to stop early, as in `BPR`.
    threads, seed : int

    Attributes
    ----------
    loss : list of float
        After each epoch: the mean over the samples, or the implicit loss with its penalty.
    scores : list of float
        What `on_epoch` returned after each epoch.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> ratings = [("anna", "tea", 5.0), ("anna", "milk", 1.0), ("bo", "tea", 4.0), ("bo", "rice", 2.0)]
    >>> dataset = Dataset.from_interactions(interactions_from_tuples(ratings))
    >>> drinks = {"tea": {"kind": "drink"}, "mate": {"kind": "drink"}}
    >>> dataset = dataset.with_features(items=drinks, item_fields=["kind"])
    >>> model = FactorizationMachine(factors=2, loss="squared", solver="als", regularization=0.1).fit(dataset)
    >>> bool(model.predict(["bo"], ["mate"])[0] > model.predict(["bo"], ["rice"])[0])
    True
    """

    kind = "fm"

    def __init__(
        self,
        *,
        factors: int = 16,
        loss: str = "warp",
        solver: str | None = None,
        learning_rate: float | None = None,
        momentum: float = 0.9,
        regularization: float | None = None,
        weight_regularization: float | None = None,
        iterations: int = 20,
        burn_in: int = 5,
        posterior_factors: int | None = None,
        field_weights: bool = False,
        negatives: int | None = None,
        sampling: str = "uniform",
        popularity_exponent: float = 0.75,
        alpha: float = 1.0,
        unobserved_weight: float = 0.05,
        asynchronous: bool = False,
        tolerance: float = 0.0,
        patience: int = 5,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        if loss not in SOLVERS:
            raise ConfigError(f"loss is one of {', '.join(SOLVERS)}, not {loss!r}")
        if solver is not None and solver not in SOLVERS[loss]:
            raise ConfigError(f"the {loss} loss is solved by {' or '.join(SOLVERS[loss])}, not by {solver!r}")
        self.factors = factors
        self.objective = loss
        self.solver = solver or SOLVERS[loss][0]
        usual_rate, usual_regularization = usual(loss, self.solver)
        self.learning_rate = usual_rate if learning_rate is None else learning_rate
        self.momentum = momentum
        self.regularization = usual_regularization if regularization is None else regularization
        self.weight_regularization = self.regularization if weight_regularization is None else weight_regularization
        self.iterations = iterations
        self.burn_in = burn_in
        self.posterior_factors = 8 * factors if posterior_factors is None else posterior_factors
        self.field_weights = field_weights
        self.negatives = negatives
        self.sampling = sampling
        self.popularity_exponent = popularity_exponent
        self.alpha = alpha
        self.unobserved_weight = unobserved_weight
        self.asynchronous = asynchronous
        self.tolerance = tolerance
        self.patience = patience
        self.threads = threads
        self.seed = seed
        self._check_settings()
        self.loss, self.scores = [], []
        self._learned: Learned | None = None

    def fit(
        self,
        dataset: Dataset,
        *,
        sample_weight: NDArray[np.float32] | None = None,
        progress: Progress | None = None,
        on_epoch: OnEpoch | None = None,
        start: FactorizationMachine | None = None,
    ) -> Self:
        """Train on a dataset with whatever features it has.

        Parameters
        ----------
        dataset : Dataset
        sample_weight : ndarray of shape (n_interactions,), float32, optional
            How much each interaction counts, 0 or more; 1 without it.
        progress : callable, optional
        on_epoch : callable, optional
            Called with the model after each epoch; may return a validation score. The model of the best one is kept.
        start : FactorizationMachine, optional
            Fitted earlier on any ids and features: what it knows of them is where training begins.

        Raises
        ------
        DataError
            If a weight is negative, or cannot be a class.
        TrainingDivergedError
            If gradient steps diverge and a lower learning rate does not help; the model stays as it was before.
        """
        rng = np.random.default_rng(self.seed)
        problem = Problem.of(dataset, self.objective, sample_weight)
        parameters = self._random(problem.sides.of_interactions(), rng)
        if start is not None:
            earlier = start.learned
            carry_over(earlier.problem.sides, earlier.in_units_of(problem.scale), problem.sides, parameters)
        return self._learn(problem, parameters, self.iterations, rng, progress, on_epoch)

    def partial_fit(self, events: Interactions, *, iterations: int = 5) -> Self:
        """Take in later events, in any maps, without training anew: known features go on from what they are.

        Users, items and values of fields seen for the first time are added. Gradient solvers take `iterations` epochs
        over the events that came; the others sweep `iterations` times over all of them.

        Raises
        ------
        ConfigError
            If the model is not fitted yet.
        DataError, TrainingDivergedError
            As `fit`; the model stays as it was.
        """
        if iterations < 1:
            raise ConfigError(f"iterations is {iterations}. Give 1 or more")
        before = self.learned.problem
        problem = before.join(events, only_new=self.solver in GRADIENT)
        rng = np.random.default_rng([self.seed, len(problem.sides.dataset.interactions)])
        parameters = self._random(problem.sides.of_interactions(), rng)
        carry_over(before.sides, self.learned.parameters, problem.sides, parameters)
        return self._learn(problem, parameters, iterations, rng, None, None)

    @property
    def learned(self) -> Learned:
        """The state training ended in; `ConfigError` before `fit`."""
        _ = self.dataset
        assert self._learned is not None
        return self._learned

    def fit_rows(
        self,
        features: FeatureMatrix,
        targets: NDArray[np.float32],
        sample_weight: NDArray[np.float32] | None = None,
        *,
        progress: Progress | None = None,
    ) -> RowPredictor:
        """Learn plain rows, such as `read_libsvm` returns, with the squared, logistic, hinge or probit loss.

        Parameters
        ----------
        features : FeatureMatrix of n rows
        targets : ndarray of shape (n,), float32
            Ratings; for classes, what is above 0 against what is not.
        sample_weight : ndarray of shape (n,), float32, optional
        progress : callable, optional

        Returns
        -------
        RowPredictor
            The model itself stays as it is.

        Examples
        --------
        >>> from recsys.data.features import FeatureMatrix
        >>> days = FeatureMatrix.of_ids(np.array([0, 1, 0, 1], np.int32), 2, "day")
        >>> machine = FactorizationMachine(factors=0, loss="logistic", iterations=50)
        >>> machine.fit_rows(days, np.array([1, 0, 1, 0], np.float32)).predict(days).round().tolist()
        [1.0, 0.0, 1.0, 0.0]
        """
        if self.objective not in POINTWISE:
            raise ConfigError(f"the {self.objective} loss ranks items and needs a dataset: call fit")
        if len(features) != len(targets):
            raise DataError(f"{len(features):,} rows and {len(targets):,} targets do not go together")
        rng, design = np.random.default_rng(self.seed), Design.of_rows(features)
        given = np.ascontiguousarray(targets, np.float32)
        scale = Scale.of(given) if self.objective == "squared" else None
        weight = None if sample_weight is None else checked_weight(sample_weight, len(targets))
        samples = Labelled(design, to_targets(given, self.objective, scale), weight)
        parameters, posterior = self._random(design, rng), self._posterior(design, self.iterations)
        for done, _ in enumerate(self._pointwise(samples, parameters, posterior, self.iterations, rng), 1):
            if progress is not None:
                progress(done, self.iterations)
        machine = posterior.mean() if posterior.count else parameters
        bounds = () if scale is None else (scale.lowest, scale.highest)
        link = LINKS.get(self.objective, "identity")
        return RowPredictor(rescaled(machine, scale), features.fields, features.offsets, link, *bounds)

    def predict(
        self, users: Sequence[str], items: Sequence[str], context: Context | Sequence[Context] | None = None
    ) -> NDArray[np.float32]:
        """Rating, probability or score of each pair of a user and an item, float32 of shape (n_pairs,).

        An unknown user or item counts as the average of those that have interactions.

        Parameters
        ----------
        users, items : sequence of str
        context : mapping, or a sequence of one for each pair, optional
        """
        if isinstance(users, str) or isinstance(items, str) or len(users) != len(items):
            raise ConfigError("users and items are two lists of ids of equal length, one pair in each place")
        user, item = self.dataset.users.encode(users), self.dataset.items.encode(items)
        queries = Queries.of(self._factors, user, context)
        parts = [np.empty(0, np.float32)]
        for at in range(0, len(users), _PAIRS):
            some = slice(at, at + _PAIRS)
            parts.append(queries.take(some).predict(self._factors, item[some]))
        return np.concatenate(parts)

    def export(self) -> Factors:
        """Return the published form: one dot product for any user, context and item, known or not.

        Its predictions are those of the machine to float32. With it comes the map that folds in users of whom events
        alone are known.
        """
        _ = self.dataset
        return self._exported

    @cached_property
    def _exported(self) -> Factors:
        scale = self.learned.problem.scale
        observed = self.learned.problem.observed()
        centre = None if scale is None else self._factors.queries.bias
        return replace(self._factors, fold_in=fit_history_map(self._factors, observed, centre=centre))

    def _learn(
        self,
        problem: Problem,
        parameters: Parameters,
        iterations: int,
        rng: np.random.Generator,
        progress: Progress | None,
        on_epoch: OnEpoch | None,
    ) -> Self:
        posterior = self._posterior(problem.design(), iterations)
        losses = self._epochs(problem, parameters, posterior, iterations, rng)

        def factors(_last: bool) -> Factors:
            machine = rescaled(posterior.mean() if posterior.count else parameters, problem.scale)
            return to_factors(machine, problem.sides, LINKS.get(self.objective, "identity"), problem.scale)

        self._train(problem.sides.dataset, losses, factors, progress, on_epoch)
        self._learned = Learned(problem, parameters)
        return self
