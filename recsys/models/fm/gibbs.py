"""Gibbs sampling for factorization machines: nothing to tune but the number of factors and sweeps.

Freudenthaler, Schmidt-Thieme and Rendle 2011, Bayesian factorization machines; Rendle 2012, Factorization machines with
libFM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters, aligned
from recsys.models.fm.probit import Latent
from recsys.models.fm.sweeps import Prior, Sweep, finite


class HyperPrior(NamedTuple):
    """Precisions are ``Gamma(shape, rate)``; a mean is normal around 0, `strength` times as precise as what it is of.

    The bias w0 is normal around 0 with precision 1.
    """

    shape: float = 0.5
    rate: float = 0.5
    strength: float = 1.0

    def precision(self, count: float, squares: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw the precisions of normal numbers around 0, of which the sums of squares are given."""
        return np.asarray(rng.gamma(self.shape + 0.5 * count, 1 / (self.rate + 0.5 * squares)))

    def normal(
        self, table: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw precision and mean of each column of a table of normal numbers, jointly.

        With n rows, their sum s and their squares S, the mean m is a priori one more row of 0 that weighs `strength`::

            precision ~ Gamma(shape + n / 2, rate + (S - s^2 / (n + strength)) / 2)
            m ~ N(s / (n + strength), 1 / (precision (n + strength)))
        """
        count = len(table) + self.strength
        total = table.sum(axis=0, dtype=np.float64)
        squares = np.einsum("jk,jk->k", table, table, dtype=np.float64) - total**2 / count
        precision = self.precision(len(table), np.maximum(squares, 0), rng)
        return precision, total / count + rng.standard_normal(len(total)) / np.sqrt(precision * count)


@dataclass
class Draws:
    """The posterior draws of a run: `count` of them, evenly spaced after the first `burn_in` sweeps.

    Parameters
    ----------
    count : int
    burn_in : int

    Attributes
    ----------
    kept : list of Parameters
        Copies, oldest first; `average` turns them into one machine.
    """

    count: int
    burn_in: int
    kept: list[Parameters] = field(default_factory=list)

    def sweeps(self, iterations: int) -> set[int]:
        """Numbers, from 1, of the sweeps after which a draw is kept; the last one always is."""
        if not (0 <= self.burn_in and 1 <= self.count <= iterations - self.burn_in):
            raise ConfigError(
                f"{iterations} iterations do not hold {self.count} draws after {self.burn_in} of burn-in; "
                "raise iterations"
            )
        return {self.burn_in + (k + 1) * (iterations - self.burn_in) // self.count for k in range(self.count)}

    def keep(self, parameters: Parameters) -> None:
        """Keep a copy."""
        vectors = aligned(*parameters.vectors.shape)
        vectors[:] = parameters.vectors
        bias, weights = parameters.bias.copy(), parameters.weights.copy()
        self.kept.append(Parameters(bias, weights, vectors, parameters.factors, parameters.field_of))


def gibbs_epochs(
    design: Design,
    targets: NDArray[np.float32],
    sample_weight: NDArray[np.float32] | None,
    parameters: Parameters,
    *,
    loss: str,
    iterations: int,
    draws: Draws,
    threads: int,
    rng: np.random.Generator,
    hyper: HyperPrior = HyperPrior(),  # noqa: B008
) -> Iterator[float]:
    """Sample the posterior of a machine whose weights and vectors have a normal prior for each field and factor.

    Squared loss is a normal likelihood, ``t_n ~ N(y_n, 1 / (a_n precision))``, of unknown precision; targets are to be
    centred and of deviation about 1. Probit loss takes targets 1 and -1: ``P(t_n = 1) = Phi(sqrt(a_n) y_n)``.

    Parameters
    ----------
    design : Design
    targets : ndarray of shape (n,), float32
    sample_weight : ndarray of shape (n,), float32, or None
        a; how precise a sample is. 1 if None.
    parameters : Parameters
        Updated in place: the start, then the newest draw.
    loss : {"squared", "probit"}
    iterations : int
        Sweeps.
    draws : Draws
        Filled on the way.
    threads : int
        Results do not depend on it.
    rng : Generator
    hyper : HyperPrior, optional

    Yields
    ------
    float
        Of each draw, on the samples, per unit of weight: squared error, or minus log probability.

    Raises
    ------
    ConfigError
        If there are fewer iterations than draws to keep.
    TrainingDivergedError
        If numbers are no longer finite.
    """
    kept = draws.sweeps(iterations)
    sweep = Sweep(design, targets, sample_weight, parameters, threads)
    latent = Latent(targets, sample_weight) if loss == "probit" else None
    n = len(design) if sample_weight is None else np.count_nonzero(sample_weight)
    for number in range(1, iterations + 1):
        noise_precision = 1.0
        if latent is not None:
            sweep.aim(latent.draw(sweep.predictions(), rng))
        else:
            noise_precision = float(hyper.precision(n, np.array(sweep.squared_error()), rng))
        sweep.run(drawn_prior(parameters, hyper, rng), noise_precision, rng)
        if number in kept:
            draws.keep(parameters)
        fit = sweep.squared_error() if latent is None else latent.loss(sweep.predictions())
        yield finite(fit / sweep.total_weight)


def drawn_prior(parameters: Parameters, hyper: HyperPrior, rng: np.random.Generator) -> Prior:
    """Draw the priors of all fields given weights and vectors."""
    fields = np.arange(int(parameters.field_of.max(initial=-1)) + 2)
    cuts = np.searchsorted(parameters.field_of, fields)
    d, width = parameters.factors, parameters.vectors.shape[1]
    weight = np.empty((2, len(fields) - 1, 1), np.float32)
    vector = np.zeros((2, len(fields) - 1, width), np.float32)
    vector[0] = 1
    for f, (first, end) in enumerate(zip(cuts[:-1], cuts[1:], strict=True)):
        weight[:, f] = hyper.normal(parameters.weights[first:end, None], rng)
        vector[:, f, :d] = hyper.normal(parameters.vectors[first:end, :d], rng)
    return Prior(1.0, *weight, *vector)
