"""The first opening of a file of an earlier release, and a bug of it that the sweep of kills must find."""

from contextlib import closing
from pathlib import Path

from recsys.serving import SQLiteOnlineStore
from recsys.serving.online import sqlite_events


def run(words):
    """Open the file in the current folder."""
    assert not words
    with closing(SQLiteOnlineStore(Path("online.db"))) as store:
        store.check()
    return 0


PLANTED = {
    "step by step": [
        (sqlite_events, "_CARRY_OVER", sqlite_events._CARRY_OVER.replace("BEGIN IMMEDIATE;", "").replace("COMMIT;", ""))
    ]
}
