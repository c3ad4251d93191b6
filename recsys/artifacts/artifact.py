"""From factors, ids and histories to named flat arrays and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts.manifest import ArtifactManifest
from recsys.artifacts.store import StoredArrays
from recsys.errors import ArtifactError, DataError
from recsys.factors import Factors, FoldIn
from recsys.ids import IdMap

ITEM_SIDE = (
    "item_vectors",
    "item_bias",
    "item_counts",
    "eigenvalues",
    *(f"item_ids_{a}" for a in ("text", "offsets", "order")),
)
"""The arrays a server needs; user vectors and histories come from the online store, one user at a time."""


@dataclass(frozen=True, eq=False)
class Histories:
    """Raw events of every user, oldest first: what a list leaves out and what a vector is folded in from.

    Parameters
    ----------
    indptr : ndarray of shape (n_users + 1,), int64
    items : ndarray of shape (n_events,), int32
    weights : ndarray of shape (n_events,), float32
        Raw, as the weight rule takes them.
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    weights: NDArray[np.float32]

    def of(self, user: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items and raw weights of one user row."""
        events = slice(int(self.indptr[user]), int(self.indptr[user + 1]))
        return self.items[events], self.weights[events]


@dataclass(frozen=True, eq=False)
class Artifact:
    """A whole published model."""

    manifest: ArtifactManifest
    factors: Factors
    users: IdMap
    items: IdMap
    histories: Histories
    item_counts: NDArray[np.float32]


def pack(
    factors: Factors, users: IdMap, items: IdMap, histories: Histories, item_counts: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """Name the arrays of a model for an `ArtifactStore`; `DataError` if a published number is not finite."""
    factors.check_finite()
    arrays: dict[str, NDArray[Any]] = {
        "user_vectors": factors.user_vectors,
        "item_vectors": factors.item_vectors,
        "item_bias": factors.item_bias,
        "item_counts": item_counts,
        "history_indptr": histories.indptr,
        "history_items": histories.items,
        "history_weights": histories.weights,
    }
    for name, ids in (("user_ids", users), ("item_ids", items)):
        arrays |= {f"{name}_text": ids.text, f"{name}_offsets": ids.offsets, f"{name}_order": ids.order}
    if factors.fold_in is not None:
        arrays["eigenvalues"] = factors.fold_in.eigenvalues
    return arrays


def item_side(stored: StoredArrays) -> tuple[Factors, IdMap, NDArray[np.float32]]:
    """Factors without users, item ids and item counts, from the arrays of `ITEM_SIDE`."""
    arrays = stored.arrays
    try:
        no_users = np.zeros((0, arrays["item_vectors"].shape[1]), np.float32)
        factors, items, counts = _factors(stored, no_users), _ids(arrays, "item_ids"), arrays["item_counts"]
        if not len(items) == len(factors.item_bias) == len(counts):
            raise DataError("item ids, vectors and counts differ in length")
        return factors, items, counts
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, DataError) as error:
        raise ArtifactError(f"version {stored.manifest.version} is incomplete: {error}") from error


def unpack(stored: StoredArrays) -> Artifact:
    """Put a verified artefact together again; `ArtifactError` if an array is missing or does not fit the others."""
    arrays = stored.arrays
    try:
        histories = Histories(arrays["history_indptr"], arrays["history_items"], arrays["history_weights"])
        factors = _factors(stored, arrays["user_vectors"])
        users, (_, items, counts) = _ids(arrays, "user_ids"), item_side(stored)
        _check_offsets("history", histories.indptr, len(histories.items))
        _check_rows("history_items", histories.items, len(items))
        if not len(users) == len(factors.user_vectors) == len(histories.indptr) - 1:
            raise DataError("user ids, vectors and histories differ in length")
        if len(histories.weights) != len(histories.items):
            raise DataError("items and weights of the histories differ in length")
        return Artifact(stored.manifest, factors, users, items, histories, counts)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, DataError) as error:
        raise ArtifactError(f"version {stored.manifest.version} is incomplete: {error}") from error


def _factors(stored: StoredArrays, user_vectors: NDArray[np.float32]) -> Factors:
    arrays, settings = stored.arrays, stored.manifest.config.get("fold_in")
    fold_in = None
    if settings is not None:
        fold_in = FoldIn(arrays["eigenvalues"], **{name: float(value) for name, value in settings.items()})
    return Factors(user_vectors, arrays["item_vectors"], arrays["item_bias"], fold_in)


def _ids(arrays: Mapping[str, NDArray[Any]], name: str) -> IdMap:
    ids = IdMap(arrays[f"{name}_text"], arrays[f"{name}_offsets"], arrays[f"{name}_order"])
    _check_offsets(name, ids.offsets, len(ids.text))
    _check_rows(f"{name}_order", ids.order, len(ids))
    if len(ids.order) != len(ids):
        raise DataError(f"{name} has {len(ids)} ids and an order of {len(ids.order)}")
    return ids


def _check_offsets(name: str, offsets: NDArray[np.int64], total: int) -> None:
    if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
        raise DataError(f"the offsets of {name} do not cut {total:,} entries")


def _check_rows(name: str, rows: NDArray[np.int32], count: int) -> None:
    if rows.ndim != 1 or (len(rows) and not 0 <= rows.min() <= rows.max() < count):
        raise DataError(f"{name} names rows beyond {count:,}")
