"""The console script on disks that are full, read-only or forbidden, and interrupted: nothing is lost."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from commands import (
    CSV,
    HEADER,
    RECSYS,
    ROOT,
    assert_failed,
    assert_no_drafts,
    files_of,
    limited,
    list_of,
    recsys,
    side_by_side,
    stores_of,
)

from batch_jobs import cli
from recsys.artifacts import unpack


def assert_unharmed(shop, folder, status):
    """After a run for want of space: what is in service is whole, and nothing half-written lies about."""
    assert_no_drafts(folder)
    stores = stores_of(folder)
    pointer = stores.registry.current("default")
    unpack(stores.artifacts.open("default", pointer.version, manifest_sha256=pointer.manifest_sha256))
    assert len(stores.registry.history("default")) == pointer.sequence
    stores.events.read("default")
    if status:
        assert shop.files.items() <= files_of(folder / "var").items()
        assert pointer.version == shop.published
        assert list_of(folder) == shop.listed
    stores.online.close()


FULL = {
    "ingest more.csv": (0, 4, 900, 2600),
    "train --set factors=8": (0, 60, 500, 3000, 4000, 30_000, 95_000),
    "publish {trained}": (0, 100, 300, 20_000, 33_000, 200_000),
}


@pytest.mark.parametrize("words", FULL)
def test_a_file_that_may_not_grow_stops_the_run_and_harms_nothing(shop, tmp_path, subtests, monkeypatch, capsys, words):
    rows = b"".join(b"u%d,i%d,3,%d\n" % (n * n % 977, n, n) for n in range(400))
    arguments = [*words.format(trained=shop.trained).split(), "--json"]

    def run(limit):
        folder = tmp_path / str(limit)
        folder.mkdir()
        shop.copy(folder)
        (folder / "more.csv").write_bytes(HEADER + rows)
        return recsys(folder, *arguments, before=limited(limit))

    for limit, done in side_by_side(run, FULL[words]).items():
        with subtests.test(limit):
            assert_failed(done, 5, r"failed|too large|full")
            assert_unharmed(shop, tmp_path / str(limit), 5)
            monkeypatch.chdir(tmp_path / str(limit))
            assert cli.run(arguments) == 0, capsys.readouterr().err
            assert_unharmed(shop, tmp_path / str(limit), 0)


MOUNT = ["unshare", "-rm", "sh", "-c"]
needs_mount = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*MOUNT, "mount -t tmpfs none /mnt"], capture_output=True).returncode,
    reason="this machine lets nobody mount a tmpfs in a namespace of its own",
)


@needs_mount
def test_a_full_disk_stops_a_nightly_and_harms_nothing(shop, tmp_path, subtests):
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in (shop.folder / "var").rglob("*") if path.is_file())
    sample = ROOT / "data/sample/interactions.csv"

    def run(spare_kib):
        folder = tmp_path / str(spare_kib)
        (folder / "disk").mkdir(parents=True)
        script = (
            f"mount -t tmpfs -o size={used + spare_kib}k none disk && cp -r {shop.folder}/var disk/var && cd disk && "
            f"{RECSYS} nightly {sample} --set factors=8 --set iterations=3 --json; status=$?; "
            "cp -r var ../var; exit $status"
        )
        return subprocess.run([*MOUNT, script], cwd=folder, capture_output=True, text=True, timeout=60)

    for spare_kib, done in side_by_side(run, (0, 4, 20, 40, 100, 240, 340)).items():
        with subtests.test(spare_kib):
            assert_failed(done, 5, r"no space left|is full|disk I/O|unable to open")
            assert_unharmed(shop, tmp_path / str(spare_kib), 5)


@needs_mount
def test_a_read_only_disk_is_named(shop, tmp_path):
    folder = shop.copy(tmp_path)
    script = (
        f"mount --bind var var && mount -o remount,bind,ro var && {RECSYS} ingest {ROOT}/data/sample/items.csv "
        f"--user-column title --json; {RECSYS} publish {shop.trained} --json >&2; {RECSYS} recommend --json >&2"
    )
    done = subprocess.run([*MOUNT, script], cwd=folder, capture_output=True, text=True, timeout=60)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    assert len(lines) >= 2, done.stderr
    assert all(re.search(r"read-only|readonly|unable to open", line) for line in lines), lines
    shop.assert_untouched(folder)


def test_what_may_not_be_read_or_written_is_refused_by_name(shop, tmp_path, subtests):
    # Root may do everything, unless it gives the right away.
    caps = "-dac_override,-dac_read_search"
    before = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"] if os.geteuid() == 0 else []
    if before and (not shutil.which("setpriv") or subprocess.run([*before, "true"]).returncode):
        pytest.skip("root cannot give up its rights here")
    folder = shop.copy(tmp_path)
    (folder / "e.csv").write_bytes(CSV)
    (folder / "secret.csv").write_bytes(CSV)
    (folder / "secret.csv").chmod(0)
    for path in sorted((folder / "var").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (folder / "var").chmod(0o555)
    cases = {
        "ingest secret.csv": (3, r"secret\.csv: may not be read: permission denied"),
        "ingest e.csv": (5, r"adding to var/events/.* failed: permission denied"),
        "train --set factors=4": (5, r"var/online\.db failed"),
        f"publish {shop.trained}": (5, r"var/online\.db failed"),
    }
    for words, done in side_by_side(
        lambda words: recsys(folder, *words.split(), "--json", before=before), cases
    ).items():
        with subtests.test(words):
            assert_failed(done, *cases[words])
    for path in [folder / "var", *sorted((folder / "var").rglob("*"))]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    shop.assert_untouched(folder)


def test_ctrl_c_ends_a_nightly_with_130_and_the_next_one_works(shop, tmp_path, subtests, monkeypatch, capsys):
    arguments = ["nightly", "more.csv", "--json", "--set", "factors=8", "--set"]

    def run(wait_s):
        folder = tmp_path / str(wait_s)
        folder.mkdir()
        shop.copy(folder)
        (folder / "more.csv").write_bytes(HEADER + b"u001,i001,3,1735700000\n")
        seen = files_of(folder / "var")
        with subprocess.Popen(
            [RECSYS, *arguments, "iterations=20000"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            deadline = time.monotonic() + 30
            while files_of(folder / "var").keys() == seen.keys() and time.monotonic() < deadline:
                time.sleep(0.01)  # until the events are on their way into the log
            time.sleep(wait_s)
            # Some library code swallows one that arrives within the 40 ms of reading the log (1 in 12): then again.
            for patience_s in (4, 4, 4):
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    out, err = process.communicate(timeout=patience_s)
                    break
            else:
                process.kill()
                pytest.fail("three times Ctrl-C did not end it")
        return subprocess.CompletedProcess([], process.returncode, out, err)

    for wait_s, done in side_by_side(run, (0.0, 0.05, 0.3, 0.8)).items():
        with subtests.test(wait_s):
            assert_failed(done, 130, "interrupted; what was not finished was not stored")
            assert_unharmed(shop, tmp_path / str(wait_s), 130)
            monkeypatch.chdir(tmp_path / str(wait_s))
            assert cli.run([*arguments, "iterations=3"]) == 0, capsys.readouterr().err
            assert stores_of(tmp_path / str(wait_s)).registry.current("default").sequence == 2
            assert_unharmed(shop, tmp_path / str(wait_s), 0)
