"""Lists as they are answered."""

from typing import TYPE_CHECKING, Any, NamedTuple

from recsys.serving.listing import RankedItem
from recsys.serving.paging import Page

if TYPE_CHECKING:
    from recsys.serving.scores import ScoredItem


class RankedList(NamedTuple):
    """An answer, from one pinned version.

    Parameters
    ----------
    items : tuple of RankedItem
        Best first; as many as asked for when the catalogue allows it.
    model_version : str
    model_created_at : str
        As the manifest says.
    strategy : str
        Where the scores come from: the kind of the model (als, ...), fold_in, context, popular, trending or similar.
    degraded : bool
        Something the answer should have used was out of reach.
    next : Page, optional
        The page after this one; None at the end.
    metadata : tuple of dict, optional
        Of each item the fields that were asked for and that it has.
    explained : tuple of ScoredItem, optional
        What the model predicts for each item, and what that consists of; nothing for one it does not know.
    tag : str
        Another one for every other list; empty unless it was asked for.
    unchanged : bool
        The reader has a list of this tag: nothing was looked for.
    variant : str, optional
        Of the experiment; None without one, and where the variant's version is gone and the one in service answers.
    """

    items: tuple[RankedItem, ...]
    model_version: str
    model_created_at: str
    strategy: str
    degraded: bool = False
    next: Page | None = None
    metadata: tuple[dict[str, Any], ...] | None = None
    explained: "tuple[ScoredItem, ...] | None" = None
    tag: str = ""
    unchanged: bool = False
    variant: str | None = None
