"""The catalogue as columns: one row per item ever told of, one column per declared field; never changed, only replaced.

The row after the last one stands for items nothing is known of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.serving.fields import Value, read_values
from recsys.serving.online import ItemChange

Bits = NDArray[np.bool_]
_UNUSED = 1000
"""Keywords that may stay though no row has them: they come with every change of an item."""


class Column(NamedTuple):
    """Values of one field: row by row, a row with several values several times.

    Parameters
    ----------
    kind : str
    rows : ndarray of shape (n,), int32
        Ascending.
    values : ndarray of shape (n,), float64
        Numbers as they are, booleans as 0 and 1, of keywords their place in `codes`.
    codes : dict of str to int
        Of keywords. Grows with the newest column of the field; earlier ones have no value beyond their own.
    """

    kind: str
    rows: NDArray[np.int32]
    values: NDArray[np.float64]
    codes: dict[str, int]

    @classmethod
    def of(cls, kind: str, told: Iterable[object], codes: dict[str, int] | None = None) -> Column:
        """Read the values of rows 0, 1, ...; what is none of the kind says nothing."""
        codes = {} if codes is None else codes
        rows: list[int] = []
        values: list[float] = []
        for row, one in enumerate(told):
            for value in _lenient(kind, one):
                rows.append(row)
                values.append(codes.setdefault(value, len(codes)) if isinstance(value, str) else float(value))
        return cls(kind, np.array(rows, np.int32), np.array(values, np.float64), codes)

    def replaced(self, rows: NDArray[np.int32], told: Sequence[object]) -> Column:
        """Return the column with other values in some distinct rows."""
        order = np.argsort(rows)
        rows, new = rows[order], Column.of(self.kind, (told[n] for n in order.tolist()), self.codes)
        if not len(self.rows) or rows[0] > self.rows[-1]:  # all of them are new
            appended = np.concatenate([self.rows, rows[new.rows]]), np.concatenate([self.values, new.values])
            return Column(self.kind, *appended, self.codes)._lean()
        kept = np.ones(len(self.rows), np.bool_)
        for first, last in zip(*(np.searchsorted(self.rows, one) for one in (rows, rows + 1)), strict=True):
            kept[first:last] = False
        places = np.searchsorted(self.rows[kept], rows[new.rows])
        all_rows = np.insert(self.rows[kept], places, rows[new.rows])
        return Column(self.kind, all_rows, np.insert(self.values[kept], places, new.values), self.codes)._lean()

    def _lean(self) -> Column:
        """Return the column without the keywords that no row has any more, once they are most of them."""
        if len(self.codes) <= 2 * len(self.values) + _UNUSED:
            return self
        names = list(self.codes)
        used, values = np.unique(self.values.astype(np.int64), return_inverse=True)
        codes = {names[code]: place for place, code in enumerate(used.tolist())}
        return Column(self.kind, self.rows, values.astype(np.float64), codes)

    def bits(self, n_rows: int, holds: Callable[[NDArray[np.float64]], Bits]) -> Bits:
        """Return the rows with a value for which a condition holds."""
        found = np.zeros(n_rows, np.bool_)
        found[self.rows[holds(self.values)]] = True
        return found

    def number_of(self, value: Value) -> float:
        """Return a value as the column has it; NaN, which equals nothing, for a keyword it lacks."""
        return self.codes.get(value, np.nan) if isinstance(value, str) else float(value)

    def at(self, row: int) -> list[float]:
        """Return the values of one row."""
        # Of the type of the rows, or they would all be converted.
        first, last = np.searchsorted(self.rows, np.array((row, row + 1), np.int32))
        found: list[float] = self.values[first:last].tolist()
        return found

    def by_row(self, n_rows: int) -> NDArray[np.float64]:
        """Return one number a row, NaN where there is none."""
        found = np.full(n_rows, np.nan)
        found[self.rows] = self.values
        return found


class Table(NamedTuple):
    """The catalogue at one revision.

    Parameters
    ----------
    revision : int
    ids : list of str
        By row. Grows with the newest table; earlier ones end at `n_rows`.
    row_of : dict of str to int
        The same the other way round.
    changed : ndarray of shape (n_rows,), int64
        Revision of the newest change of each item; 0 where it was deleted.
    columns : dict of str to Column
        By field.
    """

    revision: int
    ids: list[str]
    row_of: dict[str, int]
    changed: NDArray[np.int64]
    columns: dict[str, Column]

    @classmethod
    def empty(cls, fields: Mapping[str, str]) -> Table:
        """Return the table of no items."""
        columns = {name: Column.of(kind, ()) for name, kind in fields.items()}
        return cls(0, [], {}, np.zeros(0, np.int64), columns)

    @property
    def n_rows(self) -> int:
        """Number of items ever told of."""
        return len(self.changed)

    def after(self, changes: Sequence[ItemChange]) -> Table:
        """Return the table as some changes, the newest last, leave it."""
        newest = {one.item: one for one in changes}
        for item in newest:
            if item not in self.row_of:
                self.row_of[item] = len(self.ids)
                self.ids.append(item)
        rows = np.array([self.row_of[item] for item in newest], np.int32)
        changed = np.concatenate([self.changed, np.zeros(len(self.ids) - self.n_rows, np.int64)])
        changed[rows] = [0 if one.metadata is None else one.revision for one in newest.values()]
        described: list[dict[str, Any]] = [one.metadata or {} for one in newest.values()]
        columns = {
            name: column.replaced(rows, [one.get(name) for one in described]) for name, column in self.columns.items()
        }
        return Table(max(one.revision for one in changes), self.ids, self.row_of, changed, columns)


def _lenient(kind: str, told: object) -> tuple[Value, ...]:
    try:
        return read_values(kind, told)
    except DataError:
        return ()
