"""How a trained model learns to fold in: a ridge regression of its users on their own histories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.factors import Factors, HistoryMap

_SHRINKAGES = (1.0, 5.0, 10.0, 30.0, 100.0)
_PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)  # relative to the squares of each coordinate
_EVERY = 10  # the users, one in so many, that the settings are chosen on
_MOST_USERS = 50_000
_TINY = 1e-12


def fit_history_map(factors: Factors, user_items: sp.csr_matrix, *, centre: float | None) -> HistoryMap:
    """Fit the map from what trained users have to the vectors and biases that training gave them.

    Shrinkage and penalty are those with the smallest error on users held out, measured in the scores of all items:
    with E the errors of vectors and biases and Y the item vectors beside a column of ones, ``|E Y'|^2``.

    Parameters
    ----------
    factors : Factors
        Of the trained model.
    user_items : scipy.sparse.csr_matrix of shape (n_users, n_items)
        What it was trained on, merged: ratings, or anything above 0.
    centre : float, optional
        Of ratings: what `item_bias` is relative to. None: who has what.

    Returns
    -------
    HistoryMap
        Of zeros if nobody has anything.
    """
    lengths = np.diff(user_items.indptr)
    users = np.flatnonzero(lengths)
    users = users[:: -(-max(len(users), 1) // _MOST_USERS)]
    items = np.column_stack([factors.item_vectors, np.ones(len(factors.item_bias))]).astype(np.float64)
    points = np.column_stack([factors.user_vectors[users], factors.queries.user_bias[users]]).astype(np.float64)
    held = np.zeros(len(users), bool)
    held[::_EVERY] = len(users) >= 2 * _EVERY
    gram, sums, best = items.T @ items, _sums(factors, user_items[users], items, centre), None
    for shrinkage in _SHRINKAGES:
        s = np.column_stack([sums / (lengths[users] + shrinkage)[:, None], np.ones(len(users))])
        fitted = _Ridge.of(s[~held], points[~held])
        for penalty in _PENALTIES:
            errors = points[held] - s[held] @ fitted.solve(penalty)
            loss = float(np.einsum("ij,jk,ik->", errors, gram, errors, optimize=True))
            if best is None or loss < best[0]:
                best = loss, shrinkage, penalty, fitted.joined(s[held], points[held])
    assert best is not None
    _, shrinkage, penalty, everybody = best
    solution = everybody.solve(penalty).astype(np.float32)
    return HistoryMap(np.ascontiguousarray(solution[:-1]), solution[-1].copy(), shrinkage, centre)


def _sums(
    factors: Factors, user_items: sp.csr_matrix, items: NDArray[np.float64], centre: float | None
) -> NDArray[np.float64]:
    """Sum of x_j (y_j, 1) over the items of each user."""
    x = np.ones(user_items.nnz)
    if centre is not None:
        x = user_items.data.astype(np.float64) - centre - factors.item_bias[user_items.indices]
    weighted = sp.csr_matrix((x, user_items.indices, user_items.indptr), shape=user_items.shape)
    sums: NDArray[np.float64] = weighted @ items
    return sums


@dataclass(frozen=True, eq=False)
class _Ridge:
    """The normal equations of points on s, whose last column of ones bears no penalty."""

    squares: NDArray[np.float64]
    products: NDArray[np.float64]

    @classmethod
    def of(cls, s: NDArray[np.float64], points: NDArray[np.float64]) -> _Ridge:
        return cls(s.T @ s, s.T @ points)

    def joined(self, s: NDArray[np.float64], points: NDArray[np.float64]) -> _Ridge:
        more = _Ridge.of(s, points)
        return _Ridge(self.squares + more.squares, self.products + more.products)

    def solve(self, penalty: float) -> NDArray[np.floating]:
        diagonal = self.squares.diagonal() * penalty
        diagonal[-1] = 0
        system = self.squares + np.diag(diagonal + _TINY * max(self.squares.diagonal().max(), 1.0))
        solution: NDArray[np.floating] = np.linalg.solve(system, self.products)
        return solution
