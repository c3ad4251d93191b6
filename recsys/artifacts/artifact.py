"""From factors, ids and histories to named flat arrays and back."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts.manifest import ArtifactManifest
from recsys.artifacts.store import StoredArrays
from recsys.codes import Codes
from recsys.encoding import Encoder
from recsys.errors import ArtifactError, ConfigError, DataError
from recsys.factors import Factors, FoldIn, HistoryMap
from recsys.ids import IdMap
from recsys.query_features import QueryFeatures, check_array

if TYPE_CHECKING:
    from recsys.artifacts.dated_counts import DatedCounts

_UNFIT = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, DataError, ConfigError)


class _AllBut(Container[str]):
    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    def __contains__(self, name: object) -> bool:
        return name not in self._names


USER_IDS = tuple(f"user_ids_{a}" for a in ("text", "offsets", "order"))
"""The arrays that name the users."""
TREND = ("trend_items", "trend_hours", "trend_counts")
"""The arrays of `DatedCounts`; an artefact of an earlier release, or of events without times, has none of them."""

ITEM_SIDE = _AllBut(
    "user_vectors",
    "query_user_bias",
    *USER_IDS,
    *(f"history_{a}" for a in ("indptr", "items", "weights")),
    *TREND,
)
"""The arrays every server needs.

