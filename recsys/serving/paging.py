"""A list page by page: each page is the best of what was not served yet, under what the first one went by.

So pages never overlap, whatever happens between them, and without rules that count places they are the one long list.
"""

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from recsys.errors import PageGoneError, StorageError

if TYPE_CHECKING:
    from recsys.serving.knowledge import Knowledge
    from recsys.serving.listing import RankedItem

LONGEST_WALK = 1000
"""Items of all pages together."""
MOST_NAMES = 2500
"""Bytes of the names of new items that were served: a walk ends where there are more."""
NOTHING_KNOWN = bytes(8)


class Page(NamedTuple):
    """Where a walk through a list is: all that its next page depends on, beside the request and the catalogue.

    Parameters
    ----------
    version : str
        Of the model.
    now_s : float
        Time of the walk, UTC seconds.
    through : int
        Position of the user's newest event that counts.
    known : bytes
        Of what is known of the user, 8 bytes; zeros where that was out of reach.
    request : bytes
        Of the request, 16 bytes, as who reads the list says.
    rows : tuple of int
        Items of the model that were served, ascending.
    items : tuple of str
        Items that were served and no model knows.
    """

    version: str
    now_s: float
    through: int
    known: bytes
    request: bytes
    rows: tuple[int, ...] = ()
    items: tuple[str, ...] = ()

    @property
    def began(self) -> bool:
        """Whether there was a page before."""
        return bool(self.rows or self.items)

    @property
    def left(self) -> int:
        """Places that are left of the walk."""
        return LONGEST_WALK - len(self.rows) - len(self.items)

    def then(self, found: "list[tuple[int, RankedItem]]") -> "Page | None":
        """Return where the walk is after a page, None if it ends there."""
        rows = sorted([*self.rows, *[row for row, _ in found if row >= 0]])
        items = (*self.items, *[one.item for row, one in found if row < 0])
        after = self._replace(rows=tuple(rows), items=items)
        return after if after.left > 0 and len("".join(items).encode()) <= MOST_NAMES else None


class Reading(NamedTuple):
    """How somebody reads a list.

    Parameters
    ----------
    request : bytes
        Of the request, 16 bytes: what a page has to be a page of.
    page : Page, optional
        Where the walk is; the list begins with its first page.
    include : tuple of str
        Fields of the items to come with them.
    explain : bool
        Whether each item comes with what its score consists of.
    asked : bytes
        Of the rest of the request, page and fields: with `request`, what a tag is a tag of. Nothing where none is
        wanted.
    unless : frozenset of str
        Tags of lists that need not be found again.
    """

    request: bytes = bytes(16)
    page: Page | None = None
    include: tuple[str, ...] = ()
    explain: bool = False
    asked: bytes = b""
    unless: frozenset[str] = frozenset()

    def tag(self, *state: object) -> str:
        """Return the name of a list: another one if any of what it is made from is another."""
        return hashlib.blake2b(self.request + self.asked + repr(state).encode(), digest_size=16).hexdigest()


WHOLE = Reading()


def fingerprint(known: "Knowledge") -> bytes:
    """Return 8 bytes of what is known of a user: published states never change, but they are dropped, as events are."""
    if known.degraded:
        return NOTHING_KNOWN
    counts = (known.state is not None, known.through, len(known.seen), sorted(known.unmodelled))
    recent = known.recent_items.tobytes() + known.recent_weights.tobytes()
    return hashlib.blake2b(recent + repr(counts).encode(), digest_size=8).digest()


def check_same(page: Page, known: "Knowledge") -> None:
    """Raise `PageGoneError` if other things are known of the user than when the walk began, those later left out."""
    if fingerprint(known) != page.known:
        if known.degraded:
            raise StorageError("what the walk goes by cannot be read")
        raise PageGoneError("what was known of the user when this walk through the list began is gone: start again")
