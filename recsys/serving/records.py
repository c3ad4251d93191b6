"""What the service is told: events, what was shown, items and their fields, experiments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys.errors import NotFoundError, UnknownItemError
from recsys.events import InteractionEvent
from recsys.serving.loader import ModelLoader
from recsys.serving.online import OnlineStore

if TYPE_CHECKING:
    from recsys.impressions import ImpressionEvent


class Records:
    """Takes note of all that for namespaces that have a model, and tells of it.

    Parameters
    ----------
    models : ModelLoader
    online : OnlineStore
    clock : callable
        Returns UTC seconds.
    """

    def __init__(self, models: ModelLoader, online: OnlineStore, clock: Callable[[], float]) -> None:
        self.models, self.online, self.clock = models, online, clock

    def record_events(self, namespace: str, events: Sequence[InteractionEvent]) -> int:
        """Store events; the next list of their users takes them into account. Return how many were new."""
        self.models.require(namespace)  # an event for a namespace that does not exist would never be read
        return self.online.append_events(namespace, events)

    def record_impressions(self, namespace: str, impressions: Sequence[ImpressionEvent]) -> int:
        """Store what was shown; return how many were new, as far as the store knows. No list goes by it."""
        self.models.require(namespace)
        return self.online.append_impressions(namespace, impressions)

    def put_experiment(self, namespace: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Split the users of a namespace from now on, as `Experiment.of` says; return it as it is stored.

        Raises
        ------
        DataError
            Naming the field that cannot be used, be it a version that is none or has no user states.
        """
        from recsys.serving.experiments import checked

        stored = checked(document, namespace, self.models, self.online) | {"started_at": self._now()}
        self.models.registry.put_experiment(namespace, stored)
        self.models.look_again(namespace)
        return stored

    def experiment(self, namespace: str) -> dict[str, Any] | None:
        """Return the last experiment, with `ended_at` if it was ended; None if there never was one."""
        self.models.require(namespace)
        return self.models.registry.experiment(namespace)

    def end_experiment(self, namespace: str) -> dict[str, Any]:
        """Give everybody the version in service again; `NotFoundError` if no experiment runs."""
        document = self.experiment(namespace)
        if document is None or document.get("ended_at"):
            raise NotFoundError(f"no experiment runs in namespace {namespace!r}")
        ended = document | {"ended_at": self._now()}
        self.models.registry.put_experiment(namespace, ended)
        self.models.look_again(namespace)
        return ended

    def put_item(self, namespace: str, item: str, metadata: Mapping[str, Any]) -> None:
        """Store what is known of an item; every list that is asked for from now on goes by it.

        Raises
        ------
        DataError
            Naming a declared field whose value is none of its kind.
        """
        from recsys.serving.fields import checked_metadata

        self.models.require(namespace)
        checked_metadata(metadata, self.online.catalogue_head(namespace).fields)
        self.online.put_items(namespace, {item: metadata})

    def item(self, namespace: str, item: str) -> dict[str, Any]:
        """Return what is known of an item, nothing of one that only the model knows; else `UnknownItemError`."""
        model = self.models.current(namespace)
        found = self.online.item_metadata(namespace, [item])
        if item not in found and (model.items.row(item) < 0 or item in self.online.removed_items(namespace)):
            raise UnknownItemError(f"item {item!r} is not in the catalogue")
        return found.get(item, {})

    def delete_item(self, namespace: str, item: str) -> None:
        """Take an item out of every list that is asked for from now on; `UnknownItemError` if it is in none."""
        self.item(namespace, item)
        self.online.delete_items(namespace, [item])

    def put_fields(self, namespace: str, fields: Mapping[str, str]) -> dict[str, str]:
        """Declare the fields that rules may name, in place of those before; `DataError` names one that cannot be."""
        from recsys.serving.fields import checked_fields

        self.models.require(namespace)
        declared = checked_fields(fields)
        self.online.put_fields(namespace, declared)
        return declared

    def fields(self, namespace: str) -> dict[str, str]:
        """Return the declared fields."""
        self.models.require(namespace)
        return dict(self.online.catalogue_head(namespace).fields)

    def _now(self) -> str:
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="milliseconds")
