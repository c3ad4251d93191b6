"""The model in memory: found through the pointer, verified, swapped whole, kept when a newer one fails to load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts.artifact import ITEM_SIDE, TREND, item_side
from recsys.artifacts.manifest import ArtifactManifest
from recsys.artifacts.registry import ModelRegistry, Pointer
from recsys.artifacts.store import ArtifactStore, give_back
from recsys.codes import Codes
from recsys.errors import ArtifactError, DataError, NoModelError, RecsysError
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.index import ItemIndex
from recsys.weights import WeightRule

if TYPE_CHECKING:
    from recsys.artifacts.dated_counts import DatedCounts
    from recsys.serving.experiments import Experiment
    from recsys.serving.trending import Trend

_LEAN = 8
"""Requests after which the vectors they touched are given back: with fewer, lists are slower; with more, all stay."""
_SMALL_BYTES = 1 << 26
"""Vectors of a catalogue that are not worth the time."""
_PINNED = 2
"""Versions of a namespace in memory besides the one in service."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version as requests use it: the item side, mapped from the artefact the pointer named."""

    pointer: Pointer
    manifest: ArtifactManifest
    factors: Factors
    items: IdMap
    item_counts: NDArray[np.float32]
    codes: Codes | None = None
    dated: Callable[[], DatedCounts] | None = None

    @cached_property
    def index(self) -> ItemIndex:
        """Search by score."""
        return ItemIndex(self.factors.item_vectors, self.factors.item_bias, self.codes)

    @cached_property
    def cosine_index(self) -> ItemIndex:
        """Search by cosine of the item vectors."""
        return self.index.cosine()

    @cached_property
    def popularity(self) -> ItemIndex:
        """Search by number of users, for everybody alike."""
        return ItemIndex(np.zeros((len(self.items), 0), np.float32), self.item_counts)

    @cached_property
    def trend(self) -> Trend:
        """Search by decayed number of events, for everybody alike."""
        from recsys.artifacts.dated_counts import DatedCounts
        from recsys.serving.trending import Trend

        return Trend(self.items, self.item_counts, self.events_through, self.dated or DatedCounts.none)

    @cached_property
    def weight_rule(self) -> WeightRule:
        """How raw weights became training weights."""
        return WeightRule(**self.manifest.config["weights"])

    def give_back(self) -> None:
        """Let go of the item vectors that requests touched: of most items the codes are enough, and stay."""
        give_back(self.factors.item_vectors)

    @property
    def events_through(self) -> int:
        """Position of the last online event the training data hold."""
        return int(self.manifest.data["events_through"])


class _Slot:
    """What is known of one namespace: the pointer as last read, and the model as last loaded."""

    def __init__(self, pointer: Pointer, read_s: float) -> None:
        self.pointer = pointer
        self.read_s = read_s
        self.lock = threading.Lock()
        self.model: ServedModel | None = None
        self.checked_s = float("-inf")
        self.failure: RecsysError | None = None
        self.asked = 0
        self.experiment: Experiment | None = None
        self.pinning = threading.Lock()
        self.pinned: dict[str, _Pinned] = {}


