"""`RecommendationService`: what every face of the suite asks, be it REST, the command line or a batch job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import (
    ArtifactError,
    NoModelError,
    NotFoundError,
    PageGoneError,
    RecsysError,
    StorageError,
    UnknownItemError,
)
from recsys.events import InteractionEvent
from recsys.serving.catalogue import Catalogue
from recsys.serving.knowledge import Knowledge, SessionEvent
from recsys.serving.listing import Found, RankedItem, Ranking, listed
from recsys.serving.loader import ModelLoader, ServedModel
from recsys.serving.online import NO_END, OnlineStore
from recsys.serving.paging import NOTHING_KNOWN, WHOLE, Page, Reading, check_same, fingerprint
from recsys.serving.query import Query
from recsys.serving.searches import POPULAR, SIMILAR, TRENDING, for_all, for_somebody, similar_to

if TYPE_CHECKING:
    from recsys.impressions import ImpressionEvent
    from recsys.serving.because import Rows
    from recsys.serving.experiments import Exploration, Variant
    from recsys.serving.rules import Rules
    from recsys.serving.scores import ScoredItem, ScoredItems

HALF_LIFE_H = 7 * 24.0
NOTHING = Knowledge.nothing()


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
        Where the scores come from: the kind of the model (als, ...), fold_in, context, popular, trending or similar.
    degraded : bool
        Something the answer should have used was out of reach.
    next : Page, optional
        The page after this one; None at the end.
    metadata : tuple of dict, optional
        Of each item the fields that were asked for and that it has.
    explained : tuple of ScoredItem, optional
        What the model predicts for each item, and what that consists of; nothing for one it does not know.
    tag : str
        Another one for every other list; empty unless it was asked for.
    unchanged : bool
        The reader has a list of this tag: nothing was looked for.
    variant : str, optional
        Of the experiment; None without one, and where the variant's version is gone and the one in service answers.
    """

    items: tuple[RankedItem, ...]
    model_version: str
    model_created_at: str
    strategy: str
    degraded: bool = False
    next: Page | None = None
    metadata: tuple[dict[str, Any], ...] | None = None
    explained: tuple[ScoredItem, ...] | None = None
    tag: str = ""
    unchanged: bool = False
    variant: str | None = None


