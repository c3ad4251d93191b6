"""`RecommendationService`: what every face of the suite asks, be it REST, the command line or a batch job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ArtifactError, NotFoundError, RecsysError, StorageError, UnknownItemError
from recsys.events import InteractionEvent
from recsys.index import Exclusions
from recsys.serving.catalogue import Catalogue
from recsys.serving.knowledge import Knowledge, SessionEvent
from recsys.serving.listing import RankedItem, Ranking, listed
from recsys.serving.loader import ModelLoader, ServedModel
from recsys.serving.online import OnlineStore
from recsys.serving.query import CONTEXT, Query

if TYPE_CHECKING:
    from recsys.impressions import ImpressionEvent
    from recsys.serving.experiments import Variant
    from recsys.serving.rules import Rules
    from recsys.serving.scores import ScoredItems

POPULAR, SIMILAR = "popular", "similar"
Allowed = NDArray[np.bool_] | None
Boosts = NDArray[np.float32] | None
Found = tuple[NDArray[np.int32], NDArray[np.float32]]
_NO_VECTOR = np.zeros((1, 0), np.float32)


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
        Where the scores come from: the kind of the model (als, ...), fold_in, context, popular or similar.
    degraded : bool
        Something the answer should have used was out of reach.
    variant : str, optional
        Of the experiment; None without one, and where the variant's version is gone and the one in service answers.
    """

    items: tuple[RankedItem, ...]
    model_version: str
    model_created_at: str
    strategy: str
    degraded: bool = False
    variant: str | None = None


