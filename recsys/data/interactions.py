"""`Interactions`: who did what with which item, how much and when, as columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.events import context_text
from recsys.ids import IdMap


@dataclass(frozen=True, eq=False)
class Interactions:
    """One row per event, in columns; ids are rows of the two maps, whose sizes are the explicit shape.

    Parameters
    ----------
    users, items : IdMap
        External ids; may hold ids without an event.
    user, item : ndarray of shape (n,), int32
        Rows of `users` and `items`.
    weight : ndarray of shape (n,), float32
        Finite. Rating, count or strength of the event, 1 where the source has none.
    timestamp : ndarray of shape (n,), int64, or None
        UTC seconds since 1970. None when the source has no times.
    context : ndarray of shape (n,), int32, or None
        Under which circumstances: rows of `contexts`, -1 for an event without. None when the source has none.
    contexts : tuple of str
        Distinct contexts as canonical JSON (`recsys.events.context_text`). Plain text, for nothing ever looks one up.

    Raises
    ------
    DataError
        If the columns differ in length, have another dtype, point outside the maps, or a weight is not finite.
    """

    users: IdMap
    items: IdMap
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    weight: NDArray[np.float32]
    timestamp: NDArray[np.int64] | None = None
    context: NDArray[np.int32] | None = None
    contexts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Validate once, so that nothing downstream has to."""
        columns: list[tuple[str, NDArray[Any], type]] = [
            ("user", self.user, np.int32),
            ("item", self.item, np.int32),
            ("weight", self.weight, np.float32),
        ]
        if self.timestamp is not None:
            columns.append(("timestamp", self.timestamp, np.int64))
        if self.context is not None:
            columns.append(("context", self.context, np.int32))
        for name, column, dtype in columns:
            if column.dtype != dtype or column.shape != (len(self.user),):
                raise DataError(
                    f"{name} is {column.dtype} of shape {column.shape}; expected {np.dtype(dtype)} "
                    f"of shape ({len(self.user)},)"
                )
        for name, rows, ids in (("user", self.user, self.users), ("item", self.item, self.items)):
            if len(rows) and not (rows.min() >= 0 and rows.max() < len(ids)):
                raise DataError(f"{name} rows run from {rows.min()} to {rows.max()}, but there are {len(ids)} ids")
        told = self.context
        if told is not None and len(told) and not (told.min() >= -1 and told.max() < len(self.contexts)):
            raise DataError(f"context rows run from {told.min()} to {told.max()}, of {len(self.contexts)} contexts")
        if not np.isfinite(self.weight).all():
            raise DataError("weights must be finite", field="weight")

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.user)

    def __repr__(self) -> str:
        """Show size and window, not the columns."""
        return f"Interactions({self.described()})"

    def described(self) -> str:
        """Return size and window in words."""
        days = [str(np.datetime64(moment, "s"))[:10] for moment in self.window or ()]
        when = f", {days[0]} to {days[1]}" if days else ""
        return f"{len(self):,} events, {len(self.users):,} users x {len(self.items):,} items{when}"

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_users, n_items)``."""
        return len(self.users), len(self.items)

    @property
    def window(self) -> tuple[int, int] | None:
        """First and last timestamp in UTC seconds, None without times."""
        if self.timestamp is None or not len(self):
            return None
        return int(self.timestamp.min()), int(self.timestamp.max())

    def select(self, rows: NDArray[Any]) -> Interactions:
        """Return the events of a mask or an index array; the maps stay as they are."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            weight=self.weight[rows],
            timestamp=None if self.timestamp is None else self.timestamp[rows],
            context=None if self.context is None else self.context[rows],
        )

    def with_contexts(self, contexts: Sequence[Mapping[str, object] | None]) -> Interactions:
        """Return the events with a context each; `DataError` naming the field that is none (`context_text`).

        Examples
        --------
        >>> bought = interactions_from_tuples([("anna", "tea", 1.0), ("bo", "tea", 1.0)])
        >>> bought.with_contexts([{"device": "phone"}, None]).contexts
        ('{"device":"phone"}',)
        """
        texts = [context_text(one) if one else None for one in contexts]
        distinct = dict.fromkeys(text for text in texts if text is not None)
        return replace(self, context=_rows_in(texts, distinct), contexts=tuple(distinct))

    def compact(self) -> Interactions:
        """Drop ids and contexts without an event and renumber the rows; the order of the remaining ones stays."""
        users, user = _used(self.users, self.user)
        items, item = _used(self.items, self.item)
        compacted = replace(self, users=users, items=items, user=user, item=item)
        if self.context is None:
            return compacted
        used = np.bincount(self.context + 1, minlength=len(self.contexts) + 1) > 0
        renumbered = (np.cumsum(used[1:]) - 1).astype(np.int32)
        contexts = tuple(text for text, is_used in zip(self.contexts, used[1:].tolist(), strict=True) if is_used)
        context = np.append(renumbered, np.int32(-1))[self.context]
        return replace(compacted, context=context, contexts=contexts)

    def recode(self, users: IdMap, items: IdMap) -> tuple[Interactions, int]:
        """Express the events in other maps.

        Returns
        -------
        interactions : Interactions
            The events whose user and item both maps know.
        unknown : int
            How many were left out because they do not.
        """
        user = users.encode(self.users.ids())[self.user]
        item = items.encode(self.items.ids())[self.item]
        known = (user >= 0) & (item >= 0)
        kept = replace(self.select(known), users=users, items=items, user=user[known], item=item[known])
        return kept, int(len(self) - known.sum())

    def join(self, later: Interactions) -> Interactions:
        """Append events in any maps; ids seen for the first time are numbered after the known ones.

        Times are kept if both have them, contexts if one has them.
        """
        users, items = self.users.extend(later.users.ids()), self.items.extend(later.items.ids())
        added, _ = later.recode(users, items)
        timed = self.timestamp is not None and added.timestamp is not None
        columns = ("user", "item", "weight", *(("timestamp",) if timed else ()))
        values = {name: np.concatenate([getattr(self, name), getattr(added, name)]) for name in columns}
        joined = Interactions(users, items, values["user"], values["item"], values["weight"], values.get("timestamp"))
        if self.context is None and later.context is None:
            return joined
        contexts = tuple(dict.fromkeys(self.contexts + later.contexts))
        context = np.concatenate([one._context_in(contexts) for one in (self, later)])
        return replace(joined, context=context, contexts=contexts)

    def _context_in(self, contexts: Sequence[str]) -> NDArray[np.int32]:
        """Return the context of each event as a row of other contexts."""
        if self.context is None:
            return np.full(len(self), -1, np.int32)
        return _rows_in([*self.contexts, None], contexts)[self.context]

    def to_csr(self) -> sp.csr_matrix:
        """Weights as a user x item matrix of float32; duplicates are summed, indices sorted."""
        matrix = sp.coo_matrix((self.weight, (self.user, self.item)), shape=self.shape).tocsr()
        matrix.sum_duplicates()
        return matrix

    def fingerprint(self) -> str:
        """SHA-256 over ids and columns: equal data in equal order give equal text."""
        digest = hashlib.sha256(f"{self.users.fingerprint} {self.items.fingerprint}".encode())
        for column in (self.user, self.item, self.weight, self.timestamp):
            digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
        if self.context is not None:
            digest.update(np.ascontiguousarray(self.context).data)
            digest.update("\n".join(self.contexts).encode())
        return digest.hexdigest()


def interactions_from_tuples(rows: Iterable[tuple[str, str, float]]) -> Interactions:
    """Interactions from ``(user, item, weight)``; ids are numbered in order of first appearance.

    Examples
    --------
    >>> interactions_from_tuples([("anna", "tea", 2.0), ("bo", "tea", 1.0)]).shape
    (2, 1)
    """
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    users, items = (IdMap.from_ids(dict.fromkeys(column)) for column in columns[:2])
    return Interactions(
        users, items, users.encode(columns[0]), items.encode(columns[1]), np.array(columns[2], np.float32)
    )


def _used(ids: IdMap, rows: NDArray[np.int32]) -> tuple[IdMap, NDArray[np.int32]]:
    used = np.bincount(rows, minlength=len(ids)) > 0
    if used.all():
        return ids, rows
    renumbered = (np.cumsum(used) - 1).astype(np.int32)
    return IdMap.from_ids(ids.ids(np.flatnonzero(used))), renumbered[rows]


def _rows_in(contexts: Sequence[str | None], of: Iterable[str]) -> NDArray[np.int32]:
    numbers: dict[str | None, int] = {None: -1, **{text: row for row, text in enumerate(of)}}
    return np.fromiter((numbers[text] for text in contexts), np.int32, len(contexts))
