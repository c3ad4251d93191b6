"""`ItemIndex`: exact top-K over item vectors, the only top-K in the repository.

Lists of a notebook, a batch job and a request agree because all three come from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys import kernels


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


class ItemIndex:
    """Exact top-K of ``<query, item_vector> * scale + item_bias``.

    Parameters
    ----------
    item_vectors : ndarray of shape (n_items, d), float32, C-contiguous
        May be memory-mapped; d may be 0.
    item_bias : ndarray of shape (n_items,), float32, optional
    item_scale : ndarray of shape (n_items,), float32, optional

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
        item_scale: NDArray[np.float32] | None = None,
    ) -> None:
        self.item_vectors = item_vectors
        self.item_bias = item_bias
        self.item_scale = item_scale

    @classmethod
    def cosine(cls, item_vectors: NDArray[np.float32]) -> ItemIndex:
        """Return an index that ranks by cosine for queries of unit length; a zero vector is at cosine 0 of all."""
        norms = np.sqrt(np.einsum("ij,ij->i", item_vectors, item_vectors))
        scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        return cls(item_vectors, item_scale=scale)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        exclude: Exclusions | None = None,
        allowed: NDArray[np.bool_] | None = None,
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
        threads : int
            Results do not depend on it.

        Returns
        -------
        rows : ndarray of shape (n_queries, k), int32
            Best first, ties by ascending row, padded with -1.
        scores : ndarray of shape (n_queries, k), float32
            Padded with -inf.
        """
        rows, scores = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32)
        indptr, excluded = (None, None) if exclude is None else (exclude.indptr, exclude.rows)
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        kernels.search(
            queries, self.item_vectors, self.item_bias, self.item_scale, indptr, excluded, bits, rows, scores, threads
        )
        return rows, scores

    def similar(self, row: int, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the k nearest items of one item, without itself; for an index built by `cosine`.

        Without vectors (d = 0) every cosine is 0 and the order is that of the rows.
        """
        vector = self.item_vectors[row : row + 1]
        scale = 1.0 if self.item_scale is None else self.item_scale[row]
        query = np.ascontiguousarray(vector * scale, np.float32)
        return self.search(query, k, exclude=Exclusions.of_one(np.array([row], np.int32)))


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
