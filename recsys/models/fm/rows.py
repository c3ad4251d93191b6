"""`RowPredictor`: a factorization machine of plain rows, fitted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.features import FeatureMatrix
from recsys.errors import ArtifactError, DataError, storing
from recsys.models.fm.archive import read_npz
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters, aligned
from recsys.query_features import LINKS, check_array, predictions


@dataclass(frozen=True, eq=False)
class RowPredictor:
    """What `FactorizationMachine.fit_rows` learned.

    Parameters
    ----------
    parameters : Parameters
        In units of the targets.
    fields : tuple of str
    offsets : ndarray of shape (n_fields + 1,), int64
        Of the rows it was trained on.
    link : {"identity", "logistic", "probit"}
    lowest, highest : float
        Range of the targets, which ratings are clipped to.
    """

    parameters: Parameters
    fields: tuple[str, ...]
    offsets: NDArray[np.int64]
    link: str
    lowest: float = -math.inf
    highest: float = math.inf

    def predict(self, features: FeatureMatrix) -> NDArray[np.float32]:
        """Rating, probability or score of each row, float32 of shape (n,).

        Raises
        ------
        DataError
            If the rows have other fields than those of training.
        """
        if features.fields != self.fields or not np.array_equal(features.offsets, self.offsets):
            raise DataError(
                f"the rows have {features.n_features:,} features in fields {', '.join(features.fields)}, the model was "
                f"trained on {self.offsets[-1]:,} in {', '.join(self.fields)}",
                remedy="Read or encode them as the training rows were",
            )
        return predictions(
            self.parameters.predict(Design.of_rows(features)), self.link, self.lowest, self.highest
        ).astype(np.float32)

    def save(self, path: Path | str) -> None:
        """Write one .npz file, whole or not at all; `StorageError` if that cannot be done."""
        p, target = self.parameters, Path(path)
        settings = json.dumps({"fields": self.fields, "link": self.link, "factors": p.factors}).encode()
        arrays = {"bias": p.bias, "weights": p.weights, "vectors": p.vectors[:, : p.factors], "field_of": p.field_of}
        arrays["range"] = np.array([self.lowest, self.highest])
        if p.field_weights is not None:
            arrays["field_weights"] = p.field_weights
        with storing(f"writing {target}"):
            draft = target.with_name(f"{target.name}.draft")
            with draft.open("wb") as file:
                np.savez(file, settings=np.frombuffer(settings, np.uint8), offsets=self.offsets, **arrays)  # type: ignore[arg-type]
            draft.replace(target)

    @classmethod
    def load(cls, path: Path | str) -> RowPredictor:
        """Read what `save` wrote; predictions have the same bits. `ArtifactError` if the file is anything else."""
        try:
            arrays = read_npz(path)
            settings = json.loads(arrays.pop("settings").tobytes())
            fields, factors, link = tuple(settings["fields"]), settings["factors"], settings["link"]
            offsets, vectors, bounds = (arrays.pop(name) for name in ("offsets", "vectors", "range"))
            _check_settings(fields, offsets, link, bounds)
            _check_parameters(arrays, vectors, factors, np.diff(offsets))
            table = aligned(len(vectors), -(-factors // 8) * 8)
            table[:, :factors] = vectors
            parameters = Parameters(vectors=table, factors=factors, **arrays)
            return cls(parameters, fields, offsets, link, *bounds.tolist())
        except (OSError, ValueError, KeyError, TypeError, RecursionError, DataError) as error:
            raise ArtifactError(f"{path} is no saved factorization machine: {str(error)[:200]}") from error


def _check_settings(
    fields: tuple[str, ...], offsets: NDArray[np.int64], link: str, bounds: NDArray[np.float64]
) -> None:
    if not all(isinstance(name, str) for name in fields) or link not in LINKS:
        raise DataError(f"fields are called by text, and link is one of {', '.join(LINKS)}")
    if offsets.dtype != np.int64 or offsets.shape != (len(fields) + 1,) or offsets[0] != 0 or (offsets < 0).any():
        raise DataError("offsets are int64, one more than there are fields, from 0 on")
    if (offsets[1:] < offsets[:-1]).any():
        raise DataError("offsets do not rise")
    if bounds.dtype != np.float64 or bounds.shape != (2,) or not -math.inf < bounds[1] >= bounds[0] < math.inf:
        raise DataError("the range is two float64, the lowest first")


def _check_parameters(
    arrays: dict[str, NDArray[Any]], vectors: NDArray[np.float32], factors: int, sizes: NDArray[np.int64]
) -> None:
    n_features, n_fields = int(sizes.sum()), len(sizes)
    shapes = {"bias": (1,), "weights": (n_features,), "field_weights": (n_fields, n_fields)}
    for name in {"bias", "weights", *arrays} - {"field_of"}:
        check_array(name, arrays[name], shapes[name])
    check_array("vectors", vectors, (n_features, factors))
    if not all(np.isfinite(array).all() for array in (*arrays.values(), vectors)):
        raise DataError("a parameter is NaN or infinite")
    field_of = arrays["field_of"]
    if field_of.dtype != np.int32 or field_of.shape != (n_features,):
        raise DataError("field_of is int32, one of each feature")
    if not np.array_equal(field_of, np.repeat(np.arange(n_fields), sizes)):
        raise DataError("field_of contradicts the offsets")
