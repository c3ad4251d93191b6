"""Jobs, each in a fork of a process that is warm, killed at a point of `kill_points.c`.

As a program it is that process: ``python forks.py JOBS.py``, where JOBS.py has ``run``, which returns the status of a
job described in words, and PLANTED, bugs by name: what to put where.
"""

import ctypes
import faulthandler
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

HERE = Path(__file__).resolve().parent
MOST_S = 120
KILLED = -signal.SIGKILL
EVERY_POINT = bool(os.environ.get("EVERY_POINT"))
"""Set, sweeps kill at all points, as the judged runs do; else at a part of them, for planted bugs at all as ever."""


@contextmanager
def forks(jobs, **environment):
    """Give a function that runs a job of a file in a folder."""
    with TemporaryDirectory() as folder:
        points = Path(folder, "points.so")
        compiler = os.environ.get("CXX", "g++").split()
        subprocess.run(
            [*compiler, "-x", "c", "-O1", "-shared", "-fPIC", "-o", points, HERE / "kill_points.c", "-ldl"], check=True
        )
        with subprocess.Popen(
            [sys.executable, "-B", __file__, jobs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "LD_PRELOAD": str(points)},
        ) as server:

            def run(folder, *words, at=0, planted=""):
                """Run, with a bug if one is named, killed at a point if that is not 0; give status and points."""
                server.stdin.write(json.dumps([str(folder), words, at, planted]) + "\n")
                server.stdin.flush()
                return json.loads(server.stdout.readline())

            yield run
            server.stdin.close()


def _serve(jobs):
    known = runpy.run_path(jobs)
    points = ctypes.CDLL(None)
    said = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    gc.freeze()  # or the forks would copy every page of objects to count who knows them
    for line in sys.stdin:
        folder, words, at, bug = json.loads(line)
        os.chdir(folder)
        with ExitStack() as planted:
            for owner, name, patch in known["PLANTED"].get(bug, ()):
                planted.enter_context(mock.patch.object(owner, name, patch))
            status, passed = _forked(known["run"], words, at, points) if at else _run(known["run"], words, 0, points)
        print(json.dumps([status, passed]), file=said, flush=True)


def _run(job, words, at, points):
    """Run a job; one that ends with an error nobody catches ends as a program does, not with the server."""
    points.arm(at)
    try:
        status = job(words)
    except Exception:
        traceback.print_exc()
        status = 1
    return status, points.disarm()


def _forked(job, words, at, points):
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(MOST_S, exit=True)
        os._exit(_run(job, words, at, points)[0])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), at


if __name__ == "__main__":
    _serve(sys.argv[1])
