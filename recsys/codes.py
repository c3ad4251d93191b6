"""`Codes`: item vectors quantised to bytes, with what is known of their errors: a search need not read them all.

Built once, when a model is published; the search over them is exact (`recsys.index`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.query_features import check_array

GROUP = 256
"""Items that share bounds."""
_LANES = 16
_HEAD = 16
_CHUNK = 2**15
_PREFIX = "index_"


def norm_order(item_vectors: NDArray[np.float32], item_bias: NDArray[np.float32]) -> NDArray[np.int32]:
    """Rows by falling length of (vector, bias).

    What a search looks at first is then mostly what it finds, and it can stop early.
    """
    squares = np.einsum("ij,ij->i", item_vectors, item_vectors, dtype=np.float64) + item_bias.astype(np.float64) ** 2
    return np.argsort(-squares, kind="stable").astype(np.int32)


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes c of n items with vectors y of d numbers: ``y ~ rotation (scale c)``, in `norm_order`.

    The rotation is the eigenbasis of the items' Gram matrix, the greatest eigenvalue first, so that the first
    coordinates say most of a score; they are apart from the others.

    Parameters
    ----------
    row_of : ndarray of shape (n,), int32
        Row of each item, in the order of all that follows.
    rotation : ndarray of shape (d, d), float32
    biases : ndarray of shape (n,), float32
    heads : ndarray of shape (ceil(n / 16), 16 head), uint8
        Signed bytes: the first `head` coordinates of sixteen items, in pairs, (head / 2, 16, 2).
    tails : ndarray of shape (ceil(n / 16), 16 tail), uint8
        The other coordinates in the same way; a last one of 0 where d is odd.
    scales : ndarray of shape (n,), float32
    tail_lengths : ndarray of shape (n,), float32
        Length of ``scale c`` behind the head, or more.
    bounds : ndarray of shape (ceil(n / 256), 3), float32
        Of each 256 items the greatest of |y| and |scale c|, the greatest error ``|y - rotation (scale c)|``, and the
        greatest bias, or more.
    inverse_lengths : ndarray of shape (n,), float32
        1 / |y|, and 0 for a zero vector: what makes a product a cosine.
    """

    row_of: NDArray[np.int32]
    rotation: NDArray[np.float32]
    biases: NDArray[np.float32]
    heads: NDArray[np.uint8]
    tails: NDArray[np.uint8]
    scales: NDArray[np.float32]
    tail_lengths: NDArray[np.float32]
    bounds: NDArray[np.float32]
    inverse_lengths: NDArray[np.float32]

    @classmethod
    def of(cls, item_vectors: NDArray[np.float32], item_bias: NDArray[np.float32]) -> Codes:
        """Quantise vectors of at least one number."""
        n, d = item_vectors.shape
        width = d + d % 2
        head = min(_HEAD, width)
        row_of, rotation = norm_order(item_vectors, item_bias), _rotation(item_vectors)
        codes = np.zeros((-(-n // _LANES) * _LANES, width), np.int8)
        scales, tail_lengths, lengths, errors = (np.zeros(n, np.float32) for _ in range(4))
        for start in range(0, n, _CHUNK):
            rows = slice(start, min(start + _CHUNK, n))
            y = item_vectors[row_of[rows]].astype(np.float64)
            z = np.zeros((len(y), width))
            z[:, :d] = y @ rotation
            scales[rows] = _above(np.abs(z).max(axis=1) / 127)
            scale = scales[rows].astype(np.float64)[:, None]
            codes[rows] = np.rint(np.divide(z, scale, out=np.zeros_like(z), where=scale > np.finfo(np.float32).tiny))
            found = codes[rows] * scale
            lengths[rows] = _above(np.maximum(_lengths(y), _lengths(found)))
            errors[rows] = _above(_lengths(y - found[:, :d] @ rotation.T))
            tail_lengths[rows] = _above(_lengths(found[:, head:]))
        biases = item_bias[row_of]
        bounds = [greatest(one) for one in (lengths, errors, biases)]
        in_pairs = codes.reshape(-1, _LANES, width // 2, 2).transpose(0, 2, 1, 3).reshape(-1, _LANES * width)
        return cls(
            row_of,
            rotation.astype(np.float32),
            biases,
            np.ascontiguousarray(in_pairs[:, : _LANES * head]).view(np.uint8),
            np.ascontiguousarray(in_pairs[:, _LANES * head :]).view(np.uint8),
            scales,
            tail_lengths,
            np.ascontiguousarray(np.stack(bounds, axis=1)),
            inverse_lengths(item_vectors)[row_of],
        )

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays, by the names they are published under."""
        return {_PREFIX + one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], n_items: int, width: int) -> Codes | None:
        """Put published arrays together; None where there are none, `DataError` where they do not fit the items."""
        found = {one.name: arrays[_PREFIX + one.name] for one in fields(cls) if _PREFIX + one.name in arrays}
        if not found:
            return None
        codes = cls(**found)
        head, tail = codes.heads.shape[-1] // _LANES, codes.tails.shape[-1] // _LANES
        if head < 1 or head % 2 or tail % 2 or head + tail < width:
            raise DataError(f"codes of {head} and {tail} coordinates cannot be those of {width}")
        check_array("index_rotation", codes.rotation, (width, width))
        check_array("index_heads", codes.heads, (-(-n_items // _LANES), head * _LANES), np.uint8)
        check_array("index_tails", codes.tails, (-(-n_items // _LANES), tail * _LANES), np.uint8)
        check_array("index_bounds", codes.bounds, (-(-n_items // GROUP), 3))
        for name in ("biases", "scales", "tail_lengths", "inverse_lengths"):
            check_array(_PREFIX + name, found[name], (n_items,))
        if not np.isfinite(codes.biases).all():  # they are part of the scores, not only of what bounds them
            raise DataError("an index bias is not finite")
        check_array("index_row_of", codes.row_of, (n_items,), np.int32)
        if n_items and not 0 <= codes.row_of.min() <= codes.row_of.max() < n_items:
            raise DataError(f"index_row_of names rows beyond {n_items:,}")
        return codes


def greatest(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Greatest of each group."""
    return np.maximum.reduceat(numbers, np.arange(0, len(numbers), GROUP)) if len(numbers) else numbers


def falling(bounds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Greatest of each row and all rows behind it."""
    return np.ascontiguousarray(np.maximum.accumulate(bounds[::-1])[::-1])


def inverse_lengths(item_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / |y|, and 0 for a zero vector."""
    norms = np.sqrt(np.einsum("ij,ij->i", item_vectors, item_vectors))
    found: NDArray[np.float32] = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return found


def _rotation(item_vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    gram = np.zeros((item_vectors.shape[1],) * 2)
    for start in range(0, len(item_vectors), _CHUNK):
        y = item_vectors[start : start + _CHUNK].astype(np.float64)
        gram += y.T @ y
    return np.linalg.eigh(gram)[1][:, ::-1].astype(np.float32).astype(np.float64)


def _above(numbers: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return float32 numbers that are not below."""
    return np.nextafter(numbers.astype(np.float32), np.float32(np.inf))


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return found
