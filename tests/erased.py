"""A small shop that knows somebody who will be erased, and where they are found."""

from pathlib import Path

import pyarrow.parquet
import two_tastes
from messages import NOON_S, records, stored

from batch_jobs import consumer
from batch_jobs.config import load
from batch_jobs.console import Screen
from batch_jobs.erase import LISTS
from batch_jobs.ingest import ingest
from batch_jobs.nightly import nightly
from batch_jobs.score import Order, Shard, score
from recsys.impressions import ImpressionEvent, Shown
from recsys.serving.people import People

GONE, QUIET = "grace.hopper", Screen(as_json=True)
SHOWN = [ImpressionEvent(f"shown-{n}", GONE, NOON_S + n, f"r{n}", "v", (Shown("i1"), Shown("i2"))) for n in range(3)]
LATE = [stored(GONE, f"i{n}", n, event_id=f"sent-{n}") for n in range(5)]
JOB = {
    "namespace": "shop",
    "ingest": {"files": ["events.csv"], "users": "users.csv"},
    "model": {"kind": "als", "factors": 4, "iterations": 2, "threads": 1},
    "evaluate": {"k": [5], "baselines": False},
    "gate": {"max_drop": 1.0, "min_users": 1},
}
CONFIG = load(None, JOB)
LISTED = Order(5, {}, LISTS, True, Shard(), 1)


def open_shop(stores):
    """Fill the current folder: a model in service, lists, a profile, and events online, in the log and from a queue."""
    rows = [*two_tastes.rows(), *(f"{GONE},i{n},{NOON_S + n}" for n in range(0, 18, 2))]
    Path("events.csv").write_text("\n".join([two_tastes.HEADER, *rows]) + "\n")
    Path("users.csv").write_text(f"user,age\n{GONE},30\nu1,40\n")
    nightly(stores, CONFIG, QUIET)
    score(stores, "shop", LISTED, QUIET)
    stores.online.append_events("shop", [one.event for one in LATE])
    stores.online.append_impressions("shop", SHOWN)
    take_in(stores, *records("shop", *LATE[:2]))  # as where there is a queue
    ingest(stores, "shop", CONFIG.ingest, QUIET)


def people_of(stores):
    return People(stores.service().models, stores.registry, stores.online)


def take_in(stores, *messages):
    assert consumer.take_in(stores.events.files, stores.online, messages) == []


def files_with(text, folder):
    """Names of all files that hold a text."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and _holds(path, text)]


def _holds(path, text):
    if path.suffix == ".parquet":  # compressed
        return text in str(pyarrow.parquet.read_table(path, partitioning=None).to_pydict())
    return text.encode() in path.read_bytes()
