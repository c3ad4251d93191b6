"""Lists on the terminal, with titles: the same service, and so the same lists, as the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batch_jobs.console import Screen
from batch_jobs.stores import Stores
from recsys.errors import NoModelError
from recsys.ids import encode_id
from recsys.serving import RankedList

POPULAR_ITEMS = "popular items"


def recommend(
    stores: Stores,
    namespace: str,
    user: str | None,
    similar_to: str | None,
    k: int,
    context: Mapping[str, str],
    screen: Screen,
) -> dict[str, Any]:
    """Show a user's list, that of somebody unknown in a context, the items like `similar_to`, or the popular ones."""
    try:
        title, found = _asked(stores, namespace, user, similar_to, k, context)
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
    by = "" if title == POPULAR_ITEMS else f", by {found.strategy}"
    columns = ["", "item", *(("title", "genres")[at] for at in known), "score"]
    screen.rows(f"{title}{by}, model {found.model_version}", columns, rows)
    items = [{"item": one.item, "score": one.score, "reason": one.reason} for one in found.items]
    told_of_all = ("model_version", "model_created_at", "strategy", "degraded", "variant")
    return {"items": items, **{name: getattr(found, name) for name in told_of_all}}


def _asked(
    stores: Stores, namespace: str, user: str | None, similar_to: str | None, k: int, context: Mapping[str, str]
) -> tuple[str, RankedList]:
    service = stores.service()
    if user is not None:
        encode_id(user)
    if user is not None or context:
        whose = "somebody unknown" if user is None else f"user {user}"
        where = "".join(f", {name} {value}" for name, value in context.items())
        return f"for {whose}{where}", service.recommend(namespace, user, k, context=context)
    if similar_to is not None:
        return f"like item {similar_to}", service.similar(namespace, similar_to, k)
    return POPULAR_ITEMS, service.popular(namespace, k)


def _told(metadata: dict[str, Any]) -> tuple[str, str]:
    """Title and genres of an item, by the names that item tables give them."""
    named = {name.casefold(): value for name, value in metadata.items()}
    title = next((named[name] for name in ("title", "name") if named.get(name)), "")
    genres = next((named[name] for name in ("genres", "genre", "categories", "category") if named.get(name)), "")
    return str(title), ", ".join(map(str, genres)) if isinstance(genres, list) else str(genres)
