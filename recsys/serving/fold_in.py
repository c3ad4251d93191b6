"""A user's vector from events alone: one small least-squares solve at request time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.factors import FoldIn


def fold_in(
    settings: FoldIn, item_vectors: NDArray[np.float32], items: NDArray[np.integer], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Solve the user half-step of implicit ALS for one user, in float64, by the formula in `FoldIn`.

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
    size = len(items) + settings.unobserved_weight * len(item_vectors)
    penalty = settings.regularization * size**settings.frequency_exponent
    system = np.diag(settings.unobserved_weight * settings.eigenvalues.astype(np.float64) + penalty)
    system += (vectors * confidence[:, None]).T @ vectors
    return np.linalg.solve(system, vectors.T @ confidence).astype(np.float32)
