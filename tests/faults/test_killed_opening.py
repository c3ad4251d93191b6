"""A file of an earlier release whose first opening is killed: it is the old one or the new one, whole.

Killed before, after and in the middle of calls that change a file (`kill_points.c`): some by default, all of them where
NIGHTLY is set. The sweep also runs against a planted bug, which it must find.
"""

import os
import runpy
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from forks import KILLED, forks
from older_file import KEPT, LAST, LAST_SHOWN, kept_in, make_older_file
from records import event

from recsys.errors import RecsysError
from recsys.serving import SQLiteOnlineStore

JOBS = Path(__file__).with_name("opening_jobs.py")
HERE = runpy.run_path(str(JOBS))
EVERY = 1 if os.environ.get("NIGHTLY") else 11


@pytest.fixture(scope="module")
def run():
    with forks(str(JOBS), PYTHONPATH=os.pathsep.join(map(str, (JOBS.parents[1], JOBS.parents[2])))) as run:
        yield run


def opened(run, folder, at, planted=""):
    """Open an old file, killed at a point if that is not 0, and look at it before and after it is opened again."""
    folder.mkdir()
    make_older_file(folder / "online.db")
    status, points = run(folder, at=at, planted=planted)
    assert kept_in(folder / "online.db") == KEPT
    with closing(SQLiteOnlineStore(folder / "online.db")) as store:
        for namespace in ("shop", "gone"):
            assert (store.last_position(namespace), store.last_impression(namespace)) == (LAST, LAST_SHOWN)
        assert store.append_events("shop", [event(1), event(LAST + 1)]) == 1
        assert store.last_position("shop") == LAST + 1
    return status, points


def sweep(run, folder, planted=""):
    status, points = opened(run, folder / "whole", 0, planted)
    assert status == 0
    for at in range(1, points + 1, EVERY):
        assert opened(run, folder / f"{at}", at, planted)[0] == KILLED
    return points


def test_an_opening_that_was_killed_leaves_a_whole_file(run, in_memory):
    points = sweep(run, in_memory)
    print(points, "points, every", EVERY)
    assert points > 100


@pytest.mark.parametrize("planted", HERE["PLANTED"])
def test_a_planted_bug_is_found(run, in_memory, planted):
    with pytest.raises((AssertionError, sqlite3.Error, RecsysError)):
        sweep(run, in_memory, planted)
