"""Exact top-k over quantised items, written down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.reference.topk import search

_LANES, _GROUP = 16, 256


def scan(
    query: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    item_bias: NDArray[np.float32] | None,
    item_scale: NDArray[np.float32] | None,
    rotation: NDArray[np.float32],
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
    heads first, and keeps the k best scores as it goes; each only saves work.)

    Parameters
    ----------
    query : ndarray of shape (d,), float32
    item_vectors, item_bias, item_scale, allowed
        As of `search`; the scale is not negative.
    rotation, heads, tails, scales, tail_lengths, bounds
        As of `recsys.codes.Codes`.
    exclude_rows : ndarray of int32, or None
        Items the query may not get, ascending.
    rows, scores : ndarray of shape (k,), int32 and float32
        Written.
    """
    n, k = len(item_vectors), len(rows)
    head = heads.shape[1] // _LANES
    first = heads.view(np.int8).reshape(-1, head // 2, _LANES, 2).transpose(0, 2, 1, 3).reshape(-1, head)[:n]
    codes = np.concatenate([first, tails.view(np.int8)], axis=1)[:, : len(query)].astype(np.float64)
    products = codes @ (query.astype(np.float64) @ rotation) * scales
    length, error, _ = np.repeat(bounds.astype(np.float64), _GROUP, axis=0)[:n].T
    rounding = 2.0**-23 * (len(query) + 64) * length
    slack = np.linalg.norm(query.astype(np.float64)) * (error + rounding) + 1e-36
    scale = np.ones(n) if item_scale is None else item_scale.astype(np.float64)
    bias = np.zeros(n) if item_bias is None else item_bias.astype(np.float64)
    upper, lower = ((products + side * slack) * scale + bias for side in (1, -1))
    free = np.ones(n, bool) if allowed is None else np.unpackbits(allowed, count=n, bitorder="little") > 0
    if exclude_rows is not None:
        free[exclude_rows[(exclude_rows >= 0) & (exclude_rows < n)]] = False
    if free.sum() > k:
        lower[~free] = -np.inf
        kth = np.partition(lower, -k)[-k]
        free &= ~(upper < kth - 1e-6 * abs(kth))
    bits = np.packbits(free, bitorder="little")
    search(
        query[None], item_vectors, item_bias, item_scale, None, None, None, bits, rows[None], scores[None], 1
    )  # fmt: skip
