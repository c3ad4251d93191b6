"""The stores of a job, opened from the environment."""

from __future__ import annotations

from dataclasses import dataclass

from batch_jobs.event_log import EventLog
from batch_jobs.log_files import log_files
from recsys.stores import ServingStores


@dataclass(frozen=True, eq=False)
class Stores(ServingStores):
    """Where a job reads and writes: the stores of the API, and the event log."""

    events: EventLog

    @classmethod
    def from_environment(cls) -> Stores:
        """Open what RECSYS_ARTIFACTS, RECSYS_REGISTRY, RECSYS_ONLINE and RECSYS_EVENTS name."""
        shared = ServingStores.from_environment()
        return cls(shared.artifacts, shared.registry, shared.online, EventLog(log_files()))
