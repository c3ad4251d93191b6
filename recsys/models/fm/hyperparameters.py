"""What coordinate descent holds fixed while it moves the parameters of a factorization machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.models.fm.parameters import Parameters


@dataclass(frozen=True, eq=False)
class Hyperparameters:
    """The precision of the noise, and the normal priors of each field.

    Parameters
    ----------
    noise_precision : float
    bias_precision : float
        Of w0, around 0.
    weight_precision, weight_mean : ndarray of shape (n_fields, 1), float32
    vector_precision, vector_mean : ndarray of shape (n_fields, padded d), float32
        1 and 0 beyond d.
    """

    noise_precision: float
    bias_precision: float
    weight_precision: NDArray[np.float32]
    weight_mean: NDArray[np.float32]
    vector_precision: NDArray[np.float32]
    vector_mean: NDArray[np.float32]

    @classmethod
    def ridge(cls, parameters: Parameters, regularization: float, weight_regularization: float) -> Hyperparameters:
        """Return one precision for all weights and one for all vectors, around 0; none for the bias."""
        n_fields, width = int(parameters.field_of.max(initial=0)) + 1, parameters.vectors.shape[1]
        vector_precision = np.full((n_fields, width), regularization, np.float32)
        vector_precision[:, parameters.factors :] = 1
        weight_precision = np.full((n_fields, 1), weight_regularization, np.float32)
        return cls(
            1.0, 0.0, weight_precision, np.zeros((n_fields, 1), np.float32), vector_precision, 0 * vector_precision
        )
