"""A catalogue beside a model: which rows a rule holds for, and which items the model does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.serving.columns import Bits, Table
from recsys.serving.filters import Clause, bits_of, declared
from recsys.serving.loader import ServedModel

_KEPT_BYTES = 1 << 25


class View:
    """One table beside one model; bitmaps stay for the next request with the same rule.

    Rows are those of the model and, behind them, those of the table: there the new items are, ``n_model + row``.

    Parameters
    ----------
    model : ServedModel
    table : Table
    shown : ndarray of shape (n_model,), bool, optional
        Which items of the model were not deleted.
    """

    def __init__(self, model: ServedModel, table: Table, shown: Bits | None) -> None:
        self.version, self.table, self.shown = model.manifest.version, table, shown
        self.items, self.n_model = model.items, len(model.items)
        self._vectors = model.factors.item_vectors
        of_model = model.items.encode(table.ids[: table.n_rows])
        known = np.flatnonzero(of_model >= 0)
        self.row_of = np.full(self.n_model, table.n_rows, np.int32)
        """Row of the table of each item of the model; that behind the last one where there is none."""
        self.row_of[of_model[known]] = known
        new = np.flatnonzero((of_model < 0) & (table.changed > 0))
        self.new = (new[np.lexsort((new, -table.changed[new]))] + self.n_model).astype(np.int64)
        """Items the model does not know, the newest change first."""
        self._kept: dict[str, Bits] = {}

    def bits(self, clause: Clause) -> Bits:
        """Return for which rows of the model and the table a clause holds; errors as of `bits_of`."""
        key = repr(clause)  # clauses compare as tuples: with true and 1 as the same
        found = self._kept.get(key)
        if found is None:
            of_table = bits_of(clause, self.table)
            found = np.concatenate([of_table[self.row_of], of_table[:-1]])
            if (len(self._kept) + 1) * len(found) > _KEPT_BYTES:
                self._kept = {}
            self._kept[key] = found
        return found

    def times(self, field: str) -> NDArray[np.float64]:
        """Return the time in a field by row of the model, NaN where there is none."""
        column = declared(self.table, field)
        if column.kind != "timestamp":
            raise DataError(f"is no time: it is a {column.kind}", field=field)
        return column.by_row(self.table.n_rows + 1)[self.row_of]

    def directions(self, rows: Sequence[int]) -> NDArray[np.float64]:
        """Return the vectors of items of the model at length 1, or 0."""
        vectors = self._vectors[rows].astype(np.float64)
        lengths = np.sqrt((vectors * vectors).sum(axis=1))
        return vectors / np.where(lengths > 0, lengths, 1.0)[:, None]

    def values(self, field: str, row: int) -> list[float]:
        """Return the values of a field at a row of the model or the table."""
        return declared(self.table, field).at(self._table_row(row))

    def holders(self, field: str, value: float) -> Bits:
        """Return the rows that have a value, as `values` gives it."""
        of_table = declared(self.table, field).bits(self.table.n_rows + 1, lambda values: values == value)
        return np.concatenate([of_table[self.row_of], of_table[:-1]])

    def row(self, item: str) -> int:
        """Return the row of an item, -1 if neither model nor catalogue knows it."""
        row = self.items.row(item)
        if row >= 0:
            return row
        of_table = self.table.row_of.get(item, self.table.n_rows)
        return self.n_model + of_table if of_table < self.table.n_rows else -1

    def id(self, row: int) -> str:
        """Return the item of a row."""
        return self.items.id(row) if row < self.n_model else self.table.ids[row - self.n_model]

    def _table_row(self, row: int) -> int:
        return int(self.row_of[row]) if row < self.n_model else row - self.n_model
