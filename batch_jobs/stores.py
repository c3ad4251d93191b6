"""The stores of a job, opened from the environment."""

from __future__ import annotations

from dataclasses import dataclass

from batch_jobs.event_log import EventLog
from batch_jobs.log_files import LogFiles, log_files
from recsys.stores import ServingStores


@dataclass(frozen=True, eq=False)
class Stores(ServingStores):
    """Where a job reads and writes: the stores of the API, the event log, and the record of runs."""

    events: EventLog
    runs: LogFiles

    @classmethod
    def from_environment(cls) -> Stores:
        """Open what RECSYS_ARTIFACTS, RECSYS_REGISTRY, RECSYS_ONLINE, RECSYS_EVENTS and RECSYS_RUNS name."""
        shared = ServingStores.from_environment()
        return cls(shared.artifacts, shared.registry, shared.online, EventLog(log_files()), log_files("RECSYS_RUNS"))
