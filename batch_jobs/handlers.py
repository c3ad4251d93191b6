"""Lambda entry points of the jobs: the steps of `state_machine.json`, all of them in one, and what empties the queue.

The image of the Dockerfile holds the nightly ones: numpy, scipy and pyarrow are more than a Lambda zip may be, so the
zip of the API cannot train, and there is no `@app.schedule` in it. For small data a schedule calls `nightly` here with
the settings as ``{"job": {...}}``; or it starts the machine with ``"compute": "lambda"``, which retries and reports.

Each imports what it runs: the functions are packaged differently, and start in different time.
"""

from __future__ import annotations

from typing import Any

from recsys.telemetry import observed

Event = dict[str, Any]


@observed
def ingest(event: Event, context: object) -> Event:
    """Take new events in."""
    from batch_jobs.steps import on_lambda

    return on_lambda("ingest", event)


@observed
def judge(event: Event, context: object) -> Event:
    """Judge a candidate; a refusal is an error with its reason in words."""
    from batch_jobs.steps import on_lambda

    return on_lambda("judge", event)


@observed
def train(event: Event, context: object) -> Event:
    """Train on all events and store the version."""
    from batch_jobs.steps import on_lambda

    return on_lambda("train", event)


@observed
def publish(event: Event, context: object) -> Event:
    """Put the version into service."""
    from batch_jobs.steps import on_lambda

    return on_lambda("publish", event)


@observed
def nightly(event: Event, context: object) -> Event:
    """Do all of it."""
    from batch_jobs.steps import whole_run

    return whole_run(event)


@observed
def take_in_events(event: Event, context: object) -> dict[str, list[dict[str, str]]]:
    """Add a batch of the queue's messages to the event log; those that failed, and only they, are delivered again."""
    from contextlib import closing

    from batch_jobs.consumer import take_in
    from batch_jobs.log_files import log_files
    from recsys.stores import online_store, setting

    with closing(online_store(setting("RECSYS_ONLINE"))) as online:
        failed = take_in(log_files(), online, event["Records"])
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}
