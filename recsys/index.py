"""`ItemIndex`: exact top-K over item vectors, the only top-K in the repository.

Lists of a notebook, a batch job and a request agree because all three come from here.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys import kernels
from recsys.codes import Codes, falling, greatest, inverse_lengths, norm_order

_FEW = 8
"""Queries that are searched one by one; for more, a copy of the items in another order pays."""
_SPARSE = 2048
"""Items allowed, up to which a copy of them pays."""


class Exclusions(NamedTuple):
    """Items each query may not get, in CSR form.

    Parameters
    ----------
    indptr : ndarray of shape (n_queries + 1,), int64
    rows : ndarray of int32
        Ascending within a query.
    """

    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]

    @classmethod
    def of_one(cls, rows: NDArray[np.int32]) -> Exclusions:
        """Exclusions of a single query, in any order."""
        return cls(np.array([0, len(rows)], np.int64), np.sort(rows).astype(np.int32, copy=False))

    def of(self, query: int) -> NDArray[np.int32]:
        """Items of one query."""
        return self.rows[self.indptr[query] : self.indptr[query + 1]]


class ItemIndex:
    """Exact top-K of ``<query, item_vector> * scale + item_bias``.

    Lists and their scores are the same to the bit however they are found: over codes, in blocks, for one query or many.

    Parameters
    ----------
    item_vectors : ndarray of shape (n_items, d), float32, C-contiguous
        May be memory-mapped; d may be 0.
    item_bias : ndarray of shape (n_items,), float32, optional
    codes : Codes, optional
        Of these items: what single queries are searched by.

    Examples
    --------
    >>> index = ItemIndex(np.eye(3, dtype=np.float32))
    >>> rows, scores = index.search(np.array([[0.1, 0.9, 0.5]], np.float32), k=2)
    >>> rows.tolist()
    [[1, 2]]
    """

    def __init__(
        self,
        item_vectors: NDArray[np.float32],
        item_bias: NDArray[np.float32] | None = None,
        codes: Codes | None = None,
    ) -> None:
        self.item_vectors = item_vectors
        self.item_bias = item_bias
        self.codes = codes
        self._is_cosine = False

    def cosine(self) -> ItemIndex:
        """Return an index of the same items that ranks by cosine for queries of unit length.

        A zero vector is at cosine 0 of all.
        """
        index = ItemIndex(self.item_vectors, None, self.codes)
        index._is_cosine = True
        return index

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        exclude: Exclusions | None = None,
        allowed: NDArray[np.bool_] | None = None,
        boost: NDArray[np.float32] | None = None,
        threads: int = 1,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the best k items of each query.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, d), float32, C-contiguous
        k : int
            At least 1.
        exclude : Exclusions, optional
            Items a query may not get.
        allowed : ndarray of shape (n_items,), bool, optional
            Items any query may get; all where it is not given.
        boost : ndarray of shape (n_items,), float32, optional
            Added to the scores.
        threads : int
            Results do not depend on it.

        Returns
        -------
        rows : ndarray of shape (n_queries, k), int32
            Best first, ties by ascending row, padded with -1.
        scores : ndarray of shape (n_queries, k), float32
            Padded with -inf.
        """
        if allowed is not None and len(queries) == 1 and np.count_nonzero(allowed) <= min(_SPARSE, len(allowed) >> 4):
            return self._search_few(queries, k, exclude, allowed, boost)
        rows, scores = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32)
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        if self.codes is not None and len(queries) <= _FEW:
            self._scan(queries, boost, exclude, bits, rows, scores)
            return rows, scores
        indptr, excluded = (None, None) if exclude is None else (exclude.indptr, exclude.rows)
        ordered = self._plain if len(queries) <= _FEW or self._is_cosine or boost is not None else self._by_length
        items, bias, factor, row_of, reach = ordered
        if boost is not None:
            bias = boost if bias is None else bias + boost
        kernels.search(queries, items, bias, factor, row_of, reach, indptr, excluded, bits, rows, scores, threads)
        return rows, scores

    def similar(
        self,
        row: int,
        k: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
        boost: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the k nearest items of one item, without itself; for an index made by `cosine`.

        Without vectors (d = 0) every cosine is 0 and the order is that of the rows. `allowed` and `boost` are those of
        `search`.
        """
        query = self.item_vectors[row : row + 1]
        query = np.ascontiguousarray(query * inverse_lengths(query)[:, None])
        itself = Exclusions.of_one(np.array([row], np.int32))
        rows, scores = self.search(query, k, exclude=itself, allowed=allowed, boost=boost)
        return rows, scores if boost is not None else np.where(rows < 0, scores, np.clip(scores, -1, 1))

    def _search_few(
        self,
        query: NDArray[np.float32],
        k: int,
        exclude: Exclusions | None,
        allowed: NDArray[np.bool_],
        boost: NDArray[np.float32] | None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Search among a few rows, copied: a scan would read nearly all of them to find so few."""
        if exclude is not None:
            allowed, rows = allowed.copy(), exclude.rows
            allowed[rows[(rows >= 0) & (rows < len(allowed))]] = False
        few = np.flatnonzero(allowed).astype(np.int32)
        part = ItemIndex(self.item_vectors.take(few, axis=0), None if self.item_bias is None else self.item_bias[few])
        part._is_cosine = self._is_cosine
        rows, scores = part.search(query, k, boost=None if boost is None else boost[few])
        return (np.where(rows < 0, rows, few[rows]) if len(few) else rows), scores

    def _scan(
        self,
        queries: NDArray[np.float32],
        boost: NDArray[np.float32] | None,
        exclude: Exclusions | None,
        bits: NDArray[np.uint8] | None,
        rows: NDArray[np.int32],
        scores: NDArray[np.float32],
    ) -> None:
        """Search over the codes, query by query."""
        codes = self.codes
        assert codes is not None
        factor = codes.inverse_lengths if self._is_cosine else None
        biases, bounds = None if self.item_bias is None else codes.biases, codes.bounds
        if boost is not None:
            biases = (boost if self.item_bias is None else self.item_bias + boost)[codes.row_of]
            bounds = np.column_stack([bounds[:, :2], greatest(biases)])
        for q, query in enumerate(queries):
            kernels.scan(
                query, self.item_vectors, codes.rotation, codes.row_of, biases, factor, codes.heads, codes.tails,
                codes.scales, codes.tail_lengths, bounds, None if exclude is None else exclude.of(q), bits, rows[q],
                scores[q],
            )  # fmt: skip

    @cached_property
    def _plain(self) -> _Ordered:
        """Items as they come."""
        factor = inverse_lengths(self.item_vectors) if self._is_cosine else None
        return self.item_vectors, self.item_bias, factor, None, None

    @cached_property
    def _by_length(self) -> _Ordered:
        """A copy of the items, the longest first, with the bounds many queries stop by."""
        bias = np.zeros(len(self.item_vectors), np.float32) if self.item_bias is None else self.item_bias
        row_of = norm_order(self.item_vectors, bias)
        vectors, bias = self.item_vectors[row_of], bias[row_of]
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)).astype(np.float32)
        lengths = np.nextafter(lengths * np.float32(1 + 1e-6), np.float32(np.inf))
        reach = falling(np.stack([greatest(lengths), greatest(bias)], axis=1))
        return vectors, None if self.item_bias is None else bias, None, row_of, reach


_Ordered = tuple[
    NDArray[np.float32],
    NDArray[np.float32] | None,
    NDArray[np.float32] | None,
    NDArray[np.int32] | None,
    NDArray[np.float32] | None,
]
"""Vectors, biases and factors in one order, the rows in that order, and how far what follows can reach."""


def top_k(
    scores: NDArray[np.float32], k: int, *, exclude: Exclusions | None = None, threads: int = 1
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Best k of given scores of shape (n_queries, n_items), for models that do not reduce to a dot product.

    Returns rows and scores as `ItemIndex.search` does.
    """
    rows, best = np.empty((len(scores), k), np.int32), np.empty((len(scores), k), np.float32)
    indptr, excluded = (None, None) if exclude is None else (exclude.indptr, exclude.rows)
    kernels.select(scores, indptr, excluded, None, rows, best, threads)
    return rows, best
