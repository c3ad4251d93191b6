"""Samples of sparse features as text: ``label feature:value ...`` (LIBSVM), ``label field:feature:value ...``.

Lines are the rule, in `_one_by_one`. Blocks are the shortcut: cut and converted at once, or refused and then walked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.data.features import FeatureMatrix
from recsys.data.sources.lines import Block, StrPath, read_blocks
from recsys.data.sources.rejected import Rejected
from recsys.data.sources.values import BadValue, parse_weight
from recsys.errors import ConfigError, DataError

LARGEST_FEATURE = np.iinfo(np.int32).max - 1
LARGEST_FIELD = 9999
_WALKED_LINES = 256
_MOST_DIGITS = 100  # leading zeros included
_BYTES = np.arange(256, dtype=np.uint8)
_IS_SPACE = np.isin(_BYTES, np.frombuffer(b" \t\r\n", np.uint8))
_IS_UNSIGNED = np.isin(_BYTES, np.frombuffer(b"0123456789.", np.uint8))
_IS_KNOWN = _IS_SPACE | np.isin(_BYTES, np.frombuffer(b"0123456789+-.eE:", np.uint8))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Some rows; their entries ascend by (row, field, feature)."""

    labels: NDArray[np.float32]
    lengths: NDArray[np.int64]
    fields: NDArray[np.int32]
    features: NDArray[np.int32]
    values: NDArray[np.float32]


def read_libsvm(
    path: StrPath, *, n_features: int | None = None, zero_based: bool = False, on_error: str = "raise"
) -> tuple[FeatureMatrix, NDArray[np.float32]]:
    """Read samples ``label feature:value feature:value ...``, plain or gzip.

    Parameters
    ----------
    path : path-like
    n_features : int, optional
        Features of the training file, to read a test file with; the largest of this file if not given.
    zero_based : bool
        Whether the first feature is called 0 and not 1.
    on_error : {"raise", "skip"}
        Stop at the first bad line, or leave bad lines out.

    Returns
    -------
    samples : FeatureMatrix
        A row for each line, in the one field ``feature``.
    targets : ndarray of shape (n,), float32

    Raises
    ------
    DataError
        Naming file, line and column of what cannot be used: no number, a feature twice in a line or beyond
        `n_features`.
    """
    if n_features is not None and n_features < 1:
        raise ConfigError(f"n_features is {n_features}. Give 1 or more")
    first = 0 if zero_based else 1
    form = _Form(2, first, None if n_features is None else (n_features,))
    rows = _all_rows(path, form, Rejected(on_error))
    sizes = form.sizes or (int(rows.features.max(initial=-1)) + 1,)
    return _matrix(rows, sizes, ("feature",), path), rows.labels


def read_libffm(
    path: StrPath, *, sizes: Sequence[int] | None = None, on_error: str = "raise"
) -> tuple[FeatureMatrix, NDArray[np.float32]]:
    """Read samples ``label field:feature:value ...``, plain or gzip.

    Features are numbered from 0 within their field.

    Parameters
    ----------
    path : path-like
    sizes : sequence of int, optional
        Features of each field of the training file, to read a test file with: ``np.diff(samples.offsets)``. The
        largest of this file if not given.
    on_error : {"raise", "skip"}
        Stop at the first bad line, or leave bad lines out.

    Returns
    -------
    samples : FeatureMatrix
        A row for each line; fields are called by their numbers.
    targets : ndarray of shape (n,), float32

    Raises
    ------
    DataError
        As `read_libsvm`.
    """
    form = _Form(3, 0, None if sizes is None else tuple(int(size) for size in sizes))
    rows = _all_rows(path, form, Rejected(on_error))
    if form.sizes is None:
        largest = np.full(int(rows.fields.max(initial=-1)) + 1, -1, np.int64)
        np.maximum.at(largest, rows.fields, rows.features)
        found = tuple((largest + 1).tolist())
    else:
        found = form.sizes
    return _matrix(rows, found, tuple(map(str, range(len(found)))), path), rows.labels


