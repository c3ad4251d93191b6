"""`RecommendationService`: what every face of the suite asks, be it REST, the command line or a batch job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import (
    ArtifactError,
    NoModelError,
    PageGoneError,
    RecsysError,
    StorageError,
    UnknownItemError,
)
from recsys.serving.answers import RankedList
from recsys.serving.catalogue import Catalogue
from recsys.serving.knowledge import Knowledge
from recsys.serving.listing import Ranking, listed
from recsys.serving.loader import ModelLoader, ServedModel
from recsys.serving.online import NO_END, OnlineStore
from recsys.serving.paging import NOTHING_KNOWN, WHOLE, Page, Reading, check_same, fingerprint
from recsys.serving.query import Query
from recsys.serving.records import Records
from recsys.serving.searches import POPULAR, SIMILAR, TRENDING, for_all, for_somebody, similar_to

if TYPE_CHECKING:
    from recsys.serving.because import Rows
    from recsys.serving.experiments import Variant
    from recsys.serving.exploration import Explored
    from recsys.serving.rules import Rules
    from recsys.serving.scores import ScoredItems
    from recsys.serving.session import SessionEvent

HALF_LIFE_H = 30 * 24.0
NOTHING = Knowledge.nothing()


class RecommendationService(Records):
    """Lists from the published model and the online store.

    Parameters
    ----------
    models : ModelLoader
    online : OnlineStore
    clock : callable
        Returns UTC seconds; the time of a request that does not say its own.
    """

    def __init__(self, models: ModelLoader, online: OnlineStore, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(models, online, clock)
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
            from recsys.serving.exploration import Explored

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
        reading: Reading = WHOLE,
    ) -> RankedList:
        """Return named, distinct items in a user's order, also those the user has; the best k, or all.

        Scores are those of `recommend`, parameters and errors too. Items that only the catalogue knows come last.
        `UnknownItemError` names an item that nobody knows, or that was deleted, as ``items[3]``.
        """
        model, variant, missed, now_s = self._served(namespace, user, reading.page)
        query, known = self._asked(namespace, user, model, context or {}, events, now_s, reading.page)
        rows = self._item_rows(namespace, model, items, known, new_ones=True)
        new = frozenset(item for item, row in zip(items, rows.tolist(), strict=True) if row < 0)
        strategy, search = for_somebody(model, query, context, among=rows[rows >= 0])
        ranking = Ranking(model, strategy, search, new=new)
        found = self._listed(namespace, ranking, k or len(items), rules, now_s, reading, known, query)
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
        """Return the k nearest items by cosine of the item vectors.

        To an item that only the catalogue knows yet nothing is near: popular ones come instead, and so they do where
        the store that would know it is out of reach. `UnknownItemError` if nobody knows it, or if it was deleted.
        """
        model, now_s = self._pinned(namespace, reading.page)
        row = model.items.row(item)
        if row >= 0:
            ranking = Ranking(model, SIMILAR, similar_to(model, row), like=item)
            return self._listed(namespace, ranking, k, rules, now_s, reading)
        known = self._knows(namespace, model, item)
        ranking = Ranking(model, POPULAR, for_all(model.popularity), frozenset({item}), item)
        found = self._listed(namespace, ranking, k, rules, now_s, reading)
        return found if known else found._replace(degraded=True, tag="")

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

        They are popular ones where no event has a time. It has no tag: it changes with every event.
        """
        model, now_s = self._pinned(namespace, reading.page)
        model.trend.refresh(namespace, self.online, self.clock())
        index = model.trend.index(half_life_h)
        strategy, search = (POPULAR, for_all(model.popularity)) if index is None else (TRENDING, for_all(index))
        untagged = reading._replace(asked=b"")
        found = self._listed(namespace, Ranking(model, strategy, search), k, rules, now_s, untagged)
        return found if model.trend.is_whole else found._replace(degraded=True)

    def because(
        self,
        namespace: str,
        user: str,
        n_rows: int,
        k: int,
        *,
        rules: Rules | None = None,
        reading: Reading = WHOLE,
    ) -> Rows:
        """Return, for each of the newest items a user liked, the k nearest ones; none twice, and none the user has.

        Rows have neither pages nor tags.
        """
        from recsys.serving.because import rows_of

        model, variant, missed, now_s = self._served(namespace, user)
        known = Knowledge.of(user, namespace, model, self.online)
        catalogue, degraded = self._catalogue(namespace, known, rules)
        whole = Reading(include=reading.include)

        def listed(ranking: Ranking) -> RankedList:
            return self._listed(namespace, ranking, k, rules, now_s, whole, known)

        found = rows_of(model, known, catalogue.removed, n_rows, listed, degraded=degraded or missed)
        if rules is not None and not found.rows:  # whether they can be used does not depend on who asks
            listed(Ranking(model, POPULAR, for_all(model.popularity)))
        return found._replace(variant=variant and variant.name)

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
        tag = ""
        if reading.asked:
            tag = reading.tag(page.version, page.known, features, ranking.strategy, catalogue.head, degraded)
        answer = RankedList((), manifest.version, manifest.created_at, ranking.strategy, degraded, tag=tag)
        if tag and not reading.unless.isdisjoint((tag, "*")):
            return answer._replace(unchanged=True)
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

    def _knows(self, namespace: str, model: ServedModel, item: str) -> bool:
        """Whether the store knows an item; False where it cannot be asked, `UnknownItemError` where it does not."""
        try:
            if self.online.item_metadata(namespace, [item]):
                return True
        except (StorageError, ArtifactError):
            return False
        raise UnknownItemError(f"item {item!r} is not in the catalogue of model {model.manifest.version}")
