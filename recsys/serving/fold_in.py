"""A user's vector from events alone, as a sum over items: cheap enough for a request, and explainable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from recsys.factors import Factors, FoldIn, HistoryMap

Merged = tuple[NDArray[np.integer], NDArray[np.float32]]
"""Distinct item rows of one user, and their merged weights."""


@dataclass(frozen=True, eq=False)
class FoldedIn:
    """``point = base + solve(sum of terms)``, with a linear `solve`.

    A point is a user's vector and, last, the user's bias.

    Parameters
    ----------
    base : ndarray of shape (d + 1,), float64
        What the items add to.
    items : ndarray of shape (n,), integer
        Item rows; a row stands twice where a newer history replaces an older one.
    terms : ndarray of shape (n, d + 1), float64
    solve : callable
        Takes an array of shape (d + 1,) or (d + 1, n).
    """

    base: NDArray[np.float64]
    items: NDArray[np.integer]
    terms: NDArray[np.float64]
    solve: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    @cached_property
    def point(self) -> NDArray[np.float64]:
        """Vector and bias, shape (d + 1,)."""
        return self.base + self.solve(self.terms.sum(axis=0))

    @property
    def parts(self) -> NDArray[np.float64]:
        """What each item adds to the point, shape (n, d + 1)."""
        return self.solve(np.ascontiguousarray(self.terms.T)).T


def fold_in(factors: Factors, history: Merged, trained: tuple[NDArray[np.float64], Merged] | None) -> FoldedIn | None:
    """Find a user's point from a history.

    Parameters
    ----------
    factors : Factors
    history : Merged
        All of it.
    trained : tuple of ndarray and Merged, optional
        The point training found for the user, and the history it found it from.

    Returns
    -------
    FoldedIn or None
        None if the model cannot do it.
    """
    if isinstance(factors.fold_in, FoldIn):
        return _solved(factors.fold_in, factors, *history)
    if isinstance(factors.fold_in, HistoryMap):
        return _mapped(factors.fold_in, factors, history, trained)
    return None


def _solved(settings: FoldIn, factors: Factors, items: NDArray[np.integer], weights: NDArray[np.float32]) -> FoldedIn:
    """Set up the user half-step of implicit ALS by the formula in `FoldIn`; the bias stays 0."""
    vectors = factors.item_vectors[items].astype(np.float64)
    confidence = settings.alpha * weights.astype(np.float64)
    n_items, width = factors.item_vectors.shape
    size = len(items) + settings.unobserved_weight * n_items
    penalty = settings.regularization * size**settings.frequency_exponent
    terms = np.column_stack([vectors * confidence[:, None], np.zeros(len(items))])
    system = np.eye(width + 1)
    system[:-1, :-1] = np.diag(settings.unobserved_weight * settings.eigenvalues.astype(np.float64) + penalty)
    system[:-1, :-1] += terms[:, :-1].T @ vectors
    return FoldedIn(np.zeros(width + 1), items, terms, partial(np.linalg.solve, system))


def _mapped(
    history_map: HistoryMap, factors: Factors, history: Merged, trained: tuple[NDArray[np.float64], Merged] | None
) -> FoldedIn:
    """Apply the formula in `HistoryMap`, for somebody trained to what has changed."""

    def terms(items: NDArray[np.integer], weights: NDArray[np.float32]) -> NDArray[np.float64]:
        return history_map.terms(factors.item_vectors[items], factors.item_bias[items], weights)

    solve = history_map.matrix.T.astype(np.float64).__matmul__
    if trained is None:
        return FoldedIn(history_map.intercept.astype(np.float64), history[0], terms(*history), solve)
    point, before = trained
    items = np.concatenate([history[0], before[0]])
    return FoldedIn(point, items, np.concatenate([terms(*history), -terms(*before)]), solve)