class _Pinned:
    """A version that requests name, in service or not."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.used_s = time.monotonic()


class ModelLoader:
    """Gives each request the model in service.

    The pointer, and the experiment beside it, are read again when the last look is older than `refresh_s`. One thread
    loads a new version while the others go on with the old one; when loading fails, everybody does, and `degraded` says
    so.

    Parameters
    ----------
    store : ArtifactStore
    registry : ModelRegistry
    refresh_s : float
        Seconds between two looks at the pointer.
    """

    def __init__(self, store: ArtifactStore, registry: ModelRegistry, *, refresh_s: float = 1.0) -> None:
        self._store = store
        self.registry = registry
        self._refresh_s = refresh_s
        self._slots: dict[str, _Slot] = {}

    def current(self, namespace: str) -> ServedModel:
        """Return the model in service.

        Raises `NoModelError` if nothing was published yet; the loading error only where there is no older model.
        """
        slot = self._slot(namespace)
        stale = time.monotonic() - slot.checked_s >= self._refresh_s
        # With a model at hand only one thread looks; without one, everybody waits for it.
        if stale and slot.lock.acquire(blocking=slot.model is None):
            try:
                self._refresh(namespace, slot)
            finally:
                slot.lock.release()
        if slot.model is None:
            raise slot.failure or unpublished(namespace)
        return _lean(slot, slot.model)

    def pinned(self, namespace: str, version: str) -> ServedModel:
        """Return a version that is or was in service, whatever is now; those asked for last stay in memory.

        Raises `NoModelError` if it never was, or if it was removed since.
        """
        model, slot = self.current(namespace), self._slots[namespace]
        if model.manifest.version == version:
            return model
        kept = slot.pinned.get(version)
        if kept is None:
            with slot.pinning:  # one thread loads it; those who ask for others that are in memory go on
                kept = slot.pinned.get(version) or self._pin(namespace, version, slot)
        kept.used_s = time.monotonic()
        return _lean(slot, kept.model)

    def look_again(self, namespace: str) -> None:
        """Have the next request read pointer and experiment, however new the last look is: one of them was changed."""
        slot = self._slots.get(namespace)
        if slot is not None:
            slot.checked_s = slot.read_s = float("-inf")

    def experiment(self, namespace: str) -> Experiment | None:
        """Return what splits the users of a namespace that `current` was asked for, as of the last look."""
        slot = self._slots.get(namespace)
        return None if slot is None else slot.experiment

    def require(self, namespace: str) -> None:
        """Raise `NoModelError` unless something was published; read the pointer at most, and no artefact."""
        self._slot(namespace)

    def degraded(self, namespace: str) -> bool:
        """Whether the last look at the pointer, or the loading of what it names, failed."""
        slot = self._slots.get(namespace)
        return slot is not None and slot.failure is not None

    def _slot(self, namespace: str) -> _Slot:
        """Return the slot of a namespace; one that nobody published leaves nothing in memory."""
        slot = self._slots.get(namespace)
        if slot is None:
            pointer = self._published(namespace)
            slot = self._slots.setdefault(namespace, _Slot(pointer, time.monotonic()))
        return slot

    def _published(self, namespace: str) -> Pointer:
        pointer = self.registry.current(namespace)
        if pointer is None:
            raise unpublished(namespace)
        return pointer

    def _refresh(self, namespace: str, slot: _Slot) -> None:
        if time.monotonic() - slot.checked_s < self._refresh_s:
            return  # somebody else looked while this thread waited
        try:
            if time.monotonic() - slot.read_s >= self._refresh_s:
                slot.pointer, slot.read_s = self._published(namespace), time.monotonic()
            # Not only a higher number: a registry that was made anew counts from 1 again.
            if slot.model is None or slot.pointer != slot.model.pointer:
                slot.model = self._load(namespace, slot.pointer)
                slot.pinned.pop(slot.pointer.version, None)
            slot.experiment = self._running(namespace)
            slot.failure = None
        except RecsysError as error:
            slot.failure = error
        slot.checked_s = time.monotonic()

    def _running(self, namespace: str) -> Experiment | None:
        document = self.registry.experiment(namespace)
        if document is None or document.get("ended_at"):
            return None
        from recsys.serving.experiments import Experiment

        try:
            return Experiment.of(document)
        except DataError as error:
            raise ArtifactError(f"the stored experiment of {namespace!r} is damaged: {error}") from error

    def _load(self, namespace: str, pointer: Pointer) -> ServedModel:
        try:
            return self._opened(namespace, pointer)
        except NoModelError as error:  # what the pointer names was published: it is lost, not unknown
            raise ArtifactError(str(error)) from error

    def _opened(self, namespace: str, pointer: Pointer) -> ServedModel:
        stored = self._store.open(namespace, pointer.version, manifest_sha256=pointer.manifest_sha256, names=ITEM_SIDE)
        dated = partial(self._dated, namespace, pointer, len(stored.arrays["item_bias"]))
        return ServedModel(pointer, stored.manifest, *item_side(stored), dated)

    def _dated(self, namespace: str, pointer: Pointer, n_items: int) -> DatedCounts:
        """Open what only trends ask for."""
        from recsys.artifacts.dated_counts import DatedCounts

        stored = self._store.open(namespace, pointer.version, manifest_sha256=pointer.manifest_sha256, names=TREND)
        return DatedCounts.from_stored(stored, n_items)

    def _pin(self, namespace: str, version: str, slot: _Slot) -> _Pinned:
        history = reversed(self.registry.history(namespace))
        pointer = next((one for one in history if one.version == version), None)
        if pointer is None:
            raise NoModelError(f"version {version!r} was never in service in namespace {namespace!r}")
        kept = _Pinned(self._opened(namespace, pointer))
        by_use = sorted(slot.pinned.items(), key=lambda one: one[1].used_s)
        for other, _ in by_use[: 1 - _PINNED]:
            slot.pinned.pop(other, None)  # unless a reload did
        slot.pinned[version] = kept
        return kept


def _lean(slot: _Slot, model: ServedModel) -> ServedModel:
    """Count a request; from time to time the model gives back what requests touched."""
    slot.asked += 1
    if slot.asked % _LEAN == 0 and model.factors.item_vectors.nbytes > _SMALL_BYTES:
        model.give_back()
    return model


def unpublished(namespace: str) -> NoModelError:
    """Return the error of a namespace without a model: also what is said of one to who may not see it."""
    return NoModelError(f"namespace {namespace!r} has no published model")
