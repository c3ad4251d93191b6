"""What a factorization machine is solved by: the settings of its solvers, and the epochs of each loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from recsys.data.sampling import STRATEGIES
from recsys.errors import ConfigError
from recsys.models.fm.design import Design
from recsys.models.fm.gibbs import gibbs_epochs
from recsys.models.fm.gradient import gradient_epochs
from recsys.models.fm.implicit import implicit_epochs
from recsys.models.fm.least_squares import als_epochs
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.posterior import Posterior
from recsys.models.fm.problem import POINTWISE, Labelled, Problem
from recsys.models.fm.ranking import ranking_epochs

SOLVERS = {
    "squared": ("gibbs", "als", "adagrad", "sgd", "momentum"),
    "probit": ("gibbs", "als"),
    "logistic": ("adagrad", "sgd", "momentum"),
    "hinge": ("adagrad", "sgd", "momentum"),
    "warp": ("adagrad", "sgd"),
    "bpr": ("adagrad", "sgd"),
    "softmax": ("adagrad", "sgd"),
    "implicit": ("icd",),
}
"""The solvers of each loss, the default first."""
GRADIENT = ("adagrad", "sgd", "momentum")
LINKS = {"logistic": "logistic", "probit": "probit"}
"""What turns predictions into probabilities, where a loss has one."""
_START = 0.1  # expected length of a vector before training


def usual(loss: str, solver: str) -> tuple[float, float]:
    """Return learning rate and regularization where none are given."""
    if solver in GRADIENT:
        return (0.05, 0.002) if loss in POINTWISE else (0.5, 0.05)
    return 1.0, 10.0


class Solving:
    """The settings a solver reads, each as the constructor of the model explains it."""

    factors: int
    objective: str
    solver: str
    learning_rate: float
    momentum: float
    regularization: float
    weight_regularization: float
    iterations: int
    burn_in: int
    posterior_factors: int
    field_weights: bool
    negatives: int | None
    sampling: str
    popularity_exponent: float
    alpha: float
    unobserved_weight: float
    asynchronous: bool
    tolerance: float
    patience: int
    threads: int
    seed: int

    def _check_settings(self) -> None:
        least = min(self.iterations, self.patience, self.threads)
        if least < 1 or min(self.factors, self.posterior_factors, self.burn_in, self.negatives or 0, self.seed) < 0:
            raise ConfigError(
                "iterations, patience and threads are at least 1; factors, posterior_factors, burn_in, negatives and "
                "seed 0 or more"
            )
        if self.solver == "gibbs" and self.burn_in >= self.iterations:
            raise ConfigError(f"burn_in is below iterations: {self.burn_in} sweeps of {self.iterations} leave no draw")
        positive = (self.learning_rate, self.alpha, self.unobserved_weight)
        not_negative = (self.regularization, self.weight_regularization)
        if not all(0 < one < np.inf for one in positive) or not all(0 <= one < np.inf for one in not_negative):
            raise ConfigError(
                "learning_rate, alpha and unobserved_weight are above 0, the regularizations 0 or more, all finite"
            )
        if not (0 <= self.momentum < 1 and 0 <= self.tolerance < 1 and 0 <= self.popularity_exponent <= 2):
            raise ConfigError("momentum and tolerance are from 0 to below 1, popularity_exponent between 0 and 2")
        if self.sampling not in STRATEGIES:
            raise ConfigError(f"sampling is one of {', '.join(STRATEGIES)}, not {self.sampling!r}")
        if self.field_weights and (
            self.objective not in ("squared", "logistic", "hinge") or self.solver not in GRADIENT
        ):
            raise ConfigError(
                "field_weights are learned by sgd, momentum or adagrad on the squared, logistic or hinge loss"
            )

    def _posterior(self, design: Design, iterations: int) -> Posterior:
        # A chain that goes on for a few sweeps has left its start behind.
        return Posterior(design, self.burn_in if iterations > self.burn_in else 0, self.posterior_factors)

    def _random(self, design: Design, rng: np.random.Generator) -> Parameters:
        parameters = Parameters.random(design, self.factors, _START, rng)
        return replace(
            parameters,
            field_weights=np.ones((len(design.fields),) * 2, np.float32) if self.field_weights else None,
            squares=np.zeros((design.n_features, 2), np.float32) if self.solver == "adagrad" else None,
        )

    def _epochs(
        self, problem: Problem, parameters: Parameters, posterior: Posterior, iterations: int, rng: np.random.Generator
    ) -> Iterator[float]:
        if self.objective in POINTWISE:
            negatives = self.negatives or 0
            seed = int(rng.integers(2**32))
            samples = problem.samples(negatives, self.sampling, self.popularity_exponent, seed)
            return self._pointwise(samples, parameters, posterior, iterations, rng)
        if self.objective == "implicit":
            return self._implicit(problem, parameters, iterations, rng)
        return self._ranking(problem, parameters, iterations, rng)

    def _pointwise(
        self, samples: Labelled, parameters: Parameters, posterior: Posterior, iterations: int, rng: np.random.Generator
    ) -> Iterator[float]:
        given = samples.design, samples.targets, samples.weight, parameters
        if self.solver == "gibbs":
            return gibbs_epochs(
                *given, loss=self.objective, iterations=iterations, posterior=posterior, threads=self.threads, rng=rng
            )
        if self.solver == "als":
            return als_epochs(
                *given,
                loss=self.objective,
                regularization=self.regularization,
                weight_regularization=self.weight_regularization,
                iterations=iterations,
                threads=self.threads,
            )
        return gradient_epochs(
            *given,
            loss=self.objective,
            optimizer=self.solver,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            weight_regularization=self.weight_regularization,
            momentum=self.momentum,
            iterations=iterations,
            asynchronous=self.asynchronous,
            threads=self.threads,
            rng=rng,
            train_field_weights=self.field_weights,
        )

    def _ranking(
        self, problem: Problem, parameters: Parameters, iterations: int, rng: np.random.Generator
    ) -> Iterator[float]:
        design = problem.design()
        return ranking_epochs(
            design,
            problem.users,
            problem.observed(),
            problem.sample_weight,
            parameters,
            item_block=len(design.blocks) - 1,
            loss=self.objective,
            optimizer=self.solver,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            weight_regularization=self.weight_regularization,
            negatives=30 if self.negatives is None else self.negatives,
            sampling=self.sampling,
            popularity_exponent=self.popularity_exponent,
            iterations=iterations,
            asynchronous=self.asynchronous,
            threads=self.threads,
            rng=rng,
        )

    def _implicit(
        self, problem: Problem, parameters: Parameters, iterations: int, rng: np.random.Generator
    ) -> Iterator[float]:
        query, query_rows, items, item_rows = problem.pairs()
        weight = problem.targets if problem.sample_weight is None else problem.targets * problem.sample_weight
        return implicit_epochs(
            query,
            query_rows,
            items,
            item_rows,
            weight * np.float32(self.alpha),
            parameters,
            unobserved_weight=self.unobserved_weight,
            regularization=self.regularization,
            weight_regularization=self.weight_regularization,
            iterations=iterations,
            threads=self.threads,
        )
