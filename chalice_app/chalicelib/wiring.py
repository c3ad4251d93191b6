"""From the environment to the service, once per container and not before the first request."""

from functools import cache

from recsys.serving import RecommendationService
from recsys.stores import ServingStores


@cache
def stores() -> ServingStores:
    """Return the stores of this container."""
    return ServingStores.from_environment()


@cache
def service() -> RecommendationService:
    """Return the service of this container."""
    return stores().service()
