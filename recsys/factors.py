"""`Factors`, the one thing every servable model reduces to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError


@dataclass(frozen=True, eq=False)
class FoldIn:
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
        return {name: float(value) for name, value in vars(self).items() if name != "eigenvalues"}


@dataclass(frozen=True, eq=False)
class Factors:
    """``score(user, item) = <user_vector, item_vector> + item_bias``.

    Popularity is the case d = 0: a bias alone.

    Parameters
    ----------
    user_vectors : ndarray of shape (n_users, d), float32
    item_vectors : ndarray of shape (n_items, d), float32
    item_bias : ndarray of shape (n_items,), float32
    fold_in : FoldIn, optional
        Present when a user's vector can be solved from events alone.

    Raises
    ------
    DataError
        If an array has another dtype, another shape, or is not C-contiguous.
    """

    user_vectors: NDArray[np.float32]
    item_vectors: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    fold_in: FoldIn | None = None

    def __post_init__(self) -> None:
        """Check dtypes and shapes; the values are checked once, by `check_finite`, before publishing."""
        width = self.item_vectors.shape[-1]
        shapes = {
            "user_vectors": (len(self.user_vectors), width),
            "item_vectors": (len(self.item_bias), width),
            "item_bias": (len(self.item_bias),),
        }
        for name, shape in shapes.items():
            _check(name, getattr(self, name), shape)
        if self.fold_in is not None:
            _check("fold_in.eigenvalues", self.fold_in.eigenvalues, (width,))

    @property
    def width(self) -> int:
        """Number of factors, d."""
        return int(self.item_vectors.shape[1])

    def check_finite(self) -> None:
        """Raise `DataError` if any published number is NaN or infinite."""
        arrays = {"user_vectors": self.user_vectors, "item_vectors": self.item_vectors, "item_bias": self.item_bias}
        if self.fold_in is not None:
            arrays["fold_in.eigenvalues"] = self.fold_in.eigenvalues
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise DataError(
                    f"{name} holds NaN or infinite numbers: the training diverged",
                    remedy="Raise the regularization or lower the weights",
                )


def _check(name: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
        raise DataError(
            f"{name} is {array.dtype} of shape {array.shape}"
            f"{'' if array.flags.c_contiguous else ', not contiguous'}; expected C-contiguous float32 of shape {shape}"
        )