@dataclass(frozen=True)
class _Form:
    """Parts of an entry (2 or 3), number of the first feature, and features of each field where they are known."""

    parts: int
    first: int
    sizes: tuple[int, ...] | None

    def fits(self, fields: NDArray[np.int64], features: NDArray[np.int64]) -> bool:
        """Whether all entries are within bounds; features count from 0."""
        if not len(features):
            return True
        if features.min() < 0 or features.max() > LARGEST_FEATURE or fields.min() < 0 or fields.max() > LARGEST_FIELD:
            return False
        if self.sizes is None:
            return True
        return bool(fields.max() < len(self.sizes) and (features < np.array(self.sizes)[fields]).all())


def _all_rows(path: StrPath, form: _Form, rejected: Rejected) -> _Rows:
    found = [rows for block in read_blocks(path, rejected) for rows in _rows_of(block, form, path, rejected)]
    parts = {name: [getattr(rows, name) for rows in found] for name in _Rows.__dataclass_fields__}
    if not found or not sum(map(len, parts["labels"])):
        raise DataError(f"no line can be used; {rejected.summary()}" if rejected.rows else "has no samples", path=path)
    return _Rows(**{name: np.concatenate(columns) for name, columns in parts.items()})


def _rows_of(block: Block, form: _Form, path: StrPath, rejected: Rejected) -> Iterator[_Rows]:
    rows = _at_once(block.data, form)
    if rows is not None:
        yield rows
        return
    lines = block.data.split(b"\n")[:-1]
    if len(lines) <= _WALKED_LINES:
        yield _one_by_one(block, form, path, rejected)
        return
    for begin in range(0, len(lines), _WALKED_LINES):
        # Where few lines are bad, most parts still go at once.
        part = Block(block.line + begin, b"\n".join([*lines[begin : begin + _WALKED_LINES], b""]))
        yield from _rows_of(part, form, path, rejected)


def _at_once(text: bytes, form: _Form) -> _Rows | None:
    """Rows of a block, None where one of its lines may be wrong."""
    data = np.frombuffer(text, np.uint8)
    if not _IS_KNOWN[data].all():
        return None
    space, colon = _IS_SPACE[data], data == ord(":")
    outside = space | colon
    near = np.flatnonzero(colon)
    if len(near) and (near[0] == 0 or outside[near - 1].any() or outside[near + 1].any()):
        return None
    begins = ~outside & np.append(True, outside[:-1])  # of numbers
    tokens = ~space & np.append(True, space[:-1])
    at = np.flatnonzero(begins)
    token_of = (np.cumsum(tokens) - 1)[at]
    line_of = np.cumsum(data == ord("\n"))[np.flatnonzero(tokens)]
    is_label = np.append(True, line_of[1:] != line_of[:-1])[: len(line_of)]
    if not np.array_equal(np.bincount(token_of, minlength=len(line_of)), np.where(is_label, 1, form.parts)):
        return None
    signed = begins & (data == ord("+"))
    if not _IS_UNSIGNED[data[np.flatnonzero(signed) + 1]].all():
        return None
    inside = ~outside & ~signed
    ends = np.append(np.cumsum(inside)[at] - inside[at], np.count_nonzero(inside)).astype(np.int32)
    numbers = pa.StringArray.from_buffers(len(at), pa.py_buffer(ends), pa.py_buffer(data[inside]))
    labels = np.flatnonzero(is_label[token_of])
    entries = np.flatnonzero(~is_label[token_of]).reshape(-1, form.parts)
    if not _IS_UNSIGNED[data[at[entries[:, :-1]]]].all():
        return None
    try:
        columns = [_cast(numbers, labels, pa.float64()), _cast(numbers, entries[:, -1], pa.float64())]
        features = _cast(numbers, entries[:, -2], pa.int64()) - form.first
        fields = _cast(numbers, entries[:, 0], pa.int64()) if form.parts == 3 else np.zeros_like(features)
    except pa.ArrowInvalid:
        return None
    lengths = np.diff(np.append(np.flatnonzero(is_label), len(is_label))) - 1
    return _checked(columns[0], lengths, fields, features, columns[1], form)


