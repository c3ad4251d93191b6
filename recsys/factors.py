"""`Factors`, the one thing every servable model reduces to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.query_features import QueryFeatures, check_array

_VECTORS = ("user_vectors", "item_vectors", "query_vectors", "query_mean_user")
_LARGEST_COORDINATE = 1e15  # products of these, summed, stay within float32
_LARGEST = float(np.finfo(np.float32).max)


class FoldIn(NamedTuple):
    """What a new user's vector is solved from: one regularised least-squares row.

    The item vectors are in the eigenbasis of their Gram matrix, which is therefore the diagonal L of `eigenvalues`.
    With ``c_j = alpha * weight_j`` over the user's n items (Hu, Koren and Volinsky 2008; Rendle et al. 2021)::

        (unobserved_weight L + penalty I + sum_j c_j y_j y_j') x = sum_j c_j y_j
        penalty = regularization (n + unobserved_weight n_items)^frequency_exponent

    Parameters
    ----------
    eigenvalues : ndarray of shape (d,), float32
    alpha, regularization, unobserved_weight, frequency_exponent : float
        As the model was trained.
    """

    eigenvalues: NDArray[np.float32]
    alpha: float
    regularization: float
    unobserved_weight: float
    frequency_exponent: float

    @property
    def settings(self) -> dict[str, float]:
        """Everything but the array, as a manifest holds it."""
        return {name: float(value) for name, value in self._asdict().items() if name != "eigenvalues"}

    @property
    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The array, by the name it is published under."""
        return {"eigenvalues": self.eigenvalues}

    def check(self, width: int) -> None:
        """Raise `DataError` unless the array fits item vectors of that width."""
        check_array("eigenvalues", self.eigenvalues, (width,))

    def counts(self, weights: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Mask of the merged weights that say something: those above 0."""
        return weights > 0


class HistoryMap(NamedTuple):
    """What a new user's vector and bias are read off: a linear map of the shrunken mean of their items.

    With y_j the vectors of the user's n items and x_j = 1, or ``rating - centre - item_bias_j`` of ratings::

        (vector, bias) = intercept + s matrix,    s = sum_j x_j (y_j, 1) / (n + shrinkage)

    The map is a ridge regression of trained users on their own items. It is linear, so that the vector is a sum over
    items, and a trained vector moves with new events by the difference of the two s times the matrix.

    Parameters
    ----------
    matrix : ndarray of shape (d + 1, d + 1), float32
    intercept : ndarray of shape (d + 1,), float32
        Somebody without items.
    shrinkage : float
        Above 0: so many items as it takes to count half.
    centre : float, optional
        Given where the weights of events are ratings: what the items' biases are relative to.
    """

    matrix: NDArray[np.float32]
    intercept: NDArray[np.float32]
    shrinkage: float
    centre: float | None = None

    @property
    def settings(self) -> dict[str, float | None]:
        """Everything but the arrays, as a manifest holds it."""
        return {"shrinkage": self.shrinkage, "centre": self.centre}

    @property
    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The arrays, by the names they are published under."""
        return {"fold_in_matrix": self.matrix, "fold_in_intercept": self.intercept}

    def check(self, width: int) -> None:
        """Raise `DataError` unless the map fits item vectors of that width."""
        check_array("fold_in_matrix", self.matrix, (width + 1, width + 1))
        check_array("fold_in_intercept", self.intercept, (width + 1,))
        if not 0 < self.shrinkage < np.inf or not np.isfinite(self.centre or 0.0):
            raise DataError("the shrinkage of a history map is above 0, its centre finite")

    def counts(self, weights: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Mask of the merged weights that say something: any rating, else those above 0."""
        return weights > 0 if self.centre is None else np.ones(len(weights), bool)

    def terms(
        self,
        item_vectors: NDArray[np.floating],
        item_bias: NDArray[np.floating],
        weights: NDArray[np.floating],
    ) -> NDArray[np.float64]:
        """Return what each of one user's items adds to s, float64 of shape (n, d + 1).

        Parameters
        ----------
        item_vectors, item_bias, weights : ndarray of shape (n, d), (n,) and (n,)
            Of the user's items.
        """
        x = np.ones(len(weights)) if self.centre is None else weights.astype(np.float64) - self.centre - item_bias
        with_one = np.column_stack([item_vectors, np.ones(len(weights))])
        return with_one * (x / (len(weights) + self.shrinkage))[:, None]


@dataclass(frozen=True, eq=False)
class Factors:
    """``score(query, item) = constant(query) + <query_vector, item_vector> + item_bias``.

    The query vector is that of a user and, with `query`, of what else a query brings. Popularity is the case d = 0: a
    bias alone.

    Parameters
    ----------
    user_vectors : ndarray of shape (n_users, d), float32
    item_vectors : ndarray of shape (n_items, d), float32
    item_bias : ndarray of shape (n_items,), float32
    fold_in : FoldIn or HistoryMap, optional
        Present when a user's vector can be found from events alone.
    query : QueryFeatures, optional
        Present when scores mean something in themselves, or depend on more than user and item.

    Raises
    ------
    DataError
        If an array has another dtype, another shape, or is not C-contiguous.
    """

    user_vectors: NDArray[np.float32]
    item_vectors: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    fold_in: FoldIn | HistoryMap | None = None
    query: QueryFeatures | None = None

    def __post_init__(self) -> None:
        """Check dtypes and shapes; `check_finite` checks the values when a model is published or loaded."""
        width = self.item_vectors.shape[-1]
        check_array("user_vectors", self.user_vectors, (len(self.user_vectors), width))
        check_array("item_vectors", self.item_vectors, (len(self.item_bias), width))
        check_array("item_bias", self.item_bias, (len(self.item_bias),))
        if self.fold_in is not None:
            self.fold_in.check(width)
        if self.query is not None:
            self.query.check(len(self.user_vectors), width)

    @property
    def width(self) -> int:
        """Number of factors, d."""
        return int(self.item_vectors.shape[1])

    @cached_property
    def queries(self) -> QueryFeatures:
        """What a query can bring: `query`, or nothing."""
        return self.query or QueryFeatures.nothing(len(self.user_vectors), self.width)

    @property
    def settings(self) -> dict[str, Any]:
        """What a manifest's config holds of the factors, as plain JSON: everything `arrays` leaves out."""
        names = {FoldIn: "fold_in", HistoryMap: "history_map"}
        fold_in = {names[type(self.fold_in)]: self.fold_in.settings} if self.fold_in is not None else {}
        return {**fold_in, **({"query": self.query.settings} if self.query is not None else {})}

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays, by the names they are published under."""
        return {
            "user_vectors": self.user_vectors,
            "item_vectors": self.item_vectors,
            "item_bias": self.item_bias,
            **(self.fold_in.arrays if self.fold_in is not None else {}),
            **(self.query.arrays if self.query is not None else {}),
        }

    def check_finite(self, extremes: Mapping[str, tuple[float, float]] | None = None) -> None:
        """Raise `DataError` if a published number is NaN, infinite, or so large that scores would be.

        Parameters
        ----------
        extremes : mapping of str to (float, float), optional
            Lowest and highest number of arrays that need not be read again.
        """
        query = self.query
        scalars = {} if query is None else {"query_bias": np.array([query.bias, query.mean_user_bias])}
        for name, array in {**self.arrays, **scalars}.items():
            largest = _LARGEST_COORDINATE if name in _VECTORS else _LARGEST
            known = (extremes or {}).get(name)
            lowest, highest = known or (array.min(initial=0), array.max(initial=0))
            if not -largest <= lowest <= highest <= largest:
                raise DataError(
                    f"{name} holds NaN or infinite numbers, or numbers beyond {largest:.0e}: the training diverged",
                    remedy="Raise the regularization or lower the weights",
                )
