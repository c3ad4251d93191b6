"""`ItemIndex`: exact top-K over item vectors, the only top-K in the repository.

Lists of a notebook, a batch job and a request agree because all three come from here.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys import kernels
from recsys.codes import GROUP, Codes, falling, inverse_lengths, norm_order

_FEW = 8
"""Queries that are searched one by one, over the codes."""


@dataclass(frozen=True, eq=False)
class Exclusions:
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

    def renumbered(self, numbers: NDArray[np.int32]) -> Exclusions:
        """Return the same with other numbers for the items; what is no item stays out."""
        query = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        known = (self.rows >= 0) & (self.rows < len(numbers))
        query, rows = query[known], numbers[self.rows[known]]
        order = np.lexsort((rows, query))
        indptr = np.searchsorted(query, np.arange(len(self.indptr)))
        return Exclusions(indptr.astype(np.int64), rows[order])


class ItemIndex:
    """Exact top-K of ``<query, item_vector> * scale + item_bias``.

    Lists and their scores are the same to the bit however they are found: over codes, in blocks, for one query or many.

    Parameters
    ----------
    item_vectors : ndarray of shape (n_items, d), float32, C-contiguous
        May be memory-mapped; d may be 0. In any order; a search is fast where the longest come first (`sorted`).
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
        self._scale: NDArray[np.float32] | None = None
        self._row_of: NDArray[np.int32] | None = None  # by place, where the items were sorted
        self._place_of: NDArray[np.int32] | None = None

    @classmethod
    def sorted(cls, item_vectors: NDArray[np.float32], item_bias: NDArray[np.float32]) -> ItemIndex:
        """Return an index over a copy in `norm_order`, which also breaks its ties; rows stay those of the arguments."""
        order = norm_order(item_vectors, item_bias)
        index = cls(item_vectors[order], item_bias[order])
        index._row_of = order.astype(np.int32)
        index._place_of = np.empty_like(index._row_of)
        index._place_of[order] = np.arange(len(order), dtype=np.int32)
        return index

    def cosine(self) -> ItemIndex:
        """Return an index of the same items that ranks by cosine for queries of unit length.

        A zero vector is at cosine 0 of all.
        """
        index = copy(self)
        index.item_bias = None
        index._scale = inverse_lengths(self.item_vectors) if self.codes is None else self.codes.inverse_lengths
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
            Best first, ties by ascending row, of a `sorted` index the longer vector first; padded with -1.
        scores : ndarray of shape (n_queries, k), float32
            Padded with -inf.
        """
        if self._row_of is not None and self._place_of is not None:
            exclude = None if exclude is None else exclude.renumbered(self._place_of)
            allowed = None if allowed is None else allowed[self._row_of]
            boost = None if boost is None else boost[self._row_of]
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        bias = self.item_bias if boost is None else boost if self.item_bias is None else self.item_bias + boost
        rows, scores = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32)
        if self.codes is not None and len(queries) <= _FEW:
            self._scan(queries, bias, exclude, bits, rows, scores)
        else:
            indptr, excluded = (None, None) if exclude is None else (exclude.indptr, exclude.rows)
            reach = None if self._scale is not None or boost is not None else self._reach
            kernels.search(
                queries, self.item_vectors, bias, self._scale, reach, indptr, excluded, bits, rows, scores, threads
            )
        return (rows if self._row_of is None else _renumbered(rows, self._row_of)), scores

    def similar(self, row: int, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the k nearest items of one item, without itself; for an index made by `cosine`.

        Without vectors (d = 0) every cosine is 0 and the order is that of the rows.
        """
        place = row if self._place_of is None else int(self._place_of[row])
        scale = 1.0 if self._scale is None else self._scale[place]
        query = np.ascontiguousarray(self.item_vectors[place : place + 1] * scale, np.float32)
        return self.search(query, k, exclude=Exclusions.of_one(np.array([row], np.int32)))

    def _scan(
        self,
        queries: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        exclude: Exclusions | None,
        bits: NDArray[np.uint8] | None,
        rows: NDArray[np.int32],
        scores: NDArray[np.float32],
    ) -> None:
        """Search over the codes, query by query."""
        codes = self.codes
        assert codes is not None
        bounds = codes.bounds
        if bias is not self.item_bias and len(bounds):  # of a boost, or of the cosine, which has none
            peaks = np.zeros(len(bounds)) if bias is None else np.maximum.reduceat(bias, np.arange(0, len(bias), GROUP))
            bounds = np.column_stack([bounds[:, :2], peaks]).astype(np.float32)
        for q, query in enumerate(queries):
            kernels.scan(
                query, self.item_vectors, bias, self._scale, codes.rotation, codes.heads, codes.tails, codes.scales,
                codes.tail_lengths, bounds, None if exclude is None else exclude.of(q), bits, rows[q], scores[q],
            )  # fmt: skip

    @cached_property
    def _reach(self) -> NDArray[np.float32] | None:
        """What the kernel stops by; None for items in any order, where it would not pay."""
        if self.codes is not None:
            return self.codes.reach
        if self._row_of is None or not len(self._row_of):
            return None
        lengths = np.sqrt(np.einsum("ij,ij->i", self.item_vectors, self.item_vectors, dtype=np.float64)) * (1 + 1e-6) + 1e-44
        firsts = np.arange(0, len(lengths), GROUP)
        peaks = np.zeros(len(firsts)) if self.item_bias is None else np.maximum.reduceat(self.item_bias, firsts)
        return falling(np.column_stack([np.maximum.reduceat(lengths, firsts), peaks]).astype(np.float32))


def _renumbered(rows: NDArray[np.int32], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.where(rows < 0, np.int32(-1), numbers[rows]) if len(numbers) else rows


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