class Explored(NamedTuple):
    """How places are filled at random; the same seed fills the same."""

    how: Exploration
    seed: str

    def shown(self, pool: Found, k: int) -> Found:
        """Return k items of the pool, with their propensities."""
        from recsys.serving.exploration import with_explored

        rows = {one.item: row for row, one in pool}
        return [(rows[one.item], one) for one in with_explored([one for _, one in pool], k, self.how, self.seed)]


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
        reading: Reading = WHOLE,
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
        reading : Reading
            From which page on, and with what beside each item.
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
        PageGoneError
            If the model of the page, or what it knew of the user, is gone.
        """
        model, variant, missed, now_s = self._served(namespace, user, reading.page)
        query, known = self._asked(namespace, user, model, context or {}, events, now_s, reading.page)
        strategy, search = for_somebody(model, query, context, exclude=known.seen)
        ranking, explore = Ranking(model, strategy, search, known.unmodelled), None
        if variant is not None and reading.asked:
            reading = reading._replace(asked=reading.asked + variant.name.encode())
        if variant is not None and variant.exploration is not None and request_id is not None:
            explore = Explored(variant.exploration, request_id)
            reading = reading._replace(asked=b"")  # no tag: the next list is another
        found = self._listed(namespace, ranking, k, rules, now_s, reading, known, query, explore)
        return found._replace(variant=variant and variant.name, degraded=found.degraded or missed)

    def rerank(
        self,
        namespace: str,
        user: str,
        items: Sequence[str],
        k: int | None = None,
        *,
        context: Mapping[str, Any] | None = None,
        events: Sequence[SessionEvent] = (),
        rules: Rules | None = None,
    ) -> RankedList:
        """Return named, distinct items in a user's order, also those the user has; the best k, or all.

        Scores are those of `recommend`, parameters and errors too. Items that only the catalogue knows come last.
        `UnknownItemError` names an item that nobody knows, or that was deleted, as ``items[3]``.
        """
        model, variant, missed, now_s = self._served(namespace, user)
        query, known = self._asked(namespace, user, model, context or {}, events, now_s)
        rows = self._item_rows(namespace, model, items, known, new_ones=True)
        new = frozenset(item for item, row in zip(items, rows.tolist(), strict=True) if row < 0)
        strategy, search = for_somebody(model, query, context, among=rows[rows >= 0])
        ranking = Ranking(model, strategy, search, new=new)
        found = self._listed(namespace, ranking, k or len(items), rules, now_s, WHOLE, known, query)
        return found._replace(next=None, variant=variant and variant.name, degraded=found.degraded or missed)

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
        `UnknownItemError`, naming it as ``items[3]``, if the model lacks an item, or it was deleted.
        """
        from recsys.serving.scores import ScoredItems, scored

        model, variant, missed, now_s = self._served(namespace, user)
        query, known = self._asked(namespace, user, model, context or {}, (), now_s)
        rows = self._item_rows(namespace, model, items, known)
        degraded = missed or known.degraded or self.models.degraded(namespace)
        found, manifest = scored(model, query, rows, explain=explain), model.manifest
        of_variant = variant and variant.name
        return ScoredItems(found, manifest.version, manifest.created_at, query.strategy, degraded, of_variant)

    def similar(
        self, namespace: str, item: str, k: int, *, rules: Rules | None = None, reading: Reading = WHOLE
    ) -> RankedList:
        """Return the k nearest items by cosine of the item vectors; `UnknownItemError` if the model lacks the item."""
        model, now_s = self._pinned(namespace, reading.page)
        search = similar_to(model, _item_row(model, item))
        return self._listed(namespace, Ranking(model, SIMILAR, search, like=item), k, rules, now_s, reading)

    def popular(self, namespace: str, k: int, *, rules: Rules | None = None, reading: Reading = WHOLE) -> RankedList:
        """Return the k items most users have."""
        model, now_s = self._pinned(namespace, reading.page)
        ranking = Ranking(model, POPULAR, for_all(model.popularity))
        return self._listed(namespace, ranking, k, rules, now_s, reading)

    def trending(
        self,
        namespace: str,
        k: int,
        *,
        half_life_h: float = HALF_LIFE_H,
        rules: Rules | None = None,
        reading: Reading = WHOLE,
    ) -> RankedList:
        """Return the k items with most events, an event counting half with every half-life since; see `Trend`.

        They are popular ones where no event has a time.
        """
        model, now_s = self._pinned(namespace, reading.page)
        model.trend.refresh(namespace, self.online, self.clock())
        index = model.trend.index(half_life_h)
        strategy, search = (POPULAR, for_all(model.popularity)) if index is None else (TRENDING, for_all(index))
        reading = reading._replace(asked=b"")  # no tag: every event may make it another list
        found = self._listed(namespace, Ranking(model, strategy, search), k, rules, now_s, reading)
        return found if model.trend.is_whole else found._replace(degraded=True)

    def because(self, namespace: str, user: str, n_rows: int, k: int, *, rules: Rules | None = None) -> Rows:
        """Return, for each of the newest items a user liked, the k nearest ones; none twice, and none the user has."""
        from recsys.serving.because import NO_HISTORY, Rows, rows_of

        model, variant, missed, now_s = self._served(namespace, user)
        known, manifest = Knowledge.of(user, namespace, model, self.online), model.manifest
        catalogue, degraded = self._catalogue(namespace, known, rules)

        def listed(ranking: Ranking) -> tuple[RankedItem, ...]:
            return self._listed(namespace, ranking, k, rules, now_s, WHOLE, known).items

        found = tuple(rows_of(model, known, catalogue.removed, n_rows, listed))
        strategy, of_variant = SIMILAR if found else NO_HISTORY, variant and variant.name
        return Rows(found, manifest.version, manifest.created_at, strategy, degraded or missed, of_variant)

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

    def _pinned(self, namespace: str, page: Page | None) -> tuple[ServedModel, float]:
        """Return the model of a walk and its time, at the beginning those of now."""
        if page is None:
            return self.models.current(namespace), self.clock()
        try:
            return self.models.pinned(namespace, page.version), page.now_s
        except NoModelError:
            raise PageGoneError(
                f"model version {page.version} of this walk through the list is gone: start again"
            ) from None

    def _served(
        self, namespace: str, user: str | None, page: Page | None = None
    ) -> tuple[ServedModel, Variant | None, bool, float]:
        """Return the model of the user's variant or walk, the variant, whether its version is gone, and the time."""
        (model, now_s), experiment = self._pinned(namespace, page), self.models.experiment(namespace)
        if experiment is None:
            return model, None, False, now_s
        variant = experiment.variant_of(namespace, user)
        try:
            own = self.models.pinned(namespace, variant.pinned) if variant.pinned else self.models.current(namespace)
        except RecsysError:
            return model, None, page is None, now_s
        if page is not None:  # a walk that began before the experiment is none of it
            return model, variant if own.manifest.version == page.version else None, False, now_s
        return own, variant, False, now_s

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
        now_s: float,
        page: Page | None = None,
    ) -> tuple[Query, Knowledge]:
        if user is None:
            known = NOTHING
        elif page is not None and page.known == NOTHING_KNOWN:  # a walk goes on as it began
            known = Knowledge.nothing(degraded=True)
        else:
            known = Knowledge.of(user, namespace, model, self.online, page.through if page else NO_END)
        known = known.then(events, model)
        if page is not None:
            check_same(page, known)
        return Query.of(model, known, context, now_s), known

    def _listed(
        self,
        namespace: str,
        ranking: Ranking,
        k: int,
        rules: Rules | None,
        now_s: float,
        reading: Reading,
        known: Knowledge = NOTHING,
        query: Query | None = None,
        explore: Explored | None = None,
    ) -> RankedList:
        """Return a list from the catalogue as it is now, or, with the store out of reach, as it was known last."""
        catalogue, degraded = self._catalogue(namespace, known, rules)
        manifest = ranking.model.manifest
        # Of lists that do not change with time the cursors do not either.
        is_popular = ranking.strategy == POPULAR and not reading.explain
        features = [] if query is None or is_popular else query.features.tolist()
        is_timed = features or (rules is not None and rules.freshness)
        first = Page(manifest.version, now_s if is_timed else 0.0, known.through, fingerprint(known), reading.request)
        page = reading.page or first
        answer = RankedList((), manifest.version, manifest.created_at, ranking.strategy, degraded)
        if reading.asked:
            tag = reading.tag(page.version, page.known, features, ranking.strategy, catalogue.head, degraded)
            answer = answer._replace(tag=tag, unchanged=not reading.unless.isdisjoint((tag, "*")))
        if answer.unchanged:
            return answer
        places = min(k, page.left) if page.began else k
        pool = max(places, explore.how.pool) if explore else places
        found = listed(ranking, catalogue, max(places + 1, pool), rules, page)
        is_more = len(found) > places
        found = explore.shown(found[:pool], places) if explore else found[:places]
        after = page.then(found) if is_more else None
        answer = answer._replace(items=tuple(one for _, one in found), next=after)
        if reading.explain and query is not None:
            from recsys.serving.scores import explained

            answer = answer._replace(explained=explained(ranking.model, query, found))
        return self._described(namespace, answer, reading.include) if reading.include else answer

    def _catalogue(self, namespace: str, known: Knowledge, rules: Rules | None) -> tuple[Catalogue, bool]:
        """Return the catalogue as it is now, and whether anything that is wanted for a list is out of reach."""
        degraded = known.degraded
        # Not `setdefault` alone: it would make a catalogue for every request.
        catalogue = self._catalogues.get(namespace) or self._catalogues.setdefault(
            namespace, Catalogue(namespace, self.online)
        )
        try:
            catalogue.refresh(known.head or self.online.catalogue_head(namespace))
        except (StorageError, ArtifactError):
            if rules is not None and not catalogue.is_known:
                raise
            degraded = True
        return catalogue, degraded or self.models.degraded(namespace)

    def _described(self, namespace: str, answer: RankedList, fields: tuple[str, ...]) -> RankedList:
        """Add what is known of the items; nothing where it is out of reach."""
        items, told, degraded = [one.item for one in answer.items], {}, answer.degraded
        try:
            told = self.online.item_metadata(namespace, items)
        except (StorageError, ArtifactError):
            degraded = True
        of_items = (told.get(item, {}) for item in items)
        metadata = tuple({name: one[name] for name in fields if name in one} for one in of_items)
        return answer._replace(metadata=metadata, degraded=degraded)

    def _item_rows(
        self, namespace: str, model: ServedModel, items: Sequence[str], known: Knowledge, *, new_ones: bool = False
    ) -> NDArray[np.int32]:
        """Return the rows of named items, -1 for those that only the catalogue knows, where such are asked for."""
        rows = np.array([model.items.row(item) for item in items], np.int32)
        catalogue, _ = self._catalogue(namespace, known, None)
        unknown = [items[n] for n in np.flatnonzero(rows < 0).tolist()]
        new = self.online.item_metadata(namespace, unknown) if new_ones and unknown else {}
        for place, (item, row) in enumerate(zip(items, rows.tolist(), strict=True)):
            if item in catalogue.removed or (row < 0 and item not in new):
                reason = f"item {item!r} is not in the catalogue of model {model.manifest.version}, or was deleted"
                raise UnknownItemError(reason, field=f"items[{place}]")
        return rows


def _item_row(model: ServedModel, item: str) -> int:
    row = model.items.row(item)
    if row < 0:
        raise UnknownItemError(f"item {item!r} is not in the catalogue of model {model.manifest.version}")
    return row
