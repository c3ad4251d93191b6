"""Columns of an event file that are kept as the context of the events."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from recsys.data.sources.values import BadValue, parse_text
from recsys.errors import DataError
from recsys.events import context_text

PREFIX = "context."
"""Our name of the column ``device``, kept as context, is ``context.device``."""


def parse_context_value(value: object) -> object:
    """Text, number or boolean as it stands; None where there is none."""
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return parse_text(value) if isinstance(value, str) else value


def parse_context(values: Mapping[str, object]) -> str | None:
    """Canonical JSON of the values by name that are there; None if none is."""
    context = {name: value for name, value in values.items() if value is not None}
    try:
        return context_text(context) if context else None
    except DataError as error:
        raise BadValue(f"the {error.field} {error.reason}") from None


def context_column(columns: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """Canonical JSON of the columns of each row, written once for each distinct combination."""
    found: list[dict[str, object]] = [{}]
    number = np.zeros(rows, np.int64)
    for name, column in columns.items():
        column.validate(full=True)  # Parquet files may hold text that is no UTF-8
        encoded = column.dictionary_encode()
        values = [None, *map(parse_context_value, encoded.dictionary.to_pylist())]
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        pairs, number = np.unique(number * len(values) + codes, return_inverse=True)
        found = [found[pair // len(values)] | {name: values[pair % len(values)]} for pair in pairs.tolist()]
    return pa.array([parse_context(one) for one in found], pa.string()).take(pa.array(number))