def _cast(numbers: pa.Array, places: NDArray[np.int64], kind: pa.DataType) -> NDArray[Any]:
    return np.asarray(numbers.take(pa.array(places)).cast(kind).to_numpy(zero_copy_only=False))


def _checked(
    labels: NDArray[np.float64],
    lengths: NDArray[np.int64],
    fields: NDArray[np.int64],
    features: NDArray[np.int64],
    values: NDArray[np.float64],
    form: _Form,
) -> _Rows | None:
    """Rows with their entries in order, None if a number is out of bounds or a feature stands twice."""
    with np.errstate(over="ignore"):
        targets, numbers = labels.astype(np.float32), values.astype(np.float32)
    if not (np.isfinite(targets).all() and np.isfinite(numbers).all() and form.fits(fields, features)):
        return None
    row, key = np.repeat(np.arange(len(lengths)), lengths), fields << 32 | features
    same = row[1:] == row[:-1]
    if (same & (key[1:] <= key[:-1])).any():
        order = np.lexsort((key, row))
        fields, features, numbers, key = fields[order], features[order], numbers[order], key[order]
        if (same & (key[1:] == key[:-1])).any():
            return None
    return _Rows(targets, lengths.astype(np.int64), fields.astype(np.int32), features.astype(np.int32), numbers)


def _one_by_one(block: Block, form: _Form, path: StrPath, rejected: Rejected) -> _Rows:
    found: list[tuple[float, list[tuple[int, int, float]]]] = []
    for line, text in enumerate(block.text.split("\n"), block.line):
        words = text.partition("#")[0].split()
        column = "label"
        try:
            if words:
                label = parse_weight(words[0])
                column = "entry"
                found.append((label, _entries(words[1:], form)))
        except BadValue as bad:
            rejected.add(path, line, column, bad.reason, remedy=bad.remedy)
    entries = [entry for _, some in found for entry in some]
    fields, features, values = zip(*entries, strict=True) if entries else ((), (), ())
    return _Rows(
        np.array([label for label, _ in found], np.float32),
        np.array([len(some) for _, some in found], np.int64),
        np.array(fields, np.int32),
        np.array(features, np.int32),
        np.array(values, np.float32),
    )


def _entries(words: Sequence[str], form: _Form) -> list[tuple[int, int, float]]:
    entries: dict[tuple[int, int], float] = {}
    for word in words:
        *key, value = word.split(":")
        if len(key) != form.parts - 1 or not all(one.isascii() and one.isdecimal() for one in key):
            wanted = "feature:value" if form.parts == 2 else "field:feature:value"
            raise BadValue(f"{word[:40]!r} is not {wanted} with whole numbers before the last colon")
        if max(map(len, key)) > _MOST_DIGITS:
            raise BadValue(f"{word[:40]!r} has a number that is too large")
        field, feature = (0 if form.parts == 2 else int(key[0])), int(key[-1]) - form.first
        if feature < 0:
            raise BadValue("there is a feature 0, but the first is called 1", "Pass zero_based=True")
        if field > LARGEST_FIELD or feature > LARGEST_FEATURE:
            raise BadValue(f"{word[:40]!r} has a number that is too large")
        if form.sizes is not None and not (field < len(form.sizes) and feature < form.sizes[field]):
            raise BadValue(f"{word[:40]!r} lies beyond the features there are")
        if (field, feature) in entries:
            raise BadValue(f"the feature of {word[:40]!r} stands twice in the line")
        entries[field, feature] = parse_weight(value)
    return [(*key, value) for key, value in sorted(entries.items())]


def _matrix(rows: _Rows, sizes: Sequence[int], names: tuple[str, ...], path: StrPath) -> FeatureMatrix:
    offsets = np.cumsum([0, *sizes]).astype(np.int64)
    if offsets[-1] > LARGEST_FEATURE:
        raise DataError(f"the fields have {offsets[-1]:,} features together, more than 32 bits count", path=path)
    indptr = np.append(0, np.cumsum(rows.lengths)).astype(np.int64)
    return FeatureMatrix(indptr, (rows.features + offsets[rows.fields]).astype(np.int32), rows.values, names, offsets)
