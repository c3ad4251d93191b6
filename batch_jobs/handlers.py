"""Lambda entry points of the nightly run: the states of `state_machine.json`, and all of them in one.

The image of the Dockerfile holds them: numpy, scipy and pyarrow are more than a Lambda zip may be, so the zip of the
API cannot train, and there is no `@app.schedule` in it. For small data a schedule calls `nightly` here with the
settings as ``{"job": {...}}``; or it starts the machine with ``"compute": "lambda"``, which also retries and reports.
"""

from __future__ import annotations

from typing import Any

from batch_jobs.steps import on_lambda, whole_run

Event = dict[str, Any]


def ingest(event: Event, context: object) -> Event:
    """Take new events in."""
    return on_lambda("ingest", event)


def judge(event: Event, context: object) -> Event:
    """Judge a candidate; a refusal is an error with its reason in words."""
    return on_lambda("judge", event)


def train(event: Event, context: object) -> Event:
    """Train on all events and store the version."""
    return on_lambda("train", event)


def publish(event: Event, context: object) -> Event:
    """Put the version into service."""
    return on_lambda("publish", event)


def nightly(event: Event, context: object) -> Event:
    """Do all of it."""
    return whole_run(event)
