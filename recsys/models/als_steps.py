"""Half-steps of implicit ALS: the algebra between the compiled row solvers and the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from recsys import kernels
from recsys.data.interactions import Interactions
from recsys.factors import Factors

_CHUNK = 4096  # rows of a table worked on at once; fixed, so that sums do not depend on the number of threads
_LANES = 8
_BLAS = ThreadpoolController().select(user_api="blas")  # found once: looking for it takes as long as a Gram matrix
_WORK = 2**28  # entries times factors of one kernel call: a fraction of a second


@dataclass(frozen=True)
class Objective:
    """What implicit ALS minimises (Hu, Koren and Volinsky 2008; Rendle et al. 2021, arXiv 2110.14037).

    With ``c_ui = alpha * weight_ui``, over observed pairs, all pairs, and rows::

        sum_obs c_ui (1 - x_u.y_i)^2 + a0 sum_all (x_u.y_i)^2
          + regularization [ sum_u (n_u + a0 n_items)^nu |x_u|^2 + sum_i (n_i + a0 n_users)^nu |y_i|^2 ]

    Parameters
    ----------
    alpha, regularization : float
    unobserved_weight : float
        a0.
    frequency_exponent : float
        nu; 0 gives every row the same penalty.
    shift : float
        Adds ``shift (1 - 2 x_u.y_i)`` per observed pair. With 1, a0 = 1 and ``c = alpha * weight - 1`` this is the
        objective of the implicit library.
    """

    alpha: float
    regularization: float
    unobserved_weight: float
    frequency_exponent: float
    shift: float = 0.0

    def penalty(self, counts: NDArray[Any], n_others: int) -> NDArray[np.float32]:
        """Weight of |row|^2, over alpha, for rows with `counts` entries among `n_others` columns."""
        size = counts + self.unobserved_weight * n_others
        return (self.regularization / self.alpha * size**self.frequency_exponent).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Side:
    """Users or items as rows to be solved: CSR arrays as the kernel takes them.

    The objective is divided by alpha, so that the weights of the interactions serve as they are, without a copy.

    Parameters
    ----------
    indptr : ndarray of shape (n_rows + 1,), int64
    indices : ndarray of shape (nnz,), int32
    weights : ndarray of shape (nnz,), float32, or None
        c / alpha of each entry; None when all are `weight`.
    weight : float
    penalty : ndarray of shape (n_rows,), float32
    order : ndarray of shape (n_rows,), int32
        Rows with most entries first, so that no thread is left with one of them at the end.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32] | None
    weight: float
    penalty: NDArray[np.float32]
    order: NDArray[np.int32]

    @classmethod
    def of(cls, matrix: sp.csr_matrix, objective: Objective) -> Side:
        """Prepare the rows of a matrix of raw weights."""
        counts = np.diff(matrix.indptr)
        weights = matrix.data.astype(np.float32, copy=False)
        if objective.shift:
            weights = weights - np.float32(objective.shift / objective.alpha)
        constant = not len(weights) or bool(weights.min() == weights.max())
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32, copy=False),
            None if constant else weights,
            float(weights[0]) if len(weights) else 0.0,
            objective.penalty(counts, matrix.shape[1]),
            np.argsort(-counts, kind="stable").astype(np.int32),
        )

    def only(self, rows: NDArray[np.integer]) -> Side:
        """Return the side with only some rows to be solved."""
        return replace(self, order=self.order[np.isin(self.order, rows)])


