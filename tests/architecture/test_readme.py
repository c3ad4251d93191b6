"""Every command and example of the README, run in order in an empty folder beside a link to the data."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(language, options.split(), text) for language, options, text in BLOCK.findall(README)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    return tmp_path


@pytest.fixture
def environment():
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    return {**clean, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OPENBLAS_NUM_THREADS": "1"}


def wait_for(url, process):
    for _ in range(200):
        try:
            return urlopen(url, timeout=5).close()
        except URLError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
    raise AssertionError("the server does not answer")


def make_commands(text):
    return [line for line in text.splitlines() if line.startswith("make ")]


def test_every_block_runs_as_it_is_written(folder, environment):
    port, servers, ran = free_port(), [], 0
    try:
        for language, options, raw in BLOCKS:
            text = raw.replace("8000", port)
            if language == "toml":
                (folder / options[0].removeprefix("file=")).write_text(text)
            elif language == "bash" and options == ["background"]:
                servers.append(subprocess.Popen(["bash", "-ec", f"exec {text}"], cwd=folder, env=environment))
                wait_for(f"http://127.0.0.1:{port}/health/live", servers[-1])
            elif language in ("bash", "python") and not make_commands(text):
                expected = int(options[0].removeprefix("expect=")) if options else 0
                command = (
                    ["bash", "-eo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-W", "error", "-c"]
                )
                done = subprocess.run(
                    [*command, text],
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )
                assert done.returncode == expected, f"{text}\n{done.stdout}\n{done.stderr}"
                assert '"status":4' not in done.stdout
                assert '"status":5' not in done.stdout
            else:
                continue
            ran += 1
    finally:
        for server in servers:
            server.terminate()
            server.wait(timeout=10)
    assert ran >= 8


def test_the_make_targets_it_names_exist_and_say_what_they_would_run():
    commands = [command for _, _, text in BLOCKS for command in make_commands(text)]
    assert commands[:2] == ["make demo", "make test"]
    assert len(commands) == 5  # packaging and deploying, without and with what trains
    assert shutil.which("make")
    stamp = Path(sys.prefix) / "built"
    if stamp.exists():  # this environment was made by make, which then has nothing to install
        done = subprocess.run(
            ["make", "demo", f"VENV={sys.prefix}"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "7. The list a moment later" in done.stdout
    for command in [*commands, "make help", "make serve", "make lint", "make sanitize", "make coverage", "make bench"]:
        done = subprocess.run(
            [*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_every_file_it_links_to_exists():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_setting_and_exit_status_is_documented():
    from batch_jobs.cli import EXIT_STATUS, app
    from recsys.stores import DEFAULTS

    for name, default in DEFAULTS.items():
        assert name in README
        assert default in README
    assert all(re.search(rf"\b{status} ", README) for status in EXIT_STATUS.values())
    commands = {command.callback.__name__ for command in app.registered_commands}
    assert {name for name in commands if not re.search(rf"recsys {name}\b|make {name}\b", README)} == set()


def test_what_is_made_from_the_table_of_operations_is_up_to_date(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    from chalice_app.readme import written

    assert written(README) == README, "run python chalice_app/readme.py"
    assert written(README.replace("| read |", "| write |", 1)) == README
