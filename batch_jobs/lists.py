"""Lists on the terminal, with titles: the same service, and so the same lists, as the API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from batch_jobs.console import Screen
from batch_jobs.stores import Stores
from recsys.errors import NoModelError
from recsys.ids import encode_id
from recsys.serving import RankedList


def recommend(
    stores: Stores, namespace: str, user: str | None, similar_to: str | None, k: int, screen: Screen
) -> dict[str, Any]:
    """Show a user's list, the items like `similar_to`, or the popular ones."""
    try:
        title, found = _asked(stores, namespace, user, similar_to, k)
    except NoModelError as error:
        raise NoModelError(f"{error}. Run: recsys nightly") from error
    metadata = stores.online.item_metadata(namespace, [one.item for one in found.items])
    told = [_told(metadata.get(one.item, {})) for one in found.items]
    # A column that is empty for all of them says nothing.
    known = [at for at in (0, 1) if any(one[at] for one in told)]
    rows = [
        [rank, one.item, *(texts[at] for at in known), one.score]
        for rank, (one, texts) in enumerate(zip(found.items, told, strict=True), 1)
    ]
    by = "" if user is None and similar_to is None else f", by {found.strategy}"
    columns = ["", "item", *(("title", "genres")[at] for at in known), "score"]
    screen.rows(f"{title}{by}, model {found.model_version}", columns, rows)
    return asdict(found)


def _asked(stores: Stores, namespace: str, user: str | None, similar_to: str | None, k: int) -> tuple[str, RankedList]:
    service = stores.service()
    if user is not None:
        encode_id(user)
        return f"for user {user}", service.recommend(namespace, user, k)
    if similar_to is not None:
        return f"like item {similar_to}", service.similar(namespace, similar_to, k)
    return "popular items", service.popular(namespace, k)


def _told(metadata: dict[str, Any]) -> tuple[str, str]:
    """Title and genres of an item, by the names that item tables give them."""
    named = {name.casefold(): value for name, value in metadata.items()}
    title = next((named[name] for name in ("title", "name") if named.get(name)), "")
    genres = next((named[name] for name in ("genres", "genre", "categories", "category") if named.get(name)), "")
    return str(title), ", ".join(map(str, genres)) if isinstance(genres, list) else str(genres)
