"""From tables and contexts to `Features`: fit or extend an encoder, one record per row."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.data.features import Features
from recsys.data.interactions import Interactions
from recsys.data.sources.rejected import DataWarning
from recsys.encoding import TIME_FIELDS, Encoder, Field, Record, field_kinds, field_names, time_context
from recsys.errors import ConfigError, DataError
from recsys.ids import IdMap

_SECONDS_PER_HOUR = 3600


def described(
    of: str, ids: IdMap, table: Mapping[str, Record] | None, fields: Sequence[str], known: Encoder | None
) -> tuple[IdMap, Features | None]:
    """Encode what a table tells of users or items.

    Returns
    -------
    ids : IdMap
        With the ids only the table knows at the end, in ascending order. As given where no fields are asked for.
    features : Features or None
        A row for each id, empty for one that is not in the table. None where no fields are asked for.
    """
    if not fields:
        return ids, None
    if not table:
        raise ConfigError(
            f"the fields {', '.join(fields)} of {of}s need a table of {of}s. Bring one, or leave them out"
        )
    ids = ids.extend(sorted(table, key=str))  # whatever order the table stands in: equal scores are listed by row
    records = [table.get(one, {}) for one in ids.ids()]
    return ids, Features.of(encoder_of(of, fields, records, known), records)


def context_features(
    interactions: Interactions, fields: Sequence[str], known: Encoder | None
) -> tuple[Features, NDArray[np.int32]]:
    """Encode contexts and times; return the distinct ones, and which of them each event has, shape (n,)."""
    records, rows = context_records(interactions, field_names(fields))
    kinds = field_kinds(fields) if known is None else {one.name: one.kind for one in known.fields}
    readable = _readable(records, kinds)
    features = Features.of(encoder_of("context", fields, readable, known), readable)
    matrix, number = features.matrix.distinct()
    return Features(features.encoder, matrix), number[rows]


def _readable(records: Sequence[Record], kinds: Mapping[str, str]) -> list[Record]:
    """Leave out values a field cannot take, and warn: clients send contexts, and none of them may stop the training."""
    probes = {name: Field.fit(name, kind, 1, []) for name, kind in kinds.items()}
    readable: list[Record] = []
    reasons: list[str] = []
    for record in records:
        kept = dict(record)
        for name, probe in probes.items():
            try:
                probe.entries(record.get(name))
            except DataError as error:
                reasons.append(str(error))
                del kept[name]
        readable.append(kept)
    if reasons:
        warnings.warn(
            f"{len(reasons):,} values of contexts cannot be used and count as missing: {reasons[0]}",
            DataWarning,
            stacklevel=4,
        )
    return readable


def encoder_of(of: str, fields: Sequence[str], records: Sequence[Record], known: Encoder | None) -> Encoder:
    """Fit an encoder, or extend one of an earlier fit."""
    if known is None:
        return Encoder.fit(fields, records, of)
    if known.names != field_names(fields):
        raise ConfigError(
            f"the fields of a {of} are {', '.join(fields)}, but were {', '.join(known.names)} before. Fit anew"
        )
    return known.extended(records)


def context_records(
    interactions: Interactions, names: Sequence[str]
) -> tuple[list[dict[str, object]], NDArray[np.int32]]:
    """Return the contexts of events as records, each combination of context and time once, and which each event has.

    Time fields come from the time of an event, in UTC, where its context does not have them itself.

    Raises
    ------
    ConfigError
        If a time field is asked for, no context has it, and the events have no times.
    """
    contexts: list[dict[str, object]] = [{}, *map(json.loads, interactions.contexts)]
    moments: list[dict[str, object]] = [{}]
    context = np.zeros(len(interactions), np.int64)
    moment = np.zeros(len(interactions), np.int64)
    if interactions.context is not None:
        context += interactions.context + 1
    timed = [name for name in names if name in TIME_FIELDS]
    if timed and interactions.timestamp is not None:
        hours, place = np.unique(interactions.timestamp // _SECONDS_PER_HOUR, return_inverse=True)
        told = [time_context(hour * _SECONDS_PER_HOUR) for hour in hours.tolist()]
        values = [tuple(one[name] for name in timed) for one in told]
        distinct = {one: number for number, one in enumerate(dict.fromkeys(values))}
        moments = [dict(zip(timed, one, strict=True)) for one in distinct]
        moment = np.array([distinct[one] for one in values], np.int64)[place]
    elif missing := [name for name in timed if not any(name in one for one in contexts)]:
        raise ConfigError(
            f"the context field {missing[0]!r} comes from the times of events, but these have none. "
            "Read them with their time column, or leave the field out"
        )
    pairs, rows = np.unique(context * len(moments) + moment, return_inverse=True)
    records = [moments[pair % len(moments)] | contexts[pair // len(moments)] for pair in pairs.tolist()]
    return records, rows.astype(np.int32)
