"""Alternating least squares for factorization machines, squared and probit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recsys.models.fm.blocks import repeating
from recsys.models.fm.design import Design
from recsys.models.fm.hyperparameters import Hyperparameters
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.probit import Latent
from recsys.models.fm.sweeps import Sweep, squared


def als_epochs(
    design: Design,
    targets: NDArray[np.float32],
    sample_weight: NDArray[np.float32] | None,
    parameters: Parameters,
    *,
    loss: str,
    regularization: float,
    weight_regularization: float,
    iterations: int,
    threads: int,
) -> Iterator[float]:
    """Alternating least squares; every sweep lowers the objective.

    Squared loss minimises ``sum a_n (t_n - y_n)^2 + regularization |V|^2 + weight_regularization |w|^2``. Probit loss
    takes targets 1 and -1 and minimises ``-2 sum log Phi(t_n sqrt(a_n) y_n)`` plus the same: a latent normal target is
    replaced by its mean given t before each sweep (expectation maximisation).

    Parameters
    ----------
    design : Design
    targets : ndarray of shape (n,), float32
    sample_weight : ndarray of shape (n,), float32, or None
        a; how precise a sample is. 1 if None.
    parameters : Parameters
        Updated in place.
    loss : {"squared", "probit"}
    regularization, weight_regularization : float
    iterations, threads : int

    Yields
    ------
    float
        The objective after each sweep, per unit of weight.

    Raises
    ------
    TrainingDivergedError
        If numbers are no longer finite.
    """
    sweep = Sweep(repeating(design), targets, sample_weight, parameters, threads)
    latent = Latent(targets, sample_weight) if loss == "probit" else None
    ridge = Hyperparameters.ridge(parameters, regularization, weight_regularization)
    for _ in range(iterations):
        if latent is not None:
            sweep.aim(latent.mean(sweep.predictions()))
        sweep.run(ridge)
        fit = sweep.squared_error() if latent is None else 2 * latent.loss(sweep.predictions())
        penalty = regularization * squared(parameters.vectors) + weight_regularization * squared(parameters.weights)
        yield sweep.per_weight(fit + penalty)