User vectors and histories come from the online store, one user at a time; when items came up, only trends ask for.
"""


class Histories(NamedTuple):
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


class Artifact(NamedTuple):
    """A whole published model."""

    manifest: ArtifactManifest
    factors: Factors
    users: IdMap
    items: IdMap
    histories: Histories
    item_counts: NDArray[np.float32]


def pack(
    factors: Factors,
    users: IdMap,
    items: IdMap,
    histories: Histories,
    item_counts: NDArray[np.float32],
    dated: DatedCounts | None = None,
) -> dict[str, NDArray[Any]]:
    """Name the arrays of a model and of its index for an `ArtifactStore`; `dated` where its events have times.

    Raises `DataError` if a published number is not finite.
    """
    factors.check_finite()
    arrays: dict[str, NDArray[Any]] = {
        **factors.arrays,
        "item_counts": item_counts,
        "history_indptr": histories.indptr,
        "history_items": histories.items,
        "history_weights": histories.weights,
        **(Codes.of(factors.item_vectors, factors.item_bias).arrays if factors.item_vectors.size else {}),
        **(dated.arrays if dated else {}),
    }
    for name, ids in (("user_ids", users), ("item_ids", items)):
        arrays |= {f"{name}_text": ids.text, f"{name}_offsets": ids.offsets, f"{name}_order": ids.order}
    return arrays


def item_side(stored: StoredArrays) -> tuple[Factors, IdMap, NDArray[np.float32], Codes | None]:
    """Factors without users, item ids, item counts and what items are searched by, from the arrays of `ITEM_SIDE`.

    There are no codes in an artefact of an earlier release, nor where there are no vectors.
    """
    arrays = stored.arrays
    try:
        no_users = np.zeros((0, arrays["item_vectors"].shape[1]), np.float32), np.zeros(0, np.float32)
        factors, items, counts = _factors(stored, *no_users), _ids(arrays, "item_ids"), arrays["item_counts"]
        check_array("item_counts", counts, (len(items),))
        if len(items) != len(factors.item_bias) or not np.isfinite(counts).all():
            raise DataError("item ids and vectors differ in length, or a count is not finite")
        return factors, items, counts, Codes.from_arrays(arrays, len(items), factors.width)
    except _UNFIT as error:
        raise ArtifactError(f"version {stored.manifest.version} is incomplete: {error}") from error


def user_ids(stored: StoredArrays) -> IdMap:
    """Users of an artefact, from the arrays of `USER_IDS`."""
    try:
        return _ids(stored.arrays, "user_ids")
    except _UNFIT as error:
        raise ArtifactError(f"version {stored.manifest.version} is incomplete: {error}") from error


def unpack(stored: StoredArrays) -> Artifact:
    """Put a verified artefact together again; `ArtifactError` if an array is missing or does not fit the others."""
    arrays = stored.arrays
    try:
        histories = Histories(arrays["history_indptr"], arrays["history_items"], arrays["history_weights"])
        factors = _factors(stored, arrays["user_vectors"], arrays.get("query_user_bias"))
        users, (_, items, counts, _) = _ids(arrays, "user_ids"), item_side(stored)
        _check_offsets("history", histories.indptr, len(histories.items))
        _check_rows("history_items", histories.items, len(items))
        if not len(users) == len(factors.user_vectors) == len(histories.indptr) - 1:
            raise DataError("user ids, vectors and histories differ in length")
        if len(histories.weights) != len(histories.items):
            raise DataError("items and weights of the histories differ in length")
        return Artifact(stored.manifest, factors, users, items, histories, counts)
    except _UNFIT as error:
        raise ArtifactError(f"version {stored.manifest.version} is incomplete: {error}") from error


def _factors(stored: StoredArrays, user_vectors: NDArray[np.float32], user_bias: NDArray[np.float32] | None) -> Factors:
    arrays, config = stored.arrays, stored.manifest.config
    factors = Factors(
        user_vectors,
        arrays["item_vectors"],
        arrays["item_bias"],
        _fold_in(arrays, config),
        _query(arrays, config.get("query"), user_bias),
    )
    factors.check_finite(stored.extremes)
    return factors


def _fold_in(arrays: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> FoldIn | HistoryMap | None:
    if (settings := config.get("fold_in")) is not None:
        return FoldIn(arrays["eigenvalues"], **{name: _number(value) for name, value in settings.items()})
    if (settings := config.get("history_map")) is not None:
        centre = settings["centre"]
        return HistoryMap(
            arrays["fold_in_matrix"],
            arrays["fold_in_intercept"],
            _number(settings["shrinkage"]),
            None if centre is None else _number(centre),
        )
    return None


def _query(
    arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any] | None, user_bias: NDArray[np.float32] | None
) -> QueryFeatures | None:
    """Query features; an artefact of an earlier release has none."""
    if settings is None:
        return None
    if user_bias is None:
        raise DataError("query_user_bias is missing")
    return QueryFeatures(
        user_encoder=_encoder(arrays, "user_encoder", settings),
        context_encoder=_encoder(arrays, "context_encoder", settings),
        weights=arrays["query_weights"],
        vectors=arrays["query_vectors"],
        signs=arrays["query_signs"],
        user_bias=user_bias,
        mean_user=arrays["query_mean_user"],
        mean_user_bias=_number(settings["mean_user_bias"]),
        bias=_number(settings["bias"]),
        link=settings["link"],
        lowest=-math.inf if settings["lowest"] is None else _number(settings["lowest"]),
        highest=math.inf if settings["highest"] is None else _number(settings["highest"]),
    )


def _encoder(arrays: Mapping[str, NDArray[Any]], name: str, settings: Mapping[str, Any]) -> Encoder:
    own = {one.removeprefix(f"{name}_"): array for one, array in arrays.items() if one.startswith(f"{name}_")}
    return Encoder.from_parts(settings[name], own)


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise DataError(f"{value!r:.80} is not a number")
    return float(value)


def _ids(arrays: Mapping[str, NDArray[Any]], name: str) -> IdMap:
    ids = IdMap(arrays[f"{name}_text"], arrays[f"{name}_offsets"], arrays[f"{name}_order"])
    _check_offsets(name, ids.offsets, len(ids.text))
    _check_rows(f"{name}_order", ids.order, len(ids))
    if len(ids.order) != len(ids):
        raise DataError(f"{name} has {len(ids)} ids and an order of {len(ids.order)}")
    ids.text.tobytes().decode()
    firsts = ids.text[ids.offsets[:-1][np.diff(ids.offsets) > 0]]
    if (firsts >> 6 == 0b10).any():
        raise DataError(f"the offsets of {name} cut characters")
    return ids


def _check_offsets(name: str, offsets: NDArray[np.int64], total: int) -> None:
    if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
        raise DataError(f"the offsets of {name} do not cut {total:,} entries")


def _check_rows(name: str, rows: NDArray[np.int32], count: int) -> None:
    if rows.ndim != 1 or (len(rows) and not 0 <= rows.min() <= rows.max() < count):
        raise DataError(f"{name} names rows beyond {count:,}")
