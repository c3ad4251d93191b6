"""`FeatureMatrix`: what is known of users, items, contexts or whole samples, as sparse numbers in named fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.encoding import Encoder, Record
from recsys.errors import DataError

_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Rows of sparse features in compressed form (CSR); a field is a range of features.

    Parameters
    ----------
    indptr : ndarray of shape (n_rows + 1,), int64
        Entries of row ``r`` are ``indptr[r]:indptr[r + 1]``.
    features : ndarray of shape (n_entries,), int32
        Ascending and distinct within a row.
    values : ndarray of shape (n_entries,), float32
        Finite.
    fields : tuple of str
        Names of the fields.
    offsets : ndarray of shape (n_fields + 1,), int64
        Features of field ``f`` are ``offsets[f]`` up to ``offsets[f + 1]``.

    Raises
    ------
    DataError
        If the arrays do not fit together or a value is not finite.

    Examples
    --------
    >>> ids = FeatureMatrix.of_ids(np.array([1, 0, 1], np.int32), 2, "item")
    >>> ids.to_csr().toarray().tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """

    indptr: NDArray[np.int64]
    features: NDArray[np.int32]
    values: NDArray[np.float32]
    fields: tuple[str, ...]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Validate once, so that no kernel has to."""
        entries = len(self.features)
        for name, dtype, length in (
            ("indptr", np.int64, len(self.indptr)),
            ("features", np.int32, entries),
            ("values", np.float32, entries),
            ("offsets", np.int64, len(self.fields) + 1),
        ):
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != (length,):
                raise DataError(
                    f"{name} is {array.dtype} of shape {array.shape}; expected {np.dtype(dtype)} ({length},)"
                )
        for name, cuts, end in (("indptr", self.indptr, entries), ("offsets", self.offsets, self.offsets[-1])):
            if not len(cuts) or cuts[0] != 0 or cuts[-1] != end or (np.diff(cuts) < 0).any():
                raise DataError(f"{name} must rise from 0 to {end:,}")
        if entries and not 0 <= self.features.min() <= self.features.max() < self.n_features:
            raise DataError(f"features run to {self.features.max():,}, but there are {self.n_features:,}")
        ends = np.zeros(entries, bool)
        ends[self.indptr[1:-1][self.indptr[1:-1] < entries]] = True
        if not (ends[1:] | (np.diff(self.features) > 0)).all():
            raise DataError("the features of a row must be ascending and distinct")
        if not np.isfinite(self.values).all():
            raise DataError("feature values must be finite", field="value")

    @classmethod
    def of_ids(cls, rows: NDArray[np.int32], n_ids: int, field: str) -> FeatureMatrix:
        """One-hot rows of one field: row ``r`` has feature ``rows[r]``, or none where that is -1."""
        known = rows >= 0
        indptr = np.append(0, np.cumsum(known)).astype(np.int64)
        features = rows[known].astype(np.int32)
        return cls(indptr, features, np.ones(len(features), np.float32), (field,), np.array([0, n_ids], np.int64))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.indptr) - 1

    @property
    def n_features(self) -> int:
        """Number of features of all fields."""
        return int(self.offsets[-1])

    @cached_property
    def field_of(self) -> NDArray[np.int32]:
        """Field of each feature, shape (n_features,)."""
        return np.repeat(np.arange(len(self.fields), dtype=np.int32), np.diff(self.offsets))

    def to_csr(self) -> sp.csr_matrix:
        """Return the same as a scipy matrix, rows x features."""
        return sp.csr_matrix((self.values, self.features, self.indptr), shape=(len(self), self.n_features))

    def take(self, rows: NDArray[np.integer]) -> FeatureMatrix:
        """Return the given rows, repeats included."""
        lengths = np.diff(self.indptr)[rows]
        indptr = np.append(0, np.cumsum(lengths)).astype(np.int64)
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[:-1][rows] - indptr[:-1], lengths)
        return FeatureMatrix(indptr, self.features[entries], self.values[entries], self.fields, self.offsets)

    def append(self, below: FeatureMatrix) -> FeatureMatrix:
        """Return the rows of both, the other's after these; it has the same fields."""
        indptr = np.append(self.indptr, below.indptr[1:] + self.indptr[-1])
        features, values = np.append(self.features, below.features), np.append(self.values, below.values)
        return FeatureMatrix(indptr, features, values, self.fields, self.offsets)

    def field(self, number: int) -> FeatureMatrix:
        """Return one field of all rows, its features numbered from 0."""
        first, end = self.offsets[number : number + 2]
        kept = (self.features >= first) & (self.features < end)
        indptr = np.append(0, np.cumsum(kept))[self.indptr].astype(np.int64)
        features = (self.features[kept] - first).astype(np.int32)
        return FeatureMatrix(indptr, features, self.values[kept], (self.fields[number],), np.array([0, end - first]))

    @classmethod
    def side_by_side(cls, matrices: Sequence[FeatureMatrix]) -> FeatureMatrix:
        """Join matrices with equally many rows: the fields of each after those of the one before."""
        starts = np.cumsum([0, *(one.n_features for one in matrices)])
        indptr = np.stack([one.indptr for one in matrices]).sum(axis=0)
        features, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        filled = indptr[:-1].copy()
        for one, start in zip(matrices, starts, strict=False):
            lengths = np.diff(one.indptr)
            places = np.arange(one.indptr[-1]) + np.repeat(filled - one.indptr[:-1], lengths)
            features[places], values[places] = one.features + start, one.values
            filled += lengths
        offsets = [one.offsets[:-1] + start for one, start in zip(matrices, starts, strict=False)]
        fields = tuple(name for one in matrices for name in one.fields)
        return cls(indptr, features, values, fields, np.append(np.concatenate(offsets), starts[-1]).astype(np.int64))

    def distinct(self) -> tuple[FeatureMatrix, NDArray[np.int32]]:
        """Return the distinct rows and, for each row, the number of its equal among them."""
        entry = self.features.astype(np.uint64) << np.uint64(32) | self.values.view(np.uint32)
        with np.errstate(over="ignore"):
            entry = (entry ^ (entry >> np.uint64(29))) * _MIX
            sums = np.append(np.uint64(0), np.cumsum((entry ^ (entry >> np.uint64(32))) * _MIX, dtype=np.uint64))
            key = sums[self.indptr[1:]] - sums[self.indptr[:-1]]
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
        rows = self.take(first)
        again = rows.take(number)
        if not (np.array_equal(again.indptr, self.indptr) and np.array_equal(again.features, self.features)):
            return self, np.arange(len(self), dtype=np.int32)  # two different rows with one hash: once in 2^64
        return rows, number.astype(np.int32)


@dataclass(frozen=True, eq=False)
class Features:
    """Encoded records, and the encoder that encodes more of them alike.

    Parameters
    ----------
    encoder : Encoder
    matrix : FeatureMatrix
        A row for each record, in the fields of the encoder.
    """

    encoder: Encoder
    matrix: FeatureMatrix

    @classmethod
    def of(cls, encoder: Encoder, records: Sequence[Record]) -> Features:
        """Encode records; `DataError` naming a field with a value of a wrong type."""
        return cls(encoder, FeatureMatrix(*encoder.encode(records), encoder.names, encoder.offsets))

    def append(self, records: Sequence[Record]) -> Features:
        """Return the features with rows of more records; what the encoder does not know gives none."""
        return Features(self.encoder, self.matrix.append(Features.of(self.encoder, records).matrix))


@dataclass(frozen=True, eq=False)
class Encoders:
    """Encoders of the sides of a dataset, None where nothing is encoded."""

    user: Encoder | None = None
    item: Encoder | None = None
    context: Encoder | None = None
