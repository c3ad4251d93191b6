"""What Lambda calls. Each imports what it runs: the functions are packaged differently, and start in different time."""

from __future__ import annotations

from typing import Any


def take_in_events(event: dict[str, Any], context: object) -> dict[str, list[dict[str, str]]]:
    """Add a batch of the queue's messages to the event log; those that failed, and only they, are delivered again."""
    from batch_jobs.consumer import take_in
    from batch_jobs.log_files import log_files

    return {"batchItemFailures": [{"itemIdentifier": one} for one in take_in(log_files(), event["Records"])]}
