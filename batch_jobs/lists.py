"""Lists on the terminal, with titles: the same service, and so the same lists, as the API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from batch_jobs.console import Screen
from batch_jobs.stores import Stores
from recsys.ids import encode_id


def recommend(
    stores: Stores, namespace: str, user: str | None, similar_to: str | None, k: int, screen: Screen
) -> dict[str, Any]:
    """Show a user's list, the items like `similar_to`, or the popular ones."""
    service = stores.service()
    if user is not None:
        encode_id(user)
        title, found = f"for user {user}", service.recommend(namespace, user, k)
    elif similar_to is not None:
        title, found = f"like item {similar_to}", service.similar(namespace, similar_to, k)
    else:
        title, found = "popular", service.popular(namespace, k)
    metadata = stores.online.item_metadata(namespace, [one.item for one in found.items])
    rows = [[rank, one.item, *_told(metadata.get(one.item, {})), one.score] for rank, one in enumerate(found.items, 1)]
    screen.rows(
        f"{title}, by {found.strategy}, model {found.model_version}", ["", "item", "title", "genres", "score"], rows
    )
    return asdict(found)


def _told(metadata: dict[str, Any]) -> tuple[str, str]:
    genres = metadata.get("genres", "")
    return str(metadata.get("title", "")), ", ".join(genres) if isinstance(genres, list) else str(genres)
