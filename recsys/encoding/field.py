"""`Field`: how one raw value becomes features."""

from __future__ import annotations

import math
import re
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.ids import MAX_ID_CHARACTERS, IdMap

KINDS = ("category", "tags", "number", "buckets", "hashed")
LARGEST_BITS = 22  # 1 GiB of vectors of 64 factors, read whole when a server loads the model
LARGEST_NUMBER = 1e30
LARGEST_DEVIATIONS = 10.0
_SURROGATE = "[\ud800-\udfff]"  # compiled when text comes that could have one


@dataclass(frozen=True, eq=False)
class Field:
    """One fitted field: how a raw value becomes features numbered from 0.

    A missing value (None, empty text, NaN) and one that fitting did not meet give no feature. Of several features each
    has the value ``1 / sqrt(count)``, so that many tags weigh as much as one.

    Parameters
    ----------
    name : str
        Of the field in a record.
    kind : {"category", "tags", "number", "buckets", "hashed"}
        A category is one text of `vocabulary`. Tags are several, as a list or as text with ``|`` between them. A
        number is one feature, ``(x - mean) / deviation`` within ten deviations. Buckets are one feature for each
        interval between `edges`. Hashed text, or each of a list, is the feature ``CRC-32(UTF-8) mod 2^bits``
        (Weinberger et al. 2009, Feature hashing for large scale multitask learning).
    vocabulary : IdMap, optional
        Texts of a category or of tags.
    edges : ndarray of shape (n_buckets - 1,), float64, optional
        Rising; bucket ``b`` holds ``edges[b - 1] <= x < edges[b]``.
    mean, deviation : float
        Of a number.
    bits : int
        Of a hash.

    Raises
    ------
    DataError
        If the parts do not fit together.
    """

    name: str
    kind: str
    vocabulary: IdMap | None = None
    edges: NDArray[np.float64] | None = None
    mean: float = 0.0
    deviation: float = 1.0
    bits: int = 0

    def __post_init__(self) -> None:
        """Check what a stored field could get wrong."""
        edges = self.edges
        fits = {
            "category": self.vocabulary is not None,
            "tags": self.vocabulary is not None,
            "number": math.isfinite(self.mean) and math.isfinite(self.deviation) and self.deviation > 0,
            "buckets": edges is not None
            and edges.dtype == np.float64
            and edges.ndim == 1
            and bool(np.isfinite(edges).all() and (np.diff(edges) > 0).all()),
            "hashed": 1 <= self.bits <= LARGEST_BITS,
        }
        if not fits.get(self.kind, False):
            raise DataError(f"the parts do not make a field of the kind {self.kind!r}", field=self.name)

    @classmethod
    def fit(cls, name: str, kind: str, setting: int, values: Sequence[object]) -> Field:
        """Fit to the values of all records; the setting is the number of buckets or of bits."""
        if kind in ("category", "tags"):
            return cls(name, kind, IdMap.from_ids([])).extended(values)
        if kind == "hashed":
            return cls(name, kind, bits=setting)
        numbers = cls(name, "number")._numbers(values)
        numbers = numbers[~np.isnan(numbers)]
        if kind == "buckets":
            return cls(name, kind, edges=_edges(numbers, setting))
        if not len(numbers):
            return cls(name, kind)
        return cls(name, kind, mean=float(numbers.mean()), deviation=float(numbers.std()) or 1.0)

    def extended(self, values: Sequence[object]) -> Field:
        """Return the field with new texts at the end of its vocabulary; known features keep their numbers."""
        if self.vocabulary is None:
            return self
        found = dict.fromkeys(text for texts in self._distinct(values)[0] for text in texts)
        return replace(self, vocabulary=self.vocabulary.extend(found))

    @property
    def n_features(self) -> int:
        """Number of features."""
        if self.vocabulary is not None:
            return len(self.vocabulary)
        if self.edges is not None:
            return len(self.edges) + 1
        return 1 << self.bits  # 1 for a number

    def feature_name(self, number: int) -> str:
        """Return a feature in words."""
        if self.vocabulary is not None:
            return f"{self.name}={self.vocabulary.id(number)}"
        if self.edges is not None:
            low, high = (f"{one:g}" for one in np.r_[-np.inf, self.edges, np.inf][number : number + 2])
            return f"{self.name}={'(' if number == 0 else '['}{low}, {high})"
        return self.name if self.kind == "number" else f"{self.name}=#{number}"

    def entries(self, value: object) -> tuple[list[int], float]:
        """Return the features of one value, ascending, and what each of them has; `DataError` for a wrong type."""
        if self.kind not in ("number", "buckets"):
            return self._text_entries(self._texts(value))
        number = self._number(value)
        if math.isnan(number):
            return [], 1.0
        if self.edges is not None:
            return [bisect_right(self.edges, number)], 1.0
        deviations = (number - self.mean) / self.deviation
        return [0], max(-LARGEST_DEVIATIONS, min(LARGEST_DEVIATIONS, deviations))

    def columns(self, values: Sequence[object]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return the same for many values: numbers of features, shape (n,), the features, and what they have."""
        if self.kind in ("number", "buckets"):
            numbers = self._numbers(values)
            known = ~np.isnan(numbers)
            lengths, numbers = known.astype(np.int64), numbers[known]
            if self.edges is not None:
                features = np.searchsorted(self.edges, numbers, side="right").astype(np.int32)
                return lengths, features, np.ones(len(features), np.float32)
            deviations = np.clip((numbers - self.mean) / self.deviation, -LARGEST_DEVIATIONS, LARGEST_DEVIATIONS)
            return lengths, np.zeros(len(numbers), np.int32), deviations.astype(np.float32)
        distinct, place = self._distinct(values)
        entries = [self._text_entries(texts) for texts in distinct]
        sizes = np.array([len(features) for features, _ in entries], np.int64)
        flat = np.array([one for features, _ in entries for one in features], np.int32)
        weight = np.array([one for _, one in entries], np.float32)
        lengths = sizes[place]
        ends = np.cumsum(lengths)
        which = np.arange(lengths.sum()) + np.repeat((np.cumsum(sizes) - sizes)[place] - (ends - lengths), lengths)
        return lengths, flat[which], np.repeat(weight[place], lengths)

    def _text_entries(self, texts: tuple[str, ...]) -> tuple[list[int], float]:
        found = sorted({number for text in texts if (number := self._text_feature(text)) >= 0})
        return found, 1 / math.sqrt(len(found)) if found else 1.0

    def _text_feature(self, text: str) -> int:
        if self.vocabulary is not None:
            return self.vocabulary.row(text)
        return zlib.crc32(text.encode()) & ((1 << self.bits) - 1)

    def _distinct(self, values: Sequence[object]) -> tuple[list[tuple[str, ...]], NDArray[np.int64]]:
        """Distinct values as texts, and which of them each value is."""
        numbers: dict[str | tuple[str, ...], int] = {}
        keys = (one if type(one) is str else self._texts(one) for one in values)
        place = np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(values))
        return [key if isinstance(key, tuple) else self._texts(key) for key in numbers], place

    def _texts(self, value: object) -> tuple[str, ...]:
        parts: Sequence[object] = (value,)
        if self.kind == "tags" and isinstance(value, str):
            parts = [part.strip() for part in value.split("|")]
        elif self.kind != "category" and isinstance(value, list | tuple):
            parts = value
        return tuple(text for part in parts if (text := self._text(part)))

    def _text(self, value: object) -> str:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return "" if value != value else str(value).removesuffix(".0")
        if not isinstance(value, str | None):
            raise DataError(f"{_shown(value)} is no value of a field of the kind {self.kind}", field=self.name)
        if self.vocabulary is not None and len(value or "") > MAX_ID_CHARACTERS:
            reason = f"a text of {len(value or ''):,} characters is no {self.kind}; {MAX_ID_CHARACTERS} are the most"
            raise DataError(reason, field=self.name, remedy="Use the kind hashed")
        if value and not value.isascii() and re.search(_SURROGATE, value):
            raise DataError(f"{_shown(value)} holds a lone surrogate, which is not text", field=self.name)
        return value or ""

    def _numbers(self, values: Sequence[object]) -> NDArray[np.float64]:
        return np.fromiter((self._number(one) for one in values), np.float64, len(values))

    def _number(self, value: object) -> float:
        if value is None or value == "":
            return math.nan
        try:
            number = float(value) if isinstance(value, str | int | float | np.number | np.bool_) else math.inf
        except (ValueError, OverflowError):
            number = math.inf
        if abs(number) > LARGEST_NUMBER:
            raise DataError(f"{_shown(value)} is no number", field=self.name)
        return number


def _edges(numbers: NDArray[np.float64], buckets: int) -> NDArray[np.float64]:
    """Edges of buckets with about equally many numbers; each number gets its own where so few are distinct."""
    distinct = np.unique(numbers)
    if len(distinct) <= buckets:
        return distinct[1:]
    edges = np.unique(np.quantile(numbers, np.arange(1, buckets) / buckets, method="higher"))
    above: NDArray[np.float64] = edges[edges > distinct[0]]
    return above


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "..."
