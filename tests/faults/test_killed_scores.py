"""`recsys score` killed at any moment: what is there is whole, and the next run ends as if nothing had happened.

Killed before and after every call that changes the disk, and in the middle of every write (`kill_points.c`); and, as a
process of its own, at random moments. The search for faults also runs against planted bugs, which it must find.
"""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from crowd import publish_under
from forks import EVERY_POINT, KILLED, forks

from recsys.serving import SQLiteOnlineStore

RECSYS = Path(sys.executable).with_name("recsys")
USERS = 33
PARTS = 3
SEED = 11

COMMAND = ("score", "--k", "4", "--to-store", "--threads", "1", "--namespace", "shop", "--json")


@pytest.fixture(scope="module")
def forked():
    with forks(Path(__file__).with_name("score_jobs.py")) as run:
        yield run


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    publish_under(folder, users=USERS, items=15, width=3)
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("var/lists/shop/*/*")}


def stored(folder):
    (version,) = [path.name for path in folder.glob("var/artifacts/shop/*")]
    with closing(SQLiteOnlineStore(folder / "var/online.db")) as store:
        lists = {f"u{n}": store.user_list("shop", version, f"u{n}") for n in range(USERS)}
    return {user: one and one.to_bytes() for user, one in lists.items()}


def broken(folder, whole):
    """Say what of a folder that a killed run left a reader must not meet."""
    for name, data in files(folder).items():
        if not name.startswith(".draft-") and whole.get(name) != data:
            yield f"{name} is not what a whole run writes"
    if "_manifest.json" in files(folder) and len(files(folder).keys() & whole.keys()) < len(whole):
        yield "a manifest of parts that are not there"


