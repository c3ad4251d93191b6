"""Relation blocks as coordinate descent takes them: features as columns of rows, and the row of every sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.models.fm.design import Design

_ENTRIES = 2**21  # moved in one call of the kernel


@dataclass(frozen=True, eq=False)
class Block:
    """A relation block with its features as columns.

    Parameters
    ----------
    matrix : csr_matrix of shape (n_rows, n_features), float32
    features : slice
        Of the features of the machine.
    field_of : ndarray of shape (n_features,), int32
    samples : ndarray of shape (n,), int32
        Row of each sample.
    """

    matrix: sp.csr_matrix
    features: slice
    field_of: NDArray[np.int32]
    samples: NDArray[np.int32]

    @classmethod
    def of(cls, design: Design, number: int) -> Block:
        """Block of a design."""
        first, end = design.first_features[number : number + 2]
        matrix, samples = design.blocks[number].to_csr(), np.ascontiguousarray(design.parts[:, number])
        return cls(matrix, slice(first, end), np.ascontiguousarray(design.field_of[first:end]), samples)

    @cached_property
    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32] | None]:
        """The block as the kernel takes it: indptr, rows, and values unless all are 1."""
        columns = self.matrix.tocsc()
        values = None if (columns.data == 1).all() else columns.data
        return columns.indptr.astype(np.int64), columns.indices.astype(np.int32), values

    @cached_property
    def squared(self) -> sp.csr_matrix:
        """The block with its values squared."""
        return self.matrix.multiply(self.matrix).tocsr()

    @cached_property
    def stretches(self) -> list[tuple[int, int]]:
        """Ranges of features that are not too much for one call."""
        cuts = np.flatnonzero(np.diff(self.columns[0][1:] // _ENTRIES)) + 1
        return list(zip([0, *cuts.tolist()], [*cuts.tolist(), len(self.field_of)], strict=True))


def repeating(design: Design) -> Design:
    """Return the design with blocks whose rows repeat: taken apart into fields, where they hardly do."""
    return design.by_field() if 2 * sum(map(len, design.blocks)) > len(design) else design
