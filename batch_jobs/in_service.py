"""A published artefact as a `Recommender`, so that what is in service is judged like any other model."""

from __future__ import annotations

import numpy as np

from batch_jobs.stores import Stores
from recsys.artifacts import Artifact, ArtifactManifest, Pointer, unpack
from recsys.data import Dataset, Interactions, Split
from recsys.errors import ConfigError, NoModelError
from recsys.models.base import Progress
from recsys.models.fitted import FittedFactors
from recsys.weights import WeightRule

NOW, BEST = "the model in service", "the best so far"


class PublishedModel(FittedFactors):
    """The factors of an artefact over the histories it was trained on.

    Parameters
    ----------
    artifact : Artifact
    threads : int
        Results do not depend on it.
    """

    def __init__(self, artifact: Artifact, *, threads: int = 1) -> None:
        self.kind = artifact.manifest.kind
        self.manifest = artifact.manifest
        self.threads = threads
        self._keep(_dataset(artifact), artifact.factors)

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> PublishedModel:
        """Refuse: a published model is what it is."""
        raise ConfigError("a published model is not trained again; train a new one")


def open_model(stores: Stores, namespace: str, version: str, manifest_sha256: str | None = None) -> PublishedModel:
    """Open a stored version, in service or not."""
    return PublishedModel(unpack(stores.artifacts.open(namespace, version, manifest_sha256=manifest_sha256)))


def manifest_of(stores: Stores, namespace: str, pointer: Pointer | None) -> ArtifactManifest | None:
    """Return the manifest of what a pointer names."""
    if pointer is None:
        return None
    return stores.artifacts.open(namespace, pointer.version, manifest_sha256=pointer.manifest_sha256, names=()).manifest


def model_in_service(stores: Stores, namespace: str, split: Split) -> PublishedModel | None:
    """Return what stands for the model in service on the test part of a split; None where nothing can.

    The model in service was trained on all events. Where it was judged by the same split, its twin stands for it, the
    candidate that was judged then and has learned no event held out. Otherwise it stands for itself if its data end
    before the cut in time, or if the test events come from a file of their own, which was never in the log.
    """
    manifest = manifest_of(stores, namespace, stores.registry.current(namespace))
    if manifest is None:
        return None
    if has_seen_nothing_of(manifest, split):
        return open_model(stores, namespace, manifest.version, manifest.sha256)
    return _twin(stores, manifest, split, "twin")


def has_seen_nothing_of(manifest: ArtifactManifest, split: Split) -> bool:
    """Whether a model can have learned no test event: its data end before the cut, or the test is a file of its own."""
    window = manifest.data["window"]
    return split.name == "given" or (split.cutoff is not None and window is not None and window[1] < split.cutoff)


def twins(stores: Stores, namespace: str, split: Split) -> dict[str, PublishedModel]:
    """Return what a candidate is compared with, by name: the stand-in of the model in service, then the best so far."""
    found = {}
    if (now := model_in_service(stores, namespace, split)) is not None:
        found[NOW] = now
    manifest = manifest_of(stores, namespace, stores.registry.current(namespace))
    best = None if manifest is None else _twin(stores, manifest, split, "best")
    if best is not None and (now is None or best.manifest.version != now.manifest.version):
        found[BEST] = best
    return found


def _twin(stores: Stores, manifest: ArtifactManifest, split: Split, name: str) -> PublishedModel | None:
    """Open the candidate that a manifest names as judged in its place, or as the best, by the same split."""
    version = manifest.data.get(name)
    if version is None or manifest.data["judged_by"] != split.name:
        return None
    try:
        return open_model(stores, manifest.namespace, version)
    except NoModelError:  # removed since
        return None


def _dataset(artifact: Artifact) -> Dataset:
    histories = artifact.histories
    user = np.repeat(np.arange(len(artifact.users), dtype=np.int64), np.diff(histories.indptr))
    rule = WeightRule(**artifact.manifest.config["weights"])
    rows, weights = rule.apply(user * len(artifact.items) + histories.items, histories.weights)
    ids = artifact.users, artifact.items
    raw = Interactions(*ids, user.astype(np.int32), np.asarray(histories.items), np.asarray(histories.weights))
    return Dataset.from_interactions(Interactions(*ids, raw.user[rows], raw.item[rows], weights), raw)
