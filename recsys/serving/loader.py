"""The model in memory: found through the pointer, verified, swapped whole, kept when a newer one fails to load."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts.artifact import ITEM_SIDE, item_side
from recsys.artifacts.manifest import ArtifactManifest
from recsys.artifacts.registry import ModelRegistry, Pointer
from recsys.artifacts.store import ArtifactStore, give_back
from recsys.codes import Codes
from recsys.errors import ArtifactError, NoModelError, RecsysError
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.index import ItemIndex
from recsys.weights import WeightRule

_LEAN = 8
"""Requests after which the vectors they touched are given back: with fewer, lists are slower; with more, all stay."""
_SMALL_BYTES = 1 << 26
"""Vectors of a catalogue that are not worth the time."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version as requests use it: the item side, mapped from the artefact the pointer named."""

    pointer: Pointer
    manifest: ArtifactManifest
    factors: Factors
    items: IdMap
    item_counts: NDArray[np.float32]
    codes: Codes | None = None

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


class ModelLoader:
    """Gives each request the model in service.

    The pointer is read again when the last look is older than `refresh_s`. One thread loads a new version while the
    others go on with the old one; when loading fails, everybody does, and `degraded` says so.

    Parameters
    ----------
    store : ArtifactStore
    registry : ModelRegistry
    refresh_s : float
        Seconds between two looks at the pointer.
    """

    def __init__(self, store: ArtifactStore, registry: ModelRegistry, *, refresh_s: float = 1.0) -> None:
        self._store = store
        self._registry = registry
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
        slot.asked += 1
        if slot.asked % _LEAN == 0 and slot.model.factors.item_vectors.nbytes > _SMALL_BYTES:
            slot.model.give_back()
        return slot.model

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
        pointer = self._registry.current(namespace)
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
            slot.failure = None
        except RecsysError as error:
            slot.failure = error
        slot.checked_s = time.monotonic()

    def _load(self, namespace: str, pointer: Pointer) -> ServedModel:
        try:
            stored = self._store.open(
                namespace, pointer.version, manifest_sha256=pointer.manifest_sha256, names=ITEM_SIDE
            )
        except NoModelError as error:  # what the pointer names was published: it is lost, not unknown
            raise ArtifactError(str(error)) from error
        return ServedModel(pointer, stored.manifest, *item_side(stored))


def unpublished(namespace: str) -> NoModelError:
    """Return the error of a namespace without a model: also what is said of one to who may not see it."""
    return NoModelError(f"namespace {namespace!r} has no published model")
