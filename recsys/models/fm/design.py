"""`Design`: the rows a factorization machine is trained on, put together from relation blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.data.features import FeatureMatrix
from recsys.errors import DataError


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of all blocks one below the other, features numbered across blocks: what kernels read.

    Parameters
    ----------
    indptr : ndarray of shape (n_table_rows + 1,), int64
    features : ndarray of shape (n_entries,), int32
    values : ndarray of shape (n_entries,), float32, or None
        None where all are 1.
    """

    indptr: NDArray[np.int64]
    features: NDArray[np.int32]
    values: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Design:
    """Sample ``n`` has the features of row ``parts[n, b]`` of every block b (Rendle 2013, relation blocks).

    A block is what repeats together: a user with everything known of them, an item, a context. Plain rows are one
    block. Features are numbered block after block.

    Parameters
    ----------
    blocks : tuple of FeatureMatrix
    parts : ndarray of shape (n, n_blocks), int32
    """

    blocks: tuple[FeatureMatrix, ...]
    parts: NDArray[np.int32]

    def __post_init__(self) -> None:
        """Validate once, so that no kernel has to."""
        if self.parts.dtype != np.int32 or self.parts.ndim != 2 or self.parts.shape[1] != len(self.blocks):
            raise DataError(f"parts is {self.parts.dtype} of shape {self.parts.shape}; expected int32 (n, n_blocks)")
        for number, block in enumerate(self.blocks):
            rows = self.parts[:, number]
            if len(rows) and not 0 <= rows.min() <= rows.max() < len(block):
                raise DataError(f"parts names rows beyond the {len(block):,} of block {number}")

    @classmethod
    def of_rows(cls, features: FeatureMatrix) -> Design:
        """Every row once, as one block."""
        return cls((features,), np.arange(len(features), dtype=np.int32)[:, None])

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.parts)

    @property
    def n_features(self) -> int:
        """Number of features of all blocks."""
        return int(self.first_features[-1])

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields of all blocks."""
        return tuple(name for block in self.blocks for name in block.fields)

    @cached_property
    def first_features(self) -> NDArray[np.int64]:
        """Number of the first feature of each block and, last, of all: shape (n_blocks + 1,)."""
        return np.cumsum([0, *(block.n_features for block in self.blocks)])

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """First row of each block in `table` and, last, the number of all: shape (n_blocks + 1,)."""
        return np.cumsum([0, *(len(block) for block in self.blocks)])

    @cached_property
    def field_of(self) -> NDArray[np.int32]:
        """Field of each feature, shape (n_features,)."""
        firsts = np.cumsum([0, *(len(block.fields) for block in self.blocks)])
        parts = [block.field_of + first for block, first in zip(self.blocks, firsts, strict=False)]
        return np.concatenate([np.empty(0, np.int32), *parts]).astype(np.int32)

    @cached_property
    def table(self) -> Table:
        """The rows of all blocks."""
        indptr = [np.zeros(1, np.int64)]
        for block in self.blocks:
            indptr.append(block.indptr[1:] + indptr[-1][-1])
        features = [b.features + first for b, first in zip(self.blocks, self.first_features, strict=False)]
        values = np.concatenate([np.empty(0, np.float32), *(block.values for block in self.blocks)])
        return Table(
            np.concatenate(indptr),
            np.concatenate([np.empty(0, np.int32), *features]).astype(np.int32),
            None if (values == 1).all() else values,
        )

    @cached_property
    def table_rows(self) -> NDArray[np.int32]:
        """Rows of `table` that make up each sample, shape (n, n_blocks), int32."""
        return np.ascontiguousarray(self.parts + self.first_rows[:-1], np.int32)

    def take(self, samples: NDArray[np.integer]) -> Design:
        """Return some samples over the same blocks."""
        return Design(self.blocks, np.ascontiguousarray(self.parts[samples]))

    def flat(self) -> FeatureMatrix:
        """Return every sample written out, the fields of all blocks side by side."""
        return FeatureMatrix.side_by_side([b.take(self.parts[:, k]) for k, b in enumerate(self.blocks)])

    def by_field(self) -> Design:
        """Return the same samples with a block for each field, in the order of the fields: its distinct rows."""
        blocks: list[FeatureMatrix] = []
        columns: list[NDArray[np.int32]] = []
        for number, block in enumerate(self.blocks):
            for field in range(len(block.fields)):
                rows, place = block.field(field).distinct()
                blocks.append(rows)
                columns.append(place[self.parts[:, number]])
        return Design(tuple(blocks), _stacked(columns, len(self)))


def _stacked(columns: Sequence[NDArray[np.int32]], n: int) -> NDArray[np.int32]:
    return np.ascontiguousarray(np.stack(columns, axis=1)) if columns else np.empty((n, 0), np.int32)
