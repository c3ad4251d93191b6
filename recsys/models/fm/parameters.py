"""`Parameters`: the numbers of a factorization machine, and what it predicts with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.models.fm.design import Design

_LANES = 8
_LINE = 16  # floats


@dataclass(frozen=True, eq=False)
class Parameters:
    """``y(x) = bias + sum_j w_j x_j + sum_{j<l} r_{f(j) f(l)} <v_j, v_l> x_j x_l``.

    Rendle 2010, Factorization machines; with field weights r Pan et al. 2018, Field-weighted factorization machines.

    Parameters
    ----------
    bias : ndarray of shape (1,), float32
        w0; an array, so that solvers can work in place.
    weights : ndarray of shape (n_features,), float32
        w.
    vectors : ndarray of shape (n_features, padded d), float32
        v; a multiple of 8 columns, rows that begin with a cache line; the columns beyond d are zero.
    factors : int
        d; may be 0.
    field_of : ndarray of shape (n_features,), int32
    field_weights : ndarray of shape (n_fields, n_fields), float32, or None
        r, symmetric. None where all are 1.
    squares : ndarray of shape (n_features, 2), float32, or None
        Squared gradients of w_j and of the whole of v_j, summed: what AdaGrad goes on from when it trains again.
    """

    bias: NDArray[np.float32]
    weights: NDArray[np.float32]
    vectors: NDArray[np.float32]
    factors: int
    field_of: NDArray[np.int32]
    field_weights: NDArray[np.float32] | None = None
    squares: NDArray[np.float32] | None = None

    @classmethod
    def random(cls, design: Design, factors: int, length: float, rng: np.random.Generator) -> Parameters:
        """Zero weights and random vectors of about that length for the features of a design."""
        vectors = aligned(design.n_features, -(-factors // _LANES) * _LANES)
        if factors:
            scale = np.float32(length / factors**0.5)
            vectors[:, :factors] = rng.standard_normal((design.n_features, factors), np.float32) * scale
        return cls(np.zeros(1, np.float32), np.zeros(design.n_features, np.float32), vectors, factors, design.field_of)

    def predict(self, design: Design) -> NDArray[np.float32]:
        """Return y of every sample, float32 of shape (n,), in float64 on the way; O(entries of blocks x d)."""
        total = np.full(len(design), self.bias[0], np.float64)
        n_fields = 1 if self.field_weights is None else len(self.field_weights)
        r = np.ones((1, 1)) if self.field_weights is None else self.field_weights.astype(np.float64)
        sums = np.zeros((n_fields, len(design), self.vectors.shape[1]))
        for number, block in enumerate(design.blocks):
            here = slice(*design.first_features[number : number + 2])
            x, rows = block.to_csr().astype(np.float64), design.parts[:, number]
            v = self.vectors[here].astype(np.float64)
            field = self.field_of[here] if n_fields > 1 else np.zeros(len(v), np.int32)
            own = 0.5 * r[field, field] * np.einsum("ij,ij->i", v, v)
            total += (x @ self.weights[here].astype(np.float64) - x.multiply(x) @ own)[rows]
            for f in range(n_fields):
                sums[f] += (x @ (v * (field == f)[:, None]))[rows]
        total += 0.5 * np.einsum("fnd,fg,gnd->n", sums, r, sums, optimize=True)
        return total.astype(np.float32)

    def plain(self) -> tuple[Parameters, NDArray[np.float32]]:
        """Return the same machine without field weights, in a space with signs.

        With the eigenvectors U and eigenvalues s of the symmetric r, feature j of field f gets the vector of all
        ``sqrt|s_k| U_fk v_j``, and ``sum_k sign(s_k) <v_jk, v_lk>`` is ``r_fg <v_j, v_l>``.

        Returns
        -------
        parameters : Parameters
            Without field weights; d times the number of fields wide where there were some.
        signs : ndarray of shape (padded d,), float32
            By which a coordinate counts in an inner product: 1 or -1.
        """
        if self.field_weights is None:
            return self, np.ones(self.vectors.shape[1], np.float32)
        values, directions = np.linalg.eigh(self.field_weights.astype(np.float64))
        mixing = (directions * np.abs(values) ** 0.5)[self.field_of]  # (n_features, n_fields)
        wide = mixing[:, :, None] * self.vectors[:, None, : self.factors]
        width = self.factors * len(values)
        vectors = aligned(len(self.weights), -(-width // _LANES) * _LANES)
        vectors[:, :width] = wide.reshape(len(self.weights), width)
        signs = np.ones(vectors.shape[1], np.float32)
        signs[:width] = np.repeat(np.where(values < 0, -1, 1), self.factors)
        return replace(self, vectors=vectors, factors=width, field_weights=None), signs


def aligned(n_rows: int, width: int) -> NDArray[np.float32]:
    """Zeros whose rows begin with a cache line, where the width allows it."""
    room = np.zeros(n_rows * width + _LINE, np.float32)
    skipped = -(room.ctypes.data // room.itemsize) % _LINE
    return room[skipped : skipped + n_rows * width].reshape(n_rows, width)
