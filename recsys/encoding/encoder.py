"""`Encoder`: the fitted fields of one side of the data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.encoding.field import KINDS, LARGEST_BITS, Field
from recsys.errors import ConfigError, DataError
from recsys.ids import IdMap

Record = Mapping[str, object]

# What the third part of a spec sets: default, lowest and highest number.
_SETTINGS = {"buckets": (10, 2, 1000), "hashed": (18, 1, LARGEST_BITS)}
_SPEC = rf"([^:]+)(?::({'|'.join(KINDS)})(?::([0-9]{{1,4}}))?)?"  # compiled when the first one comes
_VOCABULARY = ("text", "offsets", "order")


@dataclass(frozen=True, eq=False)
class Encoder:
    """The fitted fields of one side: users, items or contexts. Features are numbered field after field.

    Parameters
    ----------
    fields : tuple of Field

    Examples
    --------
    >>> films = [{"genres": ["Drama", "War"], "year": 1957}, {"genres": ["Drama"], "year": 2001}]
    >>> encoder = Encoder.fit(["genres", "year:number"], films)
    >>> encoder.n_features, encoder.feature_name(1)
    (3, 'genres=War')
    >>> features, values = encoder.encode_one({"genres": ["War", "Noir"], "year": 2001})
    >>> features.tolist(), values.tolist()
    ([1, 2], [1.0, 1.0])
    """

    fields: tuple[Field, ...]

    @classmethod
    def fit(cls, specs: Sequence[str], records: Sequence[Record], of: str = "record") -> Encoder:
        """Fit fields to records.

        Parameters
        ----------
        specs : sequence of str
            ``name``, ``name:kind``, or ``name:kind:n`` with the number of buckets (10) or of the bits of a hash (18).
            Without a kind it is found out: lists are tags, numbers are buckets, text and booleans are categories.
        records : sequence of mapping
            Field names to values: text, numbers, booleans, None, or for tags a list of them.
        of : str
            What a record is, for messages.

        Raises
        ------
        ConfigError
            If a spec cannot be read, or no record has a value in its field.
        DataError
            If a value is of a wrong type for its field.
        """
        fields: list[Field] = []
        for name, spec in zip(field_names(specs), specs, strict=True):
            _, kind, setting = _parsed(spec)
            values = [record.get(name) for record in records]
            if all(one is None or one == "" or one == [] for one in values):
                known = ", ".join(sorted({key for record in records for key in record})) or "none"
                raise ConfigError(f"no {of} has a field {name!r}; fields are {known}")
            kind = kind or _kind(values)
            fields.append(Field.fit(name, kind, setting or _SETTINGS.get(kind, (0,))[0], values))
        return cls(tuple(fields))

    def extended(self, records: Sequence[Record]) -> Encoder:
        """Return the encoder with new texts in its vocabularies; within a field known features keep their numbers."""
        return Encoder(tuple(one.extended([record.get(one.name) for record in records]) for one in self.fields))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(one.name for one in self.fields)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """First feature of each field and, last, the number of all: shape (n_fields + 1,)."""
        return np.cumsum([0, *(one.n_features for one in self.fields)]).astype(np.int64)

    @property
    def n_features(self) -> int:
        """Number of features of all fields."""
        return int(self.offsets[-1])

    def feature_name(self, number: int) -> str:
        """Return a feature in words: ``genres=Drama``."""
        field = int(np.searchsorted(self.offsets, number, side="right")) - 1
        return self.fields[field].feature_name(number - int(self.offsets[field]))

    def encode(self, records: Sequence[Record]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return the features of many records in compressed form.

        Returns
        -------
        indptr : ndarray of shape (n_records + 1,), int64
        features : ndarray of shape (n_entries,), int32
            Ascending and distinct within a record.
        values : ndarray of shape (n_entries,), float32

        Raises
        ------
        DataError
            Naming the field whose value is of a wrong type.
        """
        columns = [one.columns([record.get(one.name) for record in records]) for one in self.fields]
        lengths = np.stack([np.zeros(len(records), np.int64), *(length for length, _, _ in columns)])
        rows = np.concatenate([np.repeat(np.arange(len(records)), length) for length in lengths])
        order = np.argsort(rows, kind="stable")
        starts = zip(columns, self.offsets, strict=False)
        features = np.concatenate([np.empty(0, np.int64), *(some + start for (_, some, _), start in starts)])
        values = np.concatenate([np.empty(0, np.float32), *(some for _, _, some in columns)])
        indptr = np.append(0, np.cumsum(lengths.sum(axis=0))).astype(np.int64)
        return indptr, features[order].astype(np.int32), values[order]

    def encode_one(self, record: Record) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the features of one record and their values, as `encode` does, without building tables."""
        features: list[int] = []
        values: list[float] = []
        for field, start in zip(self.fields, self.offsets.tolist(), strict=False):
            found, value = field.entries(record.get(field.name))
            features += [start + one for one in found]
            values += [value] * len(found)
        return np.array(features, np.int32), np.array(values, np.float32)

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the settings, as JSON can hold them, and the arrays of all fields, to be saved."""
        settings = []
        arrays: dict[str, NDArray[Any]] = {}
        for number, one in enumerate(self.fields):
            names = ("name", "kind", "mean", "deviation", "bits")
            settings.append({name: getattr(one, name) for name in names})
            if one.vocabulary is not None:
                arrays |= {f"field_{number}_{part}": getattr(one.vocabulary, part) for part in _VOCABULARY}
            if one.edges is not None:
                arrays[f"field_{number}_edges"] = one.edges
        return {"fields": settings}, arrays

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Encoder:
        """Put an encoder together again; `DataError` if the parts do not fit together."""
        fields = []
        try:
            for number, one in enumerate(settings["fields"]):
                parts = [arrays.get(f"field_{number}_{part}") for part in _VOCABULARY]
                vocabulary = IdMap(*_checked(*parts)) if all(part is not None for part in parts) else None
                fields.append(Field(**one, vocabulary=vocabulary, edges=arrays.get(f"field_{number}_edges")))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the stored fields cannot be put together: {error!r}") from error
        return cls(tuple(fields))


