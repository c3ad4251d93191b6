"""A published artefact as a `Recommender`, so that the model in service is judged like any other."""

from __future__ import annotations

import numpy as np

from batch_jobs.stores import Stores
from recsys.artifacts import Artifact, unpack
from recsys.data import Dataset, Interactions, Split
from recsys.errors import ConfigError
from recsys.models.base import Progress
from recsys.models.fitted import FittedFactors
from recsys.weights import WeightRule


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
        self.threads = threads
        self._keep(_dataset(artifact), artifact.factors)

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> PublishedModel:
        """Refuse: a published model is what it is."""
        raise ConfigError("a published model is not trained again; train a new one")


def model_in_service(stores: Stores, namespace: str, split: Split) -> PublishedModel | None:
    """Return the model in service if there is one and it was trained on no event of the test part.

    With a cut in time that is a model whose data end before the cut. A test file of its own was never in the log.
    Any other split takes test events out of what the model was trained on.
    """
    pointer = stores.registry.current(namespace)
    if pointer is None:
        return None
    stored = stores.artifacts.open(namespace, pointer.version, manifest_sha256=pointer.manifest_sha256)
    window = stored.manifest.data["window"]
    unseen = split.name == "given" or (split.cutoff is not None and window is not None and window[1] < split.cutoff)
    return PublishedModel(unpack(stored)) if unseen else None


def _dataset(artifact: Artifact) -> Dataset:
    histories = artifact.histories
    user = np.repeat(np.arange(len(artifact.users), dtype=np.int64), np.diff(histories.indptr))
    rule = WeightRule(**artifact.manifest.config["weights"])
    rows, weights = rule.apply(user * len(artifact.items) + histories.items, histories.weights)
    ids = artifact.users, artifact.items
    raw = Interactions(*ids, user.astype(np.int32), np.asarray(histories.items), np.asarray(histories.weights))
    return Dataset.from_interactions(Interactions(*ids, raw.user[rows], raw.item[rows], weights), raw)
