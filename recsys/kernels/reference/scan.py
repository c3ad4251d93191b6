"""Exact top-k over quantised items, written down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.reference.topk import search

_LANES, _GROUP = 16, 256


def scan(
    query: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    rotation: NDArray[np.float32],
    row_of: NDArray[np.int32],
    biases: NDArray[np.float32] | None,
    factor: NDArray[np.float32] | None,
    heads: NDArray[np.uint8],
    tails: NDArray[np.uint8],
    scales: NDArray[np.float32],
    tail_lengths: NDArray[np.float32],
    bounds: NDArray[np.float32],
    exclude_rows: NDArray[np.int32] | None,
    allowed: NDArray[np.uint8] | None,
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
) -> None:
    """Exact top-k of one query as `search` gives it, by way of quantised items, written to `rows` and `scores`.

    With y the vector of an item, s c its codes times their scale, R the rotation, q the query and z = R'q, its score is
    within ``|q| |y - R s c|`` of ``<z, s c>``. So the k-th best of the lower bounds is one that k items reach, and what
    is below it from above is in nobody's list; the others get their scores. (The kernel quantises z, too, looks at the
    heads first, and keeps the k best lower bounds as it goes; each only saves work.)

    Parameters
    ----------
    query : ndarray of shape (d,), float32
    item_vectors : ndarray of shape (n_items, d), float32
    rotation, row_of, heads, tails, scales, tail_lengths, bounds
        As of `recsys.codes.Codes`.
    biases, factor : ndarray of shape (n_items,), float32, or None
        In the order of the codes: added to the products, and factors of the products, not negative.
    exclude_rows : ndarray of int32, or None
        Items the query may not get.
    allowed : ndarray of shape (ceil(n_items / 8),), uint8, or None
        One bit an item by row, least significant first: items it may get.
    rows, scores : ndarray of shape (k,), int32 and float32
        Written.
    """
    n, k = len(item_vectors), len(rows)
    parts = [one.view(np.int8).reshape(len(one), -1, _LANES, 2).transpose(0, 2, 1, 3) for one in (heads, tails)]
    codes = np.concatenate([one.reshape(len(one) * _LANES, -1) for one in parts], axis=1)[:n, : len(query)].astype(
        float
    )
    products = codes @ (query.astype(np.float64) @ rotation) * scales
    length, error, _ = np.repeat(bounds.astype(np.float64), _GROUP, axis=0)[:n].T
    rounding = 2.0**-23 * (len(query) + 64) * length
    slack = np.linalg.norm(query.astype(np.float64)) * (error + rounding) + 1e-36
    scale = np.ones(n) if factor is None else factor.astype(np.float64)
    offset = np.zeros(n) if biases is None else biases.astype(np.float64)
    upper, lower = ((products + side * slack) * scale + offset for side in (1, -1))
    free = np.ones(n, bool) if allowed is None else np.unpackbits(allowed, count=n, bitorder="little") > 0
    if exclude_rows is not None:
        free[exclude_rows[(exclude_rows >= 0) & (exclude_rows < n)]] = False
    if free.sum() > k:
        lower[~free[row_of]] = -np.inf
        kth = np.partition(lower, -k)[-k]
        free[row_of[upper < kth - 1e-6 * abs(kth)]] = False
    place_of = np.argsort(row_of)
    bias_of, scale_of = (None if one is None else one[place_of] for one in (biases, factor))
    bits = np.packbits(free, bitorder="little")
    search(query[None], item_vectors, bias_of, scale_of, None, None, None, None, bits, rows[None], scores[None], 1)
