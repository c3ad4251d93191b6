"""Rows of implicit ALS, written down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def als_cg(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    weights: NDArray[np.float32] | None,
    weight: float,
    shift: float,
    factors: NDArray[np.float32],
    dense: NDArray[np.float32],
    penalty: NDArray[np.float32],
    order: NDArray[np.int32],
    steps: int,
    relaxation: float,
    x: NDArray[np.float32],
    loss: NDArray[np.float64],
    threads: int,
) -> None:
    """Preconditioned conjugate gradients on rows of implicit ALS (Takacs, Pilaszy and Tikk 2011), from `x` on.

    With ``s_j = x . y_j`` over the row's columns and ``D = dense + penalty_u`` on the diagonal, row u minimises
    ``f(x) = sum_j [c_j (1 - s_j)^2 + shift (1 - 2 s_j)] + x' D x``. D is the preconditioner.

    Parameters
    ----------
    indptr, indices : int64 of shape (n_rows + 1,) and int32 of shape (nnz,)
        Columns of each row, CSR.
    weights : ndarray of shape (nnz,), float32, or None
        c of each entry; all are `weight` without them.
    weight, shift : float
    factors : ndarray of shape (n_columns, d), float32
        In the eigenbasis of their Gram matrix; d is a multiple of 8.
    dense : ndarray of shape (d,), float32
        Eigenvalues times the weight of unobserved entries.
    penalty : ndarray of shape (n_rows,), float32
    order : ndarray of int32
        Rows to solve, each at most once, in the order in which to work on them.
    steps : int
    relaxation : float
        Factor on the way from the start to the solution.
    x : ndarray of shape (n_rows, d), float32
        Start; overwritten by the solution. Rows without entries become zero.
    loss : ndarray of shape (n_rows,), float64
        Written: f at the solution.
    threads : int
        Ignored here.
    """
    for u in order:
        y, c = _row(u, indptr, indices, weights, weight, factors)
        start = x[u].astype(np.float64) if len(c) else np.zeros(x.shape[1])
        diagonal = dense.astype(np.float64) + penalty[u]
        s = y @ start
        value = (c * (1 - s) ** 2 + shift * (1 - 2 * s)).sum() + start @ (diagonal * start)
        r = y.T @ (c * (1 - s) + shift) - diagonal * start  # b - A x
        moved, gained = np.zeros_like(start), 0.0
        z = r / diagonal
        p, rz = z, r @ z
        solved = max(1e-14 * rz, 1e-30)  # beyond it, steps would work on rounding errors
        for _ in range(steps):
            q = diagonal * p + y.T @ (c * (y @ p))  # A p
            if rz <= solved or p @ q <= 0:
                break
            length = rz / (p @ q)
            moved, r, gained = moved + length * p, r - length * q, gained + length * rz
            z = r / diagonal
            p, rz = z + (r @ z) / rz * p, r @ z
        x[u] = start + relaxation * moved
        # Along the line from start to solution f falls by w (2 - w) times what it gains at w = 1.
        loss[u] = value - relaxation * (2 - relaxation) * gained


def als_exact(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    weights: NDArray[np.float32] | None,
    weight: float,
    shift: float,
    factors: NDArray[np.float32],
    dense: NDArray[np.float32],
    penalty: NDArray[np.float32],
    order: NDArray[np.int32],
    x: NDArray[np.float32],
    loss: NDArray[np.float64],
    threads: int,
) -> None:
    """Exact solution of rows of implicit ALS; arguments as in `als_cg`."""
    for u in order:
        y, c = _row(u, indptr, indices, weights, weight, factors)
        system = np.diag(dense.astype(np.float64) + penalty[u]) + y.T @ (c[:, None] * y)
        b = y.T @ (c + shift)
        solution = np.linalg.lstsq(system, b, rcond=None)[0]
        x[u], loss[u] = solution, (c + shift).sum() - b @ solution


def _row(
    u: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    weights: NDArray[np.float32] | None,
    weight: float,
    factors: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors and confidences of one row's entries, in double precision."""
    entries = slice(indptr[u], indptr[u + 1])
    y = factors[indices[entries]].astype(np.float64)
    return y, np.full(len(y), weight) if weights is None else weights[entries].astype(np.float64)
