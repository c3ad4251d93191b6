"""The catalogue of a namespace as this process knows it: read once, then change by change.

A plain list needs no more than the deleted items. What rules and new items need besides is read when the first of them
is asked for.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from recsys.serving.loader import ServedModel
from recsys.serving.online import CatalogueHead, OnlineStore

if TYPE_CHECKING:
    from recsys.serving.columns import Table
    from recsys.serving.view import View

_CHANGES = 10_000
"""Asked for at once."""


class Catalogue:
    """Deleted items, and metadata as far as somebody asked for them.

    Parameters
    ----------
    namespace : str
    online : OnlineStore
    """

    def __init__(self, namespace: str, online: OnlineStore) -> None:
        self._namespace, self._online = namespace, online
        self._lock = RLock()
        self.head, self.is_known = CatalogueHead(), False
        self.removed: frozenset[str] = frozenset()
        self._table: Table | None = None
        # By model, as lists come from several at a time, and gone with it.
        self._shown: WeakKeyDictionary[ServedModel, tuple[frozenset[str], NDArray[np.bool_] | None]]
        self._views: WeakKeyDictionary[ServedModel, View]
        self._shown, self._views = WeakKeyDictionary(), WeakKeyDictionary()

    def refresh(self, head: CatalogueHead) -> None:
        """Take note of every change up to a head that was just read; stay as it is where that fails."""
        if head == self.head and self.is_known:
            return
        with self._lock:
            if head.revision < self.head.revision:
                return  # another thread saw more
            if self._table is not None:
                self._table = self._read(self._table, head)
            if head.revision != self.head.revision:
                removed = frozenset(self._online.removed_items(self._namespace))
                self.removed = self.removed if removed == self.removed else removed
            self.head, self.is_known = head, True

    def shown(self, model: ServedModel) -> NDArray[np.bool_] | None:
        """Return which items of a model were not deleted; None if none was."""
        kept = self._shown.get(model)
        if kept is None or kept[0] is not self.removed:
            removed = self.removed
            rows = [row for item in removed if (row := model.items.row(item)) >= 0]
            bits = None
            if rows:
                bits = np.ones(len(model.items), np.bool_)
                bits[rows] = False
            self._shown[model] = kept = (removed, bits)
        return kept[1]

    def view(self, model: ServedModel) -> View:
        """Return the catalogue beside the rows of a model."""
        from recsys.serving.columns import Table
        from recsys.serving.view import View

        with self._lock:
            if self._table is None:
                self._table = self._read(Table.empty(self.head.fields), self.head)
            view = self._views.get(model)
            if view is None or view.table is not self._table:
                self._views[model] = view = View(model, self._table, self.shown(model), view)
            return view

    def _read(self, table: Table, head: CatalogueHead) -> Table:
        """Bring a table up to a head; with other fields it is read anew."""
        kinds = {name: column.kind for name, column in table.columns.items()}
        if kinds != head.fields:
            table = table.empty(head.fields)
        while table.revision < head.revision:
            changes = self._online.item_changes(self._namespace, table.revision, limit=_CHANGES)
            if not changes:
                break  # a change that nobody was told of yet
            table = table.after(changes)
        return table
