"""External ids and rows: the one place where text becomes a number and back."""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError

MAX_ID_CHARACTERS = 256


def encode_id(text: object, field: str | None = None) -> bytes:
    """UTF-8 of an id.

    Raises
    ------
    DataError
        If it is not text of 1 to 256 characters, or holds a lone surrogate; it names the field, if one is given.
    """
    if not isinstance(text, str):
        raise DataError(f"an id is text, not {type(text).__name__}", field=field, remedy=f"Write {str(text)!r}")
    if not 1 <= len(text) <= MAX_ID_CHARACTERS:
        raise DataError(f"an id has 1 to {MAX_ID_CHARACTERS} characters, this one has {len(text)}", field=field)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DataError(f"the id {text!r} holds a lone surrogate, which is not text", field=field) from None


@dataclass(frozen=True, eq=False)
class IdMap:
    """External ids of rows 0..n-1, as three flat arrays that are saved and memory-mapped as they are.

    Parameters
    ----------
    text : ndarray of uint8
        The ids in UTF-8, one after the other in row order.
    offsets : ndarray of shape (n + 1,), int64
        Id of row ``r`` is ``text[offsets[r]:offsets[r + 1]]``.
    order : ndarray of shape (n,), int32
        Rows by ascending id bytes, so that one id is found by bisection without reading the others.

    Examples
    --------
    >>> users = IdMap.from_ids(["anna", "bo"])
    >>> users.row("bo"), users.row("nobody"), users.id(0)
    (1, -1, 'anna')
    """

    text: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    order: NDArray[np.int32]

    @classmethod
    def from_ids(cls, ids: Iterable[str]) -> IdMap:
        """Build from distinct ids in row order; `DataError` names a bad or repeated one."""
        encoded = [encode_id(one) for one in ids]
        if len(encoded) > np.iinfo(np.int32).max:
            raise DataError(f"{len(encoded):,} ids are more than a 32-bit row can count")
        order = sorted(range(len(encoded)), key=encoded.__getitem__)
        for left, right in itertools.pairwise(order):
            if encoded[left] == encoded[right]:
                raise DataError(f"the id {encoded[left].decode()!r} stands twice, in rows {left} and {right}")
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(one) for one in encoded], out=offsets[1:])
        text = np.frombuffer(b"".join(encoded), np.uint8)
        return cls(text, offsets, np.array(order, np.int32))

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        """Show the number of ids and the first three."""
        first = ", ".join(map(repr, self.ids(range(min(len(self), 3)))))
        return f"IdMap({len(self):,} ids{': ' if first else ''}{first}{', ...' if len(self) > 3 else ''})"

    def id(self, row: int) -> str:
        """External id of a row in 0..n-1."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} ids")
        return self._bytes(row).decode()

    def ids(self, rows: Sequence[int] | NDArray[np.integer] | None = None) -> list[str]:
        """External ids of the given rows, of all of them in row order when none are given."""
        if rows is None:
            data, offsets = self.text.tobytes(), self.offsets.tolist()
            return [data[a:b].decode() for a, b in itertools.pairwise(offsets)]
        return [self.id(int(row)) for row in rows]

    def row(self, external: str) -> int:
        """Row of one id, -1 if unknown; bisection, no table is built."""
        # Views: steps through ndarrays take nearly twice as long, and a request with many events takes thousands.
        wanted, order = encode_id(external), self.order.data
        text, offsets = self.text.data, self.offsets.data

        def id_of(row: int) -> bytes:
            return text[offsets[row] : offsets[row + 1]].tobytes()

        place = bisect_left(order, wanted, key=id_of)
        return int(order[place]) if place < len(order) and id_of(order[place]) == wanted else -1

    def encode(self, externals: Iterable[str]) -> NDArray[np.int32]:
        """Rows of many ids, -1 for unknown ones."""
        table = self._table
        return np.fromiter((table.get(one, -1) for one in externals), np.int32)

    def extend(self, externals: Iterable[str]) -> IdMap:
        """Return a new map with the unknown ones of `externals` appended; known rows keep their numbers."""
        unknown = [one for one in dict.fromkeys(externals) if one not in self._table]
        return IdMap.from_ids([*self.ids(), *unknown]) if unknown else self

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids and their rows."""
        digest = hashlib.sha256(np.ascontiguousarray(self.offsets).data)
        digest.update(np.ascontiguousarray(self.text).data)
        return digest.hexdigest()

    @cached_property
    def _table(self) -> dict[str, int]:
        return {one: row for row, one in enumerate(self.ids())}

    def _bytes(self, row: int) -> bytes:
        offsets = self.offsets.data  # views, as in `row`
        return self.text.data[offsets[row] : offsets[row + 1]].tobytes()
