"""Gibbs sampling for factorization machines: nothing to tune but the number of factors and sweeps.

Freudenthaler, Schmidt-Thieme and Rendle 2011, Bayesian factorization machines; Rendle 2012, Factorization machines with
libFM.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.models.fm.blocks import repeating
from recsys.models.fm.design import Design
from recsys.models.fm.hyperparameters import Hyperparameters
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.posterior import Posterior
from recsys.models.fm.probit import Latent
from recsys.models.fm.sweeps import Sweep


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


def gibbs_epochs(
    design: Design,
    targets: NDArray[np.float32],
    sample_weight: NDArray[np.float32] | None,
    parameters: Parameters,
    *,
    loss: str,
    iterations: int,
    posterior: Posterior,
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
    posterior : Posterior
        Every draw is added to it.
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
    TrainingDivergedError
        If numbers are no longer finite.
    """
    sweep = Sweep(repeating(design), targets, sample_weight, parameters, threads)
    latent = Latent(targets, sample_weight) if loss == "probit" else None
    n = len(design) if sample_weight is None else int(np.count_nonzero(sample_weight))
    for _ in range(iterations):
        if latent is not None:
            sweep.aim(latent.draw(sweep.predictions(), rng))
            noise_precision = 1.0
        else:
            noise_precision = float(hyper.precision(n, np.array(sweep.squared_error()), rng))
        sweep.run(drawn(parameters, noise_precision, hyper, rng), rng)
        posterior.add(parameters)
        fit = sweep.squared_error() if latent is None else latent.loss(sweep.predictions())
        yield sweep.per_weight(fit)


def drawn(
    parameters: Parameters, noise_precision: float, hyper: HyperPrior, rng: np.random.Generator
) -> Hyperparameters:
    """Draw the priors of all fields given weights and vectors; weights that are all 0, so never drawn, get N(0, 1).

    The precision of numbers that are 0 would be so high that it held the weights there for many sweeps.
    """
    d, (_, width) = parameters.factors, parameters.vectors.shape
    n_fields = int(parameters.field_of.max(initial=-1)) + 1
    cuts = np.searchsorted(parameters.field_of, np.arange(n_fields + 1))
    weight = np.zeros((2, n_fields, 1), np.float32)
    vector = np.zeros((2, n_fields, width), np.float32)
    weight[0] = vector[0] = 1
    for f, (first, end) in enumerate(pairwise(cuts)):
        if parameters.weights[first:end].any():
            weight[:, f] = hyper.normal(parameters.weights[first:end, None], rng)
        vector[:, f, :d] = hyper.normal(parameters.vectors[first:end, :d], rng)
    return Hyperparameters(noise_precision, 1.0, *weight, *vector)
