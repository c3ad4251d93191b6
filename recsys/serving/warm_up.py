"""What happens once per process, done before the first client asks for it."""

from __future__ import annotations

import threading
from contextlib import suppress

from recsys.artifacts.registry import ModelRegistry
from recsys.errors import RecsysError, UnknownItemError
from recsys.serving.service import RecommendationService
from recsys.serving.session import SessionEvent

LIST_LENGTH = 20


class WarmUp:
    """Loads the models in service and asks each of them a few questions.

    Nobody's queries are recorded for it: items at the beginning, in the middle and at the end of the artefact stand for
    the events of a session.

    Parameters
    ----------
    service : RecommendationService
    registry : ModelRegistry
        Knows what is in service.
    """

    def __init__(self, service: RecommendationService, registry: ModelRegistry) -> None:
        self._service = service
        self._registry = registry
        self._lock = threading.Lock()
        self._done = False

    def ready(self) -> bool:
        """Warm up unless it is done or another thread is at it; return whether clients may come.

        They may where nothing is published yet, and once any namespace answers: what is wrong with another is that
        one's own trouble. Raises a `RecsysError` if none does.
        """
        if self._done:
            return True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            namespaces = self._registry.namespaces()
            failures = [error for one in namespaces if (error := self._failure(one)) is not None]
            if failures and len(failures) == len(namespaces):
                raise failures[0]
            self._done = bool(namespaces)
            return True
        finally:
            self._lock.release()

    def _failure(self, namespace: str) -> RecsysError | None:
        """Ask for a list of every kind; return why there is none."""
        try:
            model = self._service.models.current(namespace)
            items = model.items
            rows = sorted({0, len(items) // 2, len(items) - 1}) if len(items) else []
            session = [SessionEvent(items.id(row)) for row in rows]
            self._service.recommend(namespace, "nobody", LIST_LENGTH, events=session)
            self._service.popular(namespace, LIST_LENGTH)
            for event in session:
                with suppress(UnknownItemError):  # deleted since the training
                    self._service.similar(namespace, event.item, LIST_LENGTH)
            model.give_back()
        except RecsysError as error:
            return error
        return None
