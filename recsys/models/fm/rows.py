"""`RowPredictor`: a factorization machine of plain rows, fitted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.features import FeatureMatrix
from recsys.errors import ArtifactError, DataError, storing
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters, aligned
from recsys.query_features import predictions


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
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            settings = json.loads(arrays.pop("settings").tobytes())
            offsets, factors, vectors = arrays.pop("offsets"), settings["factors"], arrays.pop("vectors")
            lowest, highest = arrays.pop("range").tolist()
            table = aligned(len(vectors), -(-factors // 8) * 8)
            table[:, :factors] = vectors
            parameters = Parameters(vectors=table, factors=factors, **arrays)
            return cls(parameters, tuple(settings["fields"]), offsets, settings["link"], lowest, highest)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise ArtifactError(f"{path} is no saved factorization machine: {error}") from error