class RecommendationService:
    """Lists from the published model and the online store.

    Parameters
    ----------
    models : ModelLoader
    online : OnlineStore
    clock : callable
        Returns UTC seconds; the time of a request that does not say its own.
    """

    def __init__(self, models: ModelLoader, online: OnlineStore, *, clock: Callable[[], float] = time.time) -> None:
        self.models = models
        self.online = online
        self.clock = clock
        self._catalogues: dict[str, Catalogue] = {}

    def recommend(
        self,
        namespace: str,
        user: str | None,
        k: int,
        *,
        context: Mapping[str, Any] | None = None,
        events: Sequence[SessionEvent] = (),
        rules: Rules | None = None,
        request_id: str | None = None,
    ) -> RankedList:
        """Return the top-k for a user, without what they have; popular items for somebody of whom nothing is known.

        The vector is the published one; with events sent since the training, it is folded in from the whole history.
        What the context adds comes on top of it.

        Parameters
        ----------
        namespace : str
        user : str, optional
            None for a session of nobody.
        k : int
        context : mapping of str to value, optional
            By the names of the model's context fields. Hour, weekday and month are those of now where it does not say
            them. It may also hold user attributes: they count for users the model does not know, those of the others
            it was trained with.
        events : sequence of SessionEvent
            Counted after the stored ones, and not stored.
        rules : Rules, optional
            Filters, boosts and the like over the catalogue's declared fields.
        request_id : str, optional
            What places that an experiment explores are drawn by; without one none is explored.

        Raises
        ------
        NoModelError
            If the namespace has no model.
        DataError
            Naming a field of the context that the model does not know, one of a rule that the catalogue does not
            declare, or one whose value has a wrong type.
        StorageError
            If rules are given, the catalogue was never read, and cannot be.
        """
        model, variant, missed = self._served(namespace, user)
        query, known = self._asked(namespace, user, model, context or {}, events)
        exclude = Exclusions.of_one(known.seen)
        if query.strategy == CONTEXT and not context:
            strategy, index, vector = POPULAR, model.popularity, _NO_VECTOR
        else:
            strategy, index, vector = query.strategy, model.index, query.vector

        def search(k: int, allowed: Allowed, boost: Boosts) -> Found:
            rows, scores = index.search(vector, k, exclude=exclude, allowed=allowed, boost=boost)
            return rows[0], scores[0]

        ranking = Ranking(model, strategy, search, known.unmodelled)
        if variant is None or variant.exploration is None or request_id is None:
            found = self._listed(namespace, ranking, k, rules, known)
        else:
            from recsys.serving.exploration import with_explored

            wide = self._listed(namespace, ranking, max(k, variant.exploration.pool), rules, known)
            found = wide._replace(items=with_explored(wide.items, k, variant.exploration, request_id))
        return found._replace(variant=variant and variant.name, degraded=found.degraded or missed)

    def scores(
        self,
        namespace: str,
        user: str | None,
        items: Sequence[str],
        *,
        context: Mapping[str, Any] | None = None,
        explain: bool = False,
    ) -> ScoredItems:
        """Return what the model predicts for a user and named items, with `explain` also what it consists of.

        A prediction is a rating or a probability where the model learns one, else the score lists are ranked by.
        Somebody of whom nothing is known is an average user. Parameters and errors as of `recommend`, and
        `UnknownItemError` if the model lacks an item.
        """
        from recsys.serving.scores import ScoredItems, scored

        model, variant, missed = self._served(namespace, user)
        rows = np.array([_item_row(model, item) for item in items], np.int32)
        query, known = self._asked(namespace, user, model, context or {}, ())
        degraded = missed or known.degraded or self.models.degraded(namespace)
        found, manifest = scored(model, query, rows, explain=explain), model.manifest
        of_variant = variant and variant.name
        return ScoredItems(found, manifest.version, manifest.created_at, query.strategy, degraded, of_variant)

    def similar(self, namespace: str, item: str, k: int, *, rules: Rules | None = None) -> RankedList:
        """Return the k nearest items by cosine of the item vectors; `UnknownItemError` if the model lacks the item."""
        model = self.models.current(namespace)
        row = _item_row(model, item)

        def search(k: int, allowed: Allowed, boost: Boosts) -> Found:
            rows, scores = model.cosine_index.similar(row, k, allowed=allowed, boost=boost)
            return rows[0], scores[0]

        return self._listed(namespace, Ranking(model, SIMILAR, search, like=item), k, rules)

    def popular(self, namespace: str, k: int, *, rules: Rules | None = None) -> RankedList:
        """Return the k items most users have."""
        model = self.models.current(namespace)

        def search(k: int, allowed: Allowed, boost: Boosts) -> Found:
            rows, scores = model.popularity.search(_NO_VECTOR, k, allowed=allowed, boost=boost)
            return rows[0], scores[0]

        return self._listed(namespace, Ranking(model, POPULAR, search), k, rules)

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

    def _served(self, namespace: str, user: str | None) -> tuple[ServedModel, Variant | None, bool]:
        """Return the model of the user's variant, the variant, and whether it should be another one that is gone."""
        model, experiment = self.models.current(namespace), self.models.experiment(namespace)
        if experiment is None:
            return model, None, False
        variant = experiment.variant_of(namespace, user)
        try:
            return self.models.pinned(namespace, variant.pinned) if variant.pinned else model, variant, False
        except RecsysError:
            return model, None, True

    def _now(self) -> str:
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="milliseconds")

    def _asked(
        self,
        namespace: str,
        user: str | None,
        model: ServedModel,
        context: Mapping[str, Any],
        events: Sequence[SessionEvent],
    ) -> tuple[Query, Knowledge]:
        known = Knowledge.nothing() if user is None else Knowledge.of(user, namespace, model, self.online)
        known = known.then(events, model)
        return Query.of(model, known, context, self.clock()), known

    def _listed(
        self, namespace: str, ranking: Ranking, k: int, rules: Rules | None, known: Knowledge | None = None
    ) -> RankedList:
        """Return a list from the catalogue as it is now, or, with the store out of reach, as it was known last."""
        degraded = known is not None and known.degraded
        # Not `setdefault` alone: it would make a catalogue for every request.
        catalogue = self._catalogues.get(namespace) or self._catalogues.setdefault(
            namespace, Catalogue(namespace, self.online)
        )
        try:
            catalogue.refresh((known and known.head) or self.online.catalogue_head(namespace))
        except (StorageError, ArtifactError):
            if rules is not None and not catalogue.is_known:
                raise
            degraded = True
        found, manifest = listed(ranking, catalogue, k, rules, self.clock()), ranking.model.manifest
        degraded = degraded or self.models.degraded(namespace)
        return RankedList(tuple(found), manifest.version, manifest.created_at, ranking.strategy, degraded)


def _item_row(model: ServedModel, item: str) -> int:
    row = model.items.row(item)
    if row < 0:
        raise UnknownItemError(f"item {item!r} is not in the catalogue of model {model.manifest.version}")
    return row