def field_names(specs: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the fields that specs ask for; `ConfigError` for one that cannot be read, or comes twice."""
    names = tuple(_parsed(spec)[0] for spec in specs)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"the field {twice[0]!r} is asked for twice")
    return names


def field_kinds(specs: Sequence[str]) -> dict[str, str]:
    """Return the kinds that specs name, by field."""
    return {name: kind for name, kind, _ in map(_parsed, specs) if kind is not None}


def _parsed(spec: str) -> tuple[str, str | None, int | None]:
    """Name, kind and setting of a spec."""
    match = re.fullmatch(_SPEC, spec)
    if match is None:
        raise ConfigError(f"{spec!r} is no field. Write name or name:kind; the kinds are {', '.join(KINDS)}")
    name, kind, setting = match.groups()
    if setting is None:
        return name, kind, None
    _, lowest, highest = _SETTINGS.get(kind, (0, 1, 0))
    if not lowest <= int(setting) <= highest:
        allowed = f"{lowest} to {highest:,}" if highest else "no number"
        raise ConfigError(f"{spec!r} is no field: a field of the kind {kind} takes {allowed} there")
    return name, kind, int(setting)


def _kind(values: Sequence[object]) -> str:
    present = [one for one in values if one is not None and one != ""]
    if any(isinstance(one, list | tuple) for one in present):
        return "tags"
    if all(isinstance(one, int | float | np.number) and not isinstance(one, bool) for one in present):
        return "buckets"
    return "category"


def _checked(*parts: Any) -> tuple[Any, ...]:
    """Arrays of a vocabulary that no look-up can leave."""
    text, offsets, order = parts
    if not (
        [one.dtype for one in parts] == [np.uint8, np.int64, np.int32]
        and text.ndim == offsets.ndim == order.ndim == 1
        and len(offsets) == len(order) + 1
        and offsets[0] == 0
        and offsets[-1] == len(text)
        and (np.diff(offsets) > 0).all()
        and np.array_equal(np.sort(order), np.arange(len(order)))
    ):
        raise DataError("the arrays of a vocabulary do not fit together")
    return parts
