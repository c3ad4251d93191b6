"""From the environment to the service, once per container and not before the first request."""

from collections.abc import Callable
from functools import cache, wraps
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from chalicelib.auth import Gate
from recsys.serving import RecommendationService
from recsys.stores import ServingStores, signing_key

if TYPE_CHECKING:
    from recsys.serving.people import People
    from recsys.serving.versions import Versions
    from recsys.serving.warm_up import WarmUp

Made = TypeVar("Made")
_making = RLock()


def once(make: Callable[[], Made]) -> Callable[[], Made]:
    """Make something once, also where many threads ask first; `functools.cache` would let each of them make one."""
    made = cache(make)

    @wraps(made)
    def get() -> Made:
        with _making:
            return made()

    return get


@once
def stores() -> ServingStores:
    """Return the stores of this container."""
    return ServingStores.from_environment()


@once
def service() -> RecommendationService:
    """Return the service of this container."""
    return stores().service()


@once
def gate() -> Gate:
    """Return what lets requests into this container."""
    return Gate.from_environment(stores().online.keys)


@once
def cursor_key() -> bytes:
    """Return what cursors are signed with."""
    return signing_key("cursors")


@once
def warm_up() -> "WarmUp":
    """Return what gets this container ready."""
    from recsys.serving.warm_up import WarmUp

    return WarmUp(service(), stores().registry)


def people() -> "People":
    """Return what is known of users."""
    from recsys.serving.people import People

    return People(service().models, stores().registry, stores().online)


def versions() -> "Versions":
    """Return the versions, and what moves the pointer among them."""
    from recsys.serving.versions import Versions

    return Versions(stores().artifacts, stores().registry, stores().online)
