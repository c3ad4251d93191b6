"""A user's vector from events alone: one small least-squares solve at request time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.factors import FoldIn


def fold_in(
    settings: FoldIn, item_vectors: NDArray[np.float32], items: NDArray[np.integer], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Solve the user half-step of implicit ALS for one user.

    ``(G + regularization I + sum_j (alpha r_j - 1) y_j y_j') x = sum_j alpha r_j y_j`` in float64, as in `FoldIn`.

    Parameters
    ----------
    settings : FoldIn
    item_vectors : ndarray of shape (n_items, d), float32
    items : ndarray of shape (n,), integer
        Distinct item rows.
    weights : ndarray of shape (n,), float32
        Merged weights r of these items.

    Returns
    -------
    ndarray of shape (d,), float32
        The zero vector for a user without items.
    """
    vectors = item_vectors[items].astype(np.float64)
    confidence = settings.alpha * weights.astype(np.float64)
    system = settings.gram + settings.regularization * np.eye(len(settings.gram))
    system += (vectors * (confidence - 1.0)[:, None]).T @ vectors
    return np.linalg.solve(system, vectors.T @ confidence).astype(np.float32)
