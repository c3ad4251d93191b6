"""What is held of a user, and their erasure."""

from __future__ import annotations

from typing import NamedTuple

from recsys.artifacts import ModelRegistry
from recsys.serving.loader import ModelLoader
from recsys.serving.online import OnlineStore
from recsys.serving.online.erasures import Erased, Held

SHOWN_EVENTS = 200
PENDING = (
    "files of the event log: no training reads them from now on; the next nightly run writes them without the user",
    "files of lists: the next nightly run, or recsys erase, writes them without the user",
    "stored models trained with the user: they show nothing of the user from now on; they are removed by the nightly "
    "run that puts a model trained without the user into service",
)
"""What an erasure leaves to jobs."""


class HeldAndTrained(NamedTuple):
    """What a store holds, and whether the model in service was trained with the user."""

    held: Held
    trained: bool
    model_version: str


class People:
    """What is known of users.

    Parameters
    ----------
    models : ModelLoader
    registry : ModelRegistry
        Knows every version that was in service.
    online : OnlineStore
    """

    def __init__(self, models: ModelLoader, registry: ModelRegistry, online: OnlineStore) -> None:
        self._models, self._registry, self._online = models, registry, online

    def held(self, namespace: str, user: str) -> HeldAndTrained:
        """Return what is held of a user: empty parts where that is nothing."""
        version = self._models.current(namespace).manifest.version
        state = self._online.user_state(namespace, version, user)
        return HeldAndTrained(self._online.held(namespace, user, limit=SHOWN_EVENTS), state is not None, version)

    def erase(self, namespace: str, user: str) -> Erased:
        """Erase a user; what has to wait for a job is in `PENDING`."""
        self._models.require(namespace)
        versions = {entry.version for entry in self._registry.history(namespace)}
        return self._online.erase_user(namespace, user, versions=versions)
