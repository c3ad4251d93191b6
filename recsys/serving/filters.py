"""Conditions on declared fields, and the items for which they hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.errors import DataError
from recsys.serving.columns import Bits, Column, Table
from recsys.serving.fields import Value, read_values

MAX_DEPTH = 4
"""Groups within each other."""


class OneOf(NamedTuple):
    """A field has one of some values: ``match`` with a single one, ``any`` with more."""

    field: str
    values: tuple[Value, ...]


class Within(NamedTuple):
    """A number or a time lies between bounds; None where there is none."""

    field: str
    gt: Value | None = None
    gte: Value | None = None
    lt: Value | None = None
    lte: Value | None = None


class Exists(NamedTuple):
    """A field has a value."""

    field: str


class Group(NamedTuple):
    """All of `must` hold, none of `must_not`, and of `should`, unless there are none, at least one."""

    must: tuple[Clause, ...] = ()
    should: tuple[Clause, ...] = ()
    must_not: tuple[Clause, ...] = ()


Clause = OneOf | Within | Exists | Group


def bits_of(clause: Clause, table: Table) -> Bits:
    """Return for which rows of a table, and at the end for an item nothing is known of, a clause holds.

    Raises
    ------
    DataError
        Naming a field that is not declared, or a value that is none of its kind.
    """
    if isinstance(clause, Group):
        found = np.ones(table.n_rows + 1, np.bool_)
        for one in clause.must:
            found &= bits_of(one, table)
        if clause.should:
            found &= np.logical_or.reduce([bits_of(one, table) for one in clause.should])
        for one in clause.must_not:
            found &= ~bits_of(one, table)
        return found
    column = declared(table, clause.field)
    if isinstance(clause, OneOf):
        wanted = [column.number_of(one) for one in _read(column, clause.field, *clause.values)]
        return column.bits(table.n_rows + 1, lambda values: np.isin(values, wanted))
    if isinstance(clause, Within):
        return column.bits(table.n_rows + 1, lambda values: _within(clause, column, values))
    return column.bits(table.n_rows + 1, lambda values: np.ones(len(values), np.bool_))


def declared(table: Table, field: str) -> Column:
    """Return the column of a field."""
    if field not in table.columns:
        known = ", ".join(f"{name} ({column.kind})" for name, column in sorted(table.columns.items())) or "none"
        readable = field if field.isascii() and field.isprintable() else ascii(field)[1:-1]  # anybody's text
        raise DataError(f"is not a declared field; declared: {known}", field=readable[:100])
    return table.columns[field]


def _read(column: Column, field: str, *told: Value) -> list[Value]:
    """Read values as the metadata of the field are read."""
    try:
        return [value for one in told for value in read_values(column.kind, one)]
    except DataError as error:
        raise DataError(error.reason, field=field) from None


def _within(clause: Within, column: Column, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Bits:
    if column.kind not in ("number", "timestamp"):
        raise DataError(f"has no order: it is a {column.kind}", field=clause.field)
    found = np.ones(len(values), np.bool_)
    for bound, holds in (
        (clause.gt, np.greater),
        (clause.gte, np.greater_equal),
        (clause.lt, np.less),
        (clause.lte, np.less_equal),
    ):
        if bound is not None:
            found &= holds(values, _read(column, clause.field, bound) or [np.nan])
    return found
