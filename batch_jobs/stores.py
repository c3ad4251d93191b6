"""The stores of a job, opened from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from batch_jobs.event_log import EventLog
from recsys.artifacts import ArtifactStore, ModelRegistry
from recsys.serving import ModelLoader, OnlineStore, RecommendationService
from recsys.stores import DEFAULTS, artifact_store, local_path, model_registry, online_store


@dataclass(frozen=True, eq=False)
class Stores:
    """Where a job reads and writes."""

    artifacts: ArtifactStore
    registry: ModelRegistry
    online: OnlineStore
    events: EventLog

    @classmethod
    def from_environment(cls) -> Stores:
        """Open what RECSYS_ARTIFACTS, RECSYS_REGISTRY, RECSYS_ONLINE and RECSYS_EVENTS name."""
        url = {name: os.environ.get(name) or default for name, default in DEFAULTS.items()}
        return cls(
            artifact_store(url["RECSYS_ARTIFACTS"]),
            model_registry(url["RECSYS_REGISTRY"]),
            online_store(url["RECSYS_ONLINE"]),
            EventLog(local_path(url["RECSYS_EVENTS"], "file", "RECSYS_EVENTS")),
        )

    def service(self) -> RecommendationService:
        """Return the service over these stores, the same as the API's."""
        return RecommendationService(ModelLoader(self.artifacts, self.registry), self.online)
