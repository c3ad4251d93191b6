"""Probit loss by latent normal targets (Albert and Chib 1993, Bayesian analysis of binary and polychotomous data)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr, ndtri_exp

_LEAST = 1e-16  # of a uniform number, and of its distance from 1: the normal quantile stays finite
_FAINT = 1e-12  # least weight of a sample


class Latent:
    """Targets of normal noise, of which only the signs are known: ``z_n ~ N(y_n, 1 / a_n)``, ``z_n t_n > 0``.

    Parameters
    ----------
    targets : ndarray of shape (n,), float32
        t: 1 or -1.
    sample_weight : ndarray of shape (n,), float32, or None
        a. 1 if None.
    """

    def __init__(self, targets: NDArray[np.float32], sample_weight: NDArray[np.float32] | None) -> None:
        weight = np.ones(1) if sample_weight is None else np.maximum(sample_weight.astype(np.float64), _FAINT)
        self.scale = np.sign(targets) * np.sqrt(weight)  # t sqrt(a)

    def loss(self, predictions: NDArray[np.float32]) -> float:
        """Return ``-sum log Phi(t sqrt(a) y)``, minus the logarithm of the probability of all signs."""
        return -float(log_ndtr(self.scale * predictions).sum())

    def mean(self, predictions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of z given y, float32 of shape (n,).

        It is ``y + phi(x) / Phi(x) / (t sqrt(a))`` with ``x = t sqrt(a) y``.
        """
        x = self.scale * predictions
        ratio = np.sqrt(2 / np.pi) / erfcx(-x / np.sqrt(2))  # phi / Phi, far out in the tail too
        return np.asarray((x + ratio) / self.scale, np.float32)

    def draw(self, predictions: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw z given y, float32 of shape (n,).

        It is ``y - Phi^-1(u Phi(x)) / (t sqrt(a))`` with u uniform.
        """
        x = self.scale * predictions
        u = np.clip(rng.random(len(x)), _LEAST, 1 - _LEAST)
        return np.asarray((x - ndtri_exp(np.log(u) + log_ndtr(x))) / self.scale, np.float32)
