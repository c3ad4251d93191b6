"""Exact top-k, written down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def search(
    queries: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    item_bias: NDArray[np.float32] | None,
    item_scale: NDArray[np.float32] | None,
    row_of: NDArray[np.int32] | None,
    reach: NDArray[np.float32] | None,
    exclude_indptr: NDArray[np.int64] | None,
    exclude_rows: NDArray[np.int32] | None,
    allowed: NDArray[np.uint8] | None,
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    threads: int,
) -> None:
    """Exact top-k of ``queries @ item_vectors.T * item_scale + item_bias``, written to `rows` and `scores`.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, d), float32
    item_vectors : ndarray of shape (n_items, d), float32
    item_bias, item_scale : ndarray of shape (n_items,), float32, or None
    row_of : ndarray of shape (n_items,), int32, or None
        Row of each item by the order of the three above; 0, 1, ... where it is not given.
    reach : ndarray of shape (ceil(n_items / 256), 2), float32, or None
        Greatest length and bias of each 256 items and of all behind them: where to stop. Ignored here.
    exclude_indptr, exclude_rows : int64 of shape (n_queries + 1,) and int32, or None
        ``exclude_rows[exclude_indptr[q]:exclude_indptr[q + 1]]`` are the items query q may not get, ascending.
    allowed : ndarray of shape (ceil(n_items / 8),), uint8, or None
        One bit an item, least significant first: items any query may get.
    rows, scores : ndarray of shape (n_queries, k), int32 and float32
        Written: best first, ties by ascending row, padded with -1 and -inf.
    threads : int
        Ignored here.
    """
    for q in range(0, len(queries), 64):  # bounded memory: 64 rows of scores at a time
        block = queries[q : q + 64] @ item_vectors.T
        if item_scale is not None:
            block *= item_scale
        if item_bias is not None:
            block += item_bias
        if row_of is not None:
            block = block[:, np.argsort(row_of)]
        indptr = None if exclude_indptr is None else exclude_indptr[q : q + len(block) + 1]
        select(block, indptr, exclude_rows, allowed, rows[q : q + 64], scores[q : q + 64], threads)


def select(
    scores: NDArray[np.float32],
    exclude_indptr: NDArray[np.int64] | None,
    exclude_rows: NDArray[np.int32] | None,
    allowed: NDArray[np.uint8] | None,
    rows: NDArray[np.int32],
    out_scores: NDArray[np.float32],
    threads: int,
) -> None:
    """Exact top-k of given scores; arguments as in `search`."""
    n_items, k = scores.shape[1], rows.shape[1]
    for q, of_query in enumerate(scores):
        free = (
            np.ones(n_items, bool) if allowed is None else np.unpackbits(allowed, count=n_items, bitorder="little") > 0
        )
        if exclude_indptr is not None and exclude_rows is not None:
            excluded = exclude_rows[exclude_indptr[q] : exclude_indptr[q + 1]]
            free[excluded[(excluded >= 0) & (excluded < n_items)]] = False
        candidates = np.flatnonzero(free & ~np.isnan(of_query))
        best = candidates[np.lexsort((candidates, -of_query[candidates]))[:k]]
        rows[q, : len(best)], rows[q, len(best) :] = best, -1
        out_scores[q, : len(best)], out_scores[q, len(best) :] = of_query[best], -np.inf
