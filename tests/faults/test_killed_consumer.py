"""The consumer and the compaction killed at any moment: after redelivery every event is in the log, and counts once.

Killed before, after and in the middle of every call that changes a file or is sent to S3 (`kill_points.c`). The sweep
also runs against planted bugs, which it must find.
"""

import runpy
from pathlib import Path

import pytest
from forks import EVERY_POINT, KILLED, forks

from batch_jobs.event_log import EventLog
from batch_jobs.log_files import log_files
from recsys.errors import InsufficientDataError, RecsysError

JOBS = Path(__file__).with_name("event_jobs.py")
HERE = runpy.run_path(str(JOBS))
PLANTED = {
    "in place": "take_in",
    "removed first": "compact",
    "repeats count": "compact",
    "nothing is removed": "compact",
}
ALL = {name: sorted(f"{name}-{n}" for n in range(4)) for name in ("shop", "other")}


class Sweep:
    """Runs the jobs over logs in a place, each log a new one."""

    def __init__(self, run, place, folder):
        self.run, self.place, self.folder, self.logs = run, place, folder, 0

    def log(self, monkeypatch):
        self.logs += 1
        url = f"{self.place}/{self.logs}"
        monkeypatch.setenv("RECSYS_EVENTS", url)
        return url, EventLog(log_files())

    def killed(self, url, *words, at, planted):
        return self.run(self.folder, url, *words, at=at, planted=planted)

    def whole(self, url, *words, planted=""):
        """Run a job to its end: in this process, where that makes no difference, for it is faster."""
        assert (self.killed(url, *words, at=0, planted=planted)[0] if planted else HERE["run"]([url, *words])) == 0


@pytest.fixture(scope="module")
def run(clouds):
    with forks(str(JOBS), PYTHONPATH=str(JOBS.parents[1]), **clouds("ministack")) as run:
        yield run


@pytest.fixture
def local(run, tmp_path):
    return Sweep(run, f"file:{tmp_path}", tmp_path)


@pytest.fixture
def remote(run, tmp_path, aws):
    return Sweep(run, f"s3://{aws('ministack').bucket()}", tmp_path)


def logged(log, namespace):
    try:
        return sorted(log.read(namespace).events["event_id"].to_pylist())
    except InsufficientDataError:
        return []


def taken_in(sweep, monkeypatch, at, planted):
    """Kill the consumer, look, deliver again; return its end and what is wrong."""
    url, log = sweep.log(monkeypatch)
    status, points = sweep.killed(url, "take_in", "0", at=at, planted=planted)
    some = {name: logged(log, name) for name in ALL}
    assert all(len(ids) == len(set(ids)) for ids in some.values()), "an event is there twice"
    sweep.whole(url, "take_in", "1", planted=planted)
    sweep.whole(url, "take_in", "0", planted=planted)
    assert {name: logged(log, name) for name in ALL} == ALL, "lost, or there twice"
    return status, points


def compacted(sweep, monkeypatch, at, planted):
    url, log = sweep.log(monkeypatch)
    for number in ("0", "1"):
        sweep.whole(url, "take_in", number)
    before = len(log.files.names("shop"))
    status, points = sweep.killed(url, "compact", at=at, planted=planted)
    assert logged(log, "shop") == ALL["shop"], "lost, or there twice"
    sweep.whole(url, "compact", planted=planted)
    assert logged(log, "shop") == ALL["shop"], "lost, or there twice"
    assert (before, len(log.files.names("shop"))) == (2, 1), "not one file"
    return status, points


def sweep_of(kind, sweep, monkeypatch, planted=""):
    """Kill at points; return how many there were."""
    try:
        status, points = kind(sweep, monkeypatch, 0, "")
        assert status == 0
        for at in range(1, points + 1, 1 if planted or EVERY_POINT else 8):
            assert kind(sweep, monkeypatch, at, planted)[0] in (KILLED, 0)
    except RecsysError as error:
        raise AssertionError("the log cannot be read") from error
    return points


@pytest.mark.parametrize("kind", [taken_in, compacted])
@pytest.mark.parametrize("place", ["local", "remote"])
def test_killed_at_any_point_nothing_is_lost_and_nothing_counts_twice(request, monkeypatch, place, kind):
    points = sweep_of(kind, request.getfixturevalue(place), monkeypatch)
    print(points, "points")
    assert points > 15


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_bugs_are_found(local, monkeypatch, planted):
    if planted == "repeats count":  # by who reads: this process
        monkeypatch.setattr(*HERE["PLANTED"][planted][0])
    kind = {"take_in": taken_in, "compact": compacted}[PLANTED[planted]]
    with pytest.raises(AssertionError):
        sweep_of(kind, local, monkeypatch, planted)