@dataclass(frozen=True, eq=False)
class Numbering:
    """Rows numbered anew by falling number of events: vectors fetched often lie together, and in the cache.

    It takes 10 to 20 % off a half-step.

    Parameters
    ----------
    users, items : ndarray of shape (n_users,) and (n_items,), int32
        Row in the dataset of each new row.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]

    @classmethod
    def of(cls, interactions: Interactions) -> Numbering:
        """Count the events of users and items that weigh something."""
        n_users, n_items = interactions.shape
        weighs = interactions.weight != 0
        return cls(_by_count(interactions.user[weighs], n_users), _by_count(interactions.item[weighs], n_items))

    def apply(self, interactions: Interactions) -> Interactions:
        """Return the events in new rows; the maps do not belong to them any more."""
        user, item = _inverse(self.users)[interactions.user], _inverse(self.items)[interactions.item]
        return replace(interactions, user=user, item=item)

    def undo(self, factors: Factors) -> Factors:
        """Return factors in the rows of the dataset."""
        return replace(
            factors,
            user_vectors=factors.user_vectors[_inverse(self.users)],
            item_vectors=factors.item_vectors[_inverse(self.items)],
        )


def _by_count(rows: NDArray[np.int32], n_rows: int) -> NDArray[np.int32]:
    return np.argsort(-np.bincount(rows, minlength=n_rows), kind="stable").astype(np.int32)


def _inverse(order: NDArray[np.int32]) -> NDArray[np.int32]:
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order), dtype=np.int32)
    return inverse


def padded(width: int) -> int:
    """Width of the tables: a multiple of the kernel's vectors; the columns beyond `width` stay zero."""
    return -(-width // _LANES) * _LANES


class Solver:
    """Alternates half-steps over two tables of factors.

    Parameters
    ----------
    objective : Objective
    width : int
        Number of factors, d.
    steps : int
        Conjugate gradient steps per row; 0 solves every row exactly.
    threads : int
        Results do not depend on it.
    """

    def __init__(self, objective: Objective, width: int, *, steps: int, threads: int) -> None:
        self.objective = objective
        self.width = width
        self.steps = steps
        self.threads = threads

    def half_step(
        self, side: Side, rows: NDArray[np.float32], columns: NDArray[np.float32], relaxation: float = 1.0
    ) -> tuple[NDArray[np.float32], float]:
        """Solve all rows for fixed columns; both tables are rotated into the eigenbasis of the columns, in place.

        Parameters
        ----------
        side : Side
        rows, columns : ndarray of shape (n_rows, padded d) and (n_columns, padded d), float32
        relaxation : float
            Factor on the way from the old rows to the new ones.

        Returns
        -------
        eigenvalues : ndarray of shape (padded d,), float32
            Of the Gram matrix of the columns, in the new basis.
        loss : float
            Of all rows, without the penalty on the columns.
        """
        eigenvalues = self.rotate(rows, columns)
        return eigenvalues, float(self.solve(side, rows, columns, eigenvalues, relaxation).sum())

    def solve(
        self,
        side: Side,
        rows: NDArray[np.float32],
        columns: NDArray[np.float32],
        eigenvalues: NDArray[np.float32],
        relaxation: float = 1.0,
        steps: int | None = None,
    ) -> NDArray[np.float64]:
        """Solve rows, in place, for columns in their eigenbasis; return the loss of each row.

        The kernel is called for a bounded amount of work at a time, so that Ctrl-C is answered in between.
        """
        loss, alpha = np.zeros(len(rows)), self.objective.alpha
        dense = (self.objective.unobserved_weight / alpha * eigenvalues).astype(np.float32)
        arguments = (side.indptr, side.indices, side.weights, side.weight, self.objective.shift / alpha, columns, dense)
        steps = self.steps if steps is None else steps
        for order in self._batches(side):
            if steps:
                kernels.als_cg(*arguments, side.penalty, order, steps, relaxation, rows, loss, self.threads)
            else:
                kernels.als_exact(*arguments, side.penalty, order, rows, loss, self.threads)
        return alpha * loss

    def penalty(self, side: Side, rows: NDArray[np.float32]) -> float:
        """Return the part of the objective that is the penalty on the rows of a side."""
        return self.objective.alpha * float(side.penalty @ np.einsum("ij,ij->i", rows, rows, dtype=np.float64))

    def _batches(self, side: Side) -> Iterator[NDArray[np.int32]]:
        counts = side.indptr[side.order + 1] - side.indptr[side.order]
        done = np.cumsum(counts + 1) * self.width // _WORK
        return iter(np.split(side.order, np.flatnonzero(np.diff(done)) + 1))

    def rotate(self, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rotate both tables, in place, into the eigenbasis of ``columns' columns``; return its eigenvalues.

        Scores do not change, and nothing is ever rotated back.
        """
        gram = self.gram(columns)
        with _BLAS.limit(limits=1):
            values, vectors = np.linalg.eigh(gram)
        rotation = np.eye(columns.shape[1], dtype=np.float32)
        rotation[: self.width, : self.width] = vectors
        for table in (rows, columns):
            self._over_chunks(table, lambda chunk: np.copyto(chunk, chunk @ rotation))
        return np.concatenate([np.maximum(values, 0), np.zeros(columns.shape[1] - self.width)]).astype(np.float32)

    def gram(self, table: NDArray[np.float32]) -> NDArray[np.float64]:
        """``table' table`` of shape (d, d): float32 within a chunk, float64 across."""
        real = table[:, : self.width]
        total = np.zeros((self.width, self.width))
        for part in self._over_chunks(real, lambda chunk: chunk.T @ chunk):
            total += part
        return total

    def _over_chunks(self, table: NDArray[np.float32], work: Callable[[NDArray[np.float32]], Any]) -> Iterable[Any]:
        chunks = [table[start : start + _CHUNK] for start in range(0, len(table), _CHUNK)]
        with _BLAS.limit(limits=1):
            if self.threads == 1:
                return [work(chunk) for chunk in chunks]
            with ThreadPoolExecutor(self.threads) as pool:
                return list(pool.map(work, chunks))
