"""The Dockerfile of the jobs, read: nothing here can build it."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "batch_jobs" / "Dockerfile").read_text()
IGNORE = (ROOT / "batch_jobs" / "Dockerfile.dockerignore").read_text().split()


def lines(dockerfile):
    joined = re.sub(r"\\\n", " ", dockerfile)
    return [line.split(maxsplit=1) for line in joined.splitlines() if line and not line.startswith("#")]


def check(dockerfile):
    """What is copied is there, what is installed is pinned by hash, and what runs is not root."""
    told = lines(dockerfile)
    for name, rest in told:
        if name == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in IGNORE, source
        if name == "FROM":
            assert re.fullmatch(r"python:\d+\.\d+-[a-z-]+( AS \w+)?", rest), "an official image, pinned"
    offline = next(at for at, (name, rest) in enumerate(told) if name == "ENV" and "PIP_NO_INDEX=1" in rest)
    for at, (_, rest) in enumerate(told):
        if re.search(r"\bpip (install|download|wheel)\b", rest):
            assert at > offline or "--require-hashes --requirement .requirements.lock" in rest, rest
    (user,) = [rest for name, rest in told if name == "USER"]
    assert user not in ("root", "0")
    assert ["ENTRYPOINT", '["recsys"]'] in told


def test_the_dockerfile():
    check(DOCKERFILE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("COPY recsys recsys", "COPY recsis recsis"),
        ("--require-hashes ", ""),
        ("ENV PIP_NO_INDEX=1", "ENV PIP_RETRIES=1"),
        ("USER nobody", "USER root"),
        ("python:3.13-slim-trixie", "python:latest"),
    ],
)
def test_planted_defects_are_seen(old, new):
    assert old in DOCKERFILE
    with pytest.raises((AssertionError, StopIteration)):
        check(DOCKERFILE.replace(old, new))


def test_the_lock_holds_what_the_image_installs():
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    extras = re.search(r'"recsys\[([\w,]+)\]"', DOCKERFILE)[1].split(",")
    tools = re.search(r"pip install --quiet ([a-z -]+)$", DOCKERFILE, re.MULTILINE)[1].split()
    wanted = [re.match(r"[\w-]+", one)[0] for extra in extras for one in optional[extra]]
    lock = (ROOT / ".requirements.lock").read_text()
    locked = re.findall(r"^([\w.-]+)==\S+.*\\\n +--hash=sha256:", lock, re.MULTILINE)
    assert {*wanted, *tools, "numpy"} <= set(locked)
