"""The posterior mean of many draws of a factorization machine, as one machine of few factors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters, aligned

_BLAS = ThreadpoolController().select(user_api="blas")
_CHUNK = 2**16  # features: float32 within, float64 across
_LANES = 8


class Posterior:
    """Mean of draws, held as one machine while they come in.

    The prediction is linear in bias, weights and inner products of vectors. So the mean of S draws is a machine with
    all their vectors side by side, over the root of S. Where that grows too wide it is turned into the basis in which
    ``V' C V`` is diagonal, and only the largest directions stay: the best approximation of the inner products
    ``<v_j, v_l>``, in squares weighed by c_j c_l, with c_j how often feature j occurs. It is the noise of single draws
    that goes first, so that a mean of hundreds of draws needs only a few times the factors of one.

    Parameters
    ----------
    design : Design
        Of training.
    burn_in : int
        Draws left out at the start.
    factors : int
        Of the mean at most.

    Examples
    --------
    >>> from recsys.data.features import FeatureMatrix
    >>> design = Design.of_rows(FeatureMatrix.of_ids(np.array([0, 1, 1], np.int32), 2, "item"))
    >>> posterior = Posterior(design, burn_in=1, factors=8)
    >>> for seed in range(4):
    ...     posterior.add(Parameters.random(design, 4, 1.0, np.random.default_rng(seed)))
    >>> posterior.count, posterior.mean().factors
    (3, 8)
    """

    def __init__(self, design: Design, burn_in: int, factors: int) -> None:
        counts = np.zeros(design.n_features)
        for number, block in enumerate(design.blocks):
            occurs = np.bincount(design.parts[:, number], minlength=len(block))
            here = slice(*design.first_features[number : number + 2])
            counts[here] = (block.to_csr() != 0).T @ occurs
        self._roots = np.sqrt(counts).astype(np.float32)[:, None]
        self.skipped = burn_in
        self.factors = factors
        self.count = 0
        self._linear = np.zeros(1 + design.n_features)
        self._table = np.zeros((design.n_features, 0), np.float32)
        self._filled = 0

    def add(self, draw: Parameters) -> None:
        """Take in one more draw."""
        if self.skipped:
            self.skipped -= 1
            return
        self._field_of, d = draw.field_of, draw.factors
        if not self._table.size:
            self._table = np.zeros((len(self._table), self.factors + max(self.factors, d)), np.float32)
        if self._filled + d > self._table.shape[1]:
            self._compress()
        self._table[:, self._filled : self._filled + d] = draw.vectors[:, :d]
        self._filled += d
        self._linear += np.append(draw.bias, draw.weights)
        self.count += 1

    def mean(self) -> Parameters:
        """Return the machine that predicts the mean of all draws so far; there must be one."""
        self._compress()
        linear = (self._linear / self.count).astype(np.float32)
        vectors = aligned(len(self._table), -(-self._filled // _LANES) * _LANES)
        vectors[:, : self._filled] = self._table[:, : self._filled] * np.float32(self.count**-0.5)
        return Parameters(linear[:1], linear[1:], vectors, self._filled, self._field_of)

    def _compress(self) -> None:
        if self._filled <= self.factors:
            return
        table = self._table[:, : self._filled]
        chunks = [slice(first, first + _CHUNK) for first in range(0, len(table), _CHUNK)]
        with _BLAS.limit(limits=1):
            gram = np.zeros((self._filled, self._filled))
            for chunk in chunks:
                weighed = table[chunk] * self._roots[chunk]
                gram += weighed.T @ weighed
            directions: NDArray[np.float64] = np.linalg.eigh(gram)[1][:, : -self.factors - 1 : -1]
            for chunk in chunks:
                table[chunk, : self.factors] = table[chunk] @ directions.astype(np.float32)
        self._filled = self.factors
