"""A catalogue beside a model: which rows a rule holds for, and which items the model does not know."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from threading import Lock
from typing import Any, Protocol, TypeVar
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.serving.columns import Bits, Table
from recsys.serving.filters import Clause, bits_of, declared
from recsys.serving.loader import ServedModel

_KEPT_BYTES = 1 << 25
"""Of rules and what they come to, beside one model."""


class Sized(Protocol):
    """An array, or something that holds some."""

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""


T = TypeVar("T", bound=Sized)


class View:
    """One table beside one model; bitmaps stay for the next request with the same rule.

    Rows are those of the model and, behind them, those of the table: there the new items are, ``n_model + row``.

    Parameters
    ----------
    model : ServedModel
    table : Table
    shown : ndarray of shape (n_model,), bool, optional
        Which items of the model were not deleted.
    before : View, optional
        Of the same model.
    """

    def __init__(self, model: ServedModel, table: Table, shown: Bits | None, before: View | None = None) -> None:
        self.table, self.shown = table, shown
        self._model = ref(model)  # who keeps a view for a model's sake shall not keep the model
        self.items, self.n_model = model.items, len(model.items)
        known: NDArray[np.int32] = np.empty(0, np.int32)
        if before is not None and before.table.ids is table.ids:
            known = before.of_model[: table.n_rows]
        self.of_model: NDArray[np.int32] = np.concatenate(
            [known, model.items.encode(table.ids[len(known) : table.n_rows])]
        )
        """Row of the model of each row of the table, -1 where there is none."""
        modelled = np.flatnonzero(self.of_model >= 0)
        self.row_of = np.full(self.n_model, table.n_rows, np.int32)
        """Row of the table of each row of the model; that behind the last one where there is none."""
        self.row_of[self.of_model[modelled]] = modelled
        new = np.flatnonzero((self.of_model < 0) & (table.changed > 0))
        self.new = (new[np.lexsort((new, -table.changed[new]))] + self.n_model).tolist()
        """Items the model does not know, the newest change first."""
        self._kept: dict[str, Any] = {}
        self._kept_bytes, self._keeping = 0, Lock()

    def bits(self, clause: Clause) -> Bits:
        """Return for which rows of the model and the table a clause holds; errors as of `bits_of`."""
        return self.kept(f"bits {clause!r}", lambda: self._of_rows(bits_of(clause, self.table)))

    def holders(self, field: str, value: float) -> Bits:
        """Return the rows that have a value, as `values` gives it."""
        column, size = declared(self.table, field), self.table.n_rows + 1
        return self.kept(f"{value!r} {field}", lambda: self._of_rows(column.bits(size, lambda values: values == value)))

    def times(self, field: str) -> NDArray[np.float64]:
        """Return the time in a field by row of the model, NaN where there is none."""
        column = declared(self.table, field)
        if column.kind != "timestamp":
            raise DataError(f"is no time: it is a {column.kind}", field=field)
        return self.kept(f"times {field}", lambda: column.by_row(self.table.n_rows + 1)[self.row_of])

    def kept(self, key: str, make: Callable[[], T]) -> T:
        """Return what was made for an earlier request, or make it; keys are text, as true and 1 are equal."""
        found: T | None = self._kept.get(key)
        if found is None:
            found = make()
            size = sys.getsizeof(key) + found.nbytes  # a rule may be longer than what it comes to
            if size > _KEPT_BYTES:
                return found
            with self._keeping:
                if self._kept_bytes + size > _KEPT_BYTES:
                    self._kept, self._kept_bytes = {}, 0
                self._kept[key] = found
                self._kept_bytes += size
        return found

    def _of_rows(self, of_table: Bits) -> Bits:
        return np.concatenate([of_table[self.row_of], of_table[:-1]])

    def directions(self, rows: Sequence[int]) -> NDArray[np.float64]:
        """Return the vectors of items of the model at length 1, or 0."""
        model = self._model()
        assert model is not None  # the ranking of the request has it
        vectors = model.factors.item_vectors[rows].astype(np.float64)
        lengths = np.sqrt((vectors * vectors).sum(axis=1))
        return vectors / np.where(lengths > 0, lengths, 1.0)[:, None]

    def values(self, field: str, row: int) -> list[float]:
        """Return the values of a field at a row of the model or the table."""
        return declared(self.table, field).at(self._table_row(row))

    def rows(self, items: Collection[str]) -> list[int]:
        """Return the rows of those items that model or catalogue know."""
        told, size = self.table.row_of, self.table.n_rows
        of_table = (told.get(one, size) for one in items)
        pairs = zip(self.items.encode(items).tolist(), of_table, strict=True)
        return [row if row >= 0 else self.n_model + other for row, other in pairs if row >= 0 or other < size]

    def id(self, row: int) -> str:
        """Return the item of a row."""
        return self.items.id(row) if row < self.n_model else self.table.ids[row - self.n_model]

    def _table_row(self, row: int) -> int:
        return int(self.row_of[row]) if row < self.n_model else row - self.n_model
