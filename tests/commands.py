"""`recsys` as a command, and what it leaves behind: a shop of two versions, its files and its rows."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from batch_jobs.event_log import EventLog
from batch_jobs.log_files import LocalLogFiles
from batch_jobs.stores import Stores
from recsys.artifacts import LocalArtifactStore, LocalModelRegistry
from recsys.serving import SQLiteOnlineStore

ROOT = Path(__file__).parents[1]
RECSYS = Path(sys.executable).with_name("recsys")
HEADER = b"user_id,item_id,rating,timestamp\n"
ROWS = b"u001,i001,3,1704112980\nu002,i002,4,1704112981\n"
CSV = HEADER + ROWS
ITEMS = b"item_id,title\ni001,One\ni002,Two\n"


def recsys(folder, *arguments, env=(), before=()):
    """Run the console script, behind the command `before` if there is one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    return subprocess.run(
        [*before, str(RECSYS), *map(str, arguments)],
        cwd=folder,
        env={**clean, "PYTHONDONTWRITEBYTECODE": "1", **dict(env)},
        capture_output=True,
        text=True,
        timeout=60,
    )


FORKS = """
import json, os, sys, traceback
from batch_jobs import cli, evaluate, ingest, lists, nightly, publish, train
cli.run(["warm up"])
for line in sys.stdin:
    folder, arguments, env = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(folder)
        os.environ.update(env)
        for handle, name in enumerate(("/dev/null", sys.argv[1] + "/out", sys.argv[1] + "/err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), handle)
        status = 1
        try:
            status = cli.run(arguments)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush(), os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def limited(size):
    """Command that runs another one in which no file may grow beyond `size` bytes."""
    code = "import os, resource as r, sys; r.setrlimit(r.RLIMIT_FSIZE, ({0}, {0})); os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-S", "-c", code.format(size)]


def side_by_side(run, cases):
    """Outcome of each case by name; the time goes into starting processes, so some run at once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(cases, pool.map(run, cases), strict=True))


def assert_failed(done, status, message, *, as_json=True):
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == status, (done.returncode, done.stderr)
    assert len(lines) == 1, done.stderr
    assert re.search(message, lines[0]), lines[0]
    assert "Traceback" not in done.stderr
    if as_json:
        assert done.stderr.splitlines() == lines
        told = json.loads(done.stdout)
        assert (f"error: {told['error']}", told["status"]) == (lines[0], status)


OPENED = []


def stores_of(folder):
    var = Path(folder) / "var"
    OPENED.append(
        Stores(
            LocalArtifactStore(var / "artifacts"),
            LocalModelRegistry(var / "registry"),
            SQLiteOnlineStore(var / "online.db"),
            EventLog(LocalLogFiles(var / "events")),
            LocalLogFiles(var / "runs"),
        )
    )
    return OPENED[-1]


def files_of(folder):
    """Every file below a folder but SQLite's, with the hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and not path.name.startswith("online.db")
    }


def assert_no_drafts(folder):
    assert not list((Path(folder) / "var").rglob(".*"))


def rows_of(folder):
    """Everything in the online store."""
    with contextlib.closing(sqlite3.connect(Path(folder) / "var/online.db")) as db:
        return {name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in ("users", "items")}


def list_of(folder, user="u001"):
    stores = stores_of(folder)
    try:
        return stores.service().recommend("default", user, 10)
    finally:
        stores.online.close()


@dataclass(frozen=True)
class Shop:
    folder: Path
    published: str
    trained: str
    files: dict = field(repr=False)
    rows: dict = field(repr=False)
    listed: object = field(repr=False)

    def copy(self, to):
        shutil.copytree(self.folder / "var", to / "var")
        return to

    def assert_untouched(self, folder=None):
        folder = folder or self.folder
        assert files_of(folder / "var") == self.files
        assert rows_of(folder) == self.rows
        assert list_of(folder) == self.listed
