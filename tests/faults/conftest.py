"""A shop made by the console script, `recsys` without its imports, and folders that no disk is waited for."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from commands import (
    FORKS,
    OPENED,
    ROOT,
    Shop,
    files_of,
    list_of,
    recsys,
    rows_of,
)


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """`recsys` without its imports."""
    place = tmp_path_factory.mktemp("forked")
    command, pipe = [sys.executable, "-c", FORKS, place], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as server:

        def run(folder, *arguments, env=()):
            server.stdin.write(json.dumps([str(folder), list(map(str, arguments)), dict(env)]) + "\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
            out, err = ((place / name).read_text() for name in ("out", "err"))
            return subprocess.CompletedProcess(arguments, status, out, err)

        yield run
        server.stdin.close()


@pytest.fixture
def in_memory():
    """A folder for a sweep of kills, which would wait for a disk a thousand times: a kill of a process asks none."""
    memory = "/dev/shm"  # of Linux
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _closed_stores():
    yield
    while OPENED:
        OPENED.pop().online.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Stores with one version in service and another one that is trained and not published."""
    folder = tmp_path_factory.mktemp("shop")
    sample = ROOT / "data/sample"
    data = ("--items", sample / "items.csv", "--set", "factors=8", "--set", "iterations=3", "--json")
    first = recsys(folder, "nightly", sample / "interactions.csv", *data)
    second = recsys(folder, "train", "--set", "factors=6", "--set", "iterations=2", "--json")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    versions = [json.loads(one.stdout)["version"] for one in (first, second)]
    return Shop(folder, *versions, files_of(folder / "var"), rows_of(folder), list_of(folder))