def faults(forked, shop, place, planted=""):
    """Kill a run at points in any order, look, run again and compare; return the kills and the first fault."""
    whole = place / "whole"
    shutil.copytree(shop, whole)
    status, points = forked(whole, *COMMAND)
    assert (status, len(files(whole))) == (0, PARTS + 2)
    kills = points if planted or EVERY_POINT else -(-points // 3)
    for at in random.Random(SEED).sample(range(1, points + 1), kills):
        folder = place / str(at)
        shutil.copytree(shop, folder)
        assert forked(folder, *COMMAND, at=at, planted=planted)[0] in (KILLED, 0)
        found = list(broken(folder, files(whole)))
        if planted != "by name alone" and found:
            return kills, [f"{at}: {found}"]
        status, _ = forked(folder, *COMMAND, planted=planted)
        if status or files(folder) != files(whole) or stored(folder) != stored(whole):
            return kills, [f"{at}: the second run ends with {status}, {files(folder).keys()}"]
        shutil.rmtree(folder)
    return kills, []


def test_a_run_killed_at_any_point_leaves_whole_parts_and_the_next_converges(forked, shop, in_memory):
    kills, found = faults(forked, shop, in_memory)
    print(kills, "kills")
    assert found == []
    assert kills > 50


@pytest.mark.parametrize("planted", ["in place", "by name alone", "manifest first", "into the store only once"])
def test_planted_bugs_are_found(forked, shop, in_memory, planted):
    _, found = faults(forked, shop, in_memory, planted)
    assert len(found) == 1


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """So many users that the real limits make five parts."""
    folder = tmp_path_factory.mktemp("crowd")
    publish_under(folder, users=9_300, items=700)
    return folder, [str(RECSYS), "score", "--namespace", "shop", "--k", "500", "--json"]


@pytest.fixture(scope="module")
def reference(crowd):
    folder, command = crowd
    told = json.loads(
        subprocess.run([*command, "--output", "whole"], cwd=folder, capture_output=True, check=True).stdout
    )
    assert told["parts"] == 5
    return {path.name: path.read_bytes() for path in Path(folder, told["folder"]).iterdir()}


def there(folder):
    return {path.name: path.read_bytes() for path in folder.glob("shop/*/*")}


def assert_whole_parts(found, reference):
    for name, data in found.items():
        if not name.startswith(".draft-"):
            assert reference[name] == data
            if name.startswith("part-"):
                assert name[11:27] == sha256(data).hexdigest()[:16]


def start_and_wait(command, folder, output, n_parts, first=None):
    """Start a run; return it when so many parts are there, and before them the file named."""
    process = subprocess.Popen(
        [*command, "--output", str(output)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and (
        len(list(output.glob("shop/*/part-*"))) < n_parts or (first and not list(output.glob(f"shop/*/{first}")))
    ):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def test_a_process_killed_again_and_again_gets_there_and_ends_with_the_same_bytes(crowd, reference, tmp_path):
    folder, command = crowd
    chance, output, killed = random.Random(SEED), tmp_path / "lists", 0
    for n_parts in (0, 1, 2, 3):
        process = start_and_wait(command, folder, output, n_parts)
        time.sleep(chance.uniform(0, 0.3))
        killed += process.poll() is None
        process.kill()
        process.communicate()
        assert_whole_parts(there(output), reference)
    assert killed >= 3
    told = json.loads(
        subprocess.run([*command, "--output", str(output)], cwd=folder, capture_output=True, check=True).stdout
    )
    assert told["parts_found"] >= 3
    assert told["complete"]
    assert there(output) == reference


def test_ctrl_c_leaves_whole_parts_and_nothing_else(crowd, reference, tmp_path):
    folder, command = crowd
    output = tmp_path / "lists"
    for n_parts in (0, 2):
        process = start_and_wait(command, folder, output, n_parts, first="_settings.json")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert json.loads(out)["kind"] == "Interrupted"
        assert "Traceback" not in err
        found = there(output)
        assert "_manifest.json" not in found
        assert not any(name.startswith(".") for name in found)
        assert_whole_parts(found, reference)
    subprocess.run([*command, "--output", str(output)], cwd=folder, capture_output=True, check=True)
    assert there(output) == reference


def test_shards_at_the_same_time_in_one_folder_make_what_one_run_makes(crowd, reference, tmp_path):
    folder, command = crowd
    at_once = [
        subprocess.Popen([*command, "--output", tmp_path, "--shard", f"{n % 3}/3"], cwd=folder, stdout=subprocess.PIPE)
        for n in range(6)  # each of them twice, as a scheduler that lost an answer does it
    ]
    told = [json.loads(process.communicate()[0]) for process in at_once]
    assert [process.returncode for process in at_once] == [0] * 6
    assert any(one["complete"] for one in told)
    assert there(tmp_path) == reference


def limited(size):
    code = "import os, resource as r, sys; r.setrlimit(r.RLIMIT_FSIZE, ({0}, {0})); os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-S", "-c", code.format(size)]


@pytest.mark.parametrize("size", [0, 100, 200_000])
def test_a_disk_that_takes_no_more_stops_it_with_5_and_leaves_nothing_half(crowd, reference, tmp_path, size):
    folder, command = crowd
    output = tmp_path / "lists"
    done = subprocess.run(
        [*limited(size), *command, "--output", str(output)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stderr
    told = json.loads(done.stdout)
    assert (told["kind"], told["status"]) == ("StorageError", 5)
    # With next to no room the online store, of which it asks who was erased, is the first that cannot be opened.
    assert re.search("writing lists to .*file too large|online.db failed: disk I/O error", told["error"])
    assert "Traceback" not in done.stderr
    assert_whole_parts(there(output), reference)
    assert not any(name.startswith(".") for name in there(output))


def test_a_folder_that_cannot_be_is_refused_by_name(crowd, tmp_path):
    folder, command = crowd
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "file")], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    assert "not a directory" in json.loads(done.stdout)["error"]


def test_without_a_model_it_says_what_to_type(tmp_path):
    done = subprocess.run([RECSYS, "score", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"].endswith("has no published model. Run: recsys nightly")
    assert list(tmp_path.iterdir()) == []
