"""From settings to the service, once per container and not before the first request."""

from functools import cache

from chalicelib.settings import settings
from recsys.serving import ModelLoader, OnlineStore, RecommendationService
from recsys.stores import artifact_store, model_registry, online_store


@cache
def online() -> OnlineStore:
    """Return the online store of this container."""
    return online_store(settings().online)


@cache
def service() -> RecommendationService:
    """Return the service of this container."""
    chosen = settings()
    return RecommendationService(
        ModelLoader(artifact_store(chosen.artifacts), model_registry(chosen.registry)), online()
    )
