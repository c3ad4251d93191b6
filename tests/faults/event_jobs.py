"""The consumer of the queue and the compaction of its files, and bugs of them that the sweep of kills must find."""

import os
from pathlib import Path

import boto3
import pyarrow.json
import pyarrow.parquet
from messages import records, stored

from batch_jobs import event_log
from batch_jobs.event_log import EventLog
from batch_jobs.handlers import take_in_events
from batch_jobs.log_files import LocalLogFiles, log_files

# What a fork would have to load is loaded here.
assert pyarrow.json, pyarrow.parquet
boto3.client("s3", region_name="eu-central-1").close()
EVENTS = {name: [stored("u", f"{name}-{n}", n, event_id=f"{name}-{n}") for n in range(4)] for name in ("shop", "other")}
BATCHES = [
    records("shop", *EVENTS["shop"][:2]) + records("other", *EVENTS["other"]) + records("shop", EVENTS["shop"][2]),
    records("shop", *EVENTS["shop"][3:]),
]


def run(words):
    """Run ``take_in NUMBER``, a batch, or ``compact`` over the log named first; return how many messages failed."""
    os.environ["RECSYS_EVENTS"], job, *number = words
    if job == "take_in":
        return len(take_in_events({"Records": BATCHES[int(number[0])]}, None)["batchItemFailures"])
    EventLog(log_files()).compact("shop")
    return 0


def in_place(self, namespace, name, write):
    path = Path(self.root, f"ns={namespace}", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with path.open("wb") as file:
            write(file)


def removed_first(self, namespace, tables):
    self.files.remove(namespace, list(tables))
    self.files.remove, removing = lambda *_: None, self.files.remove
    pack(self, namespace, tables)
    self.files.remove = removing


pack = EventLog._pack
PLANTED = {
    "in place": [(LocalLogFiles, "create", in_place)],
    "removed first": [(EventLog, "_pack", removed_first)],
    "repeats count": [(event_log, "without_repeats", lambda events: events)],
    "nothing is removed": [(LocalLogFiles, "remove", lambda *_: None)],
}
