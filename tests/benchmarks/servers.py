"""Server processes over a published catalogue, and what clients ask them."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from tests.benchmarks.published import NAMESPACE, USERS, environment

SERVER = Path(__file__).parents[2] / "chalice_app" / "server.py"
K = 20
Question = tuple[str, bytes]


@contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """Start one process, wait until it is ready, end it."""
    with subprocess.Popen(
        [sys.executable, str(SERVER), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a line for every request
        text=True,
        env={**os.environ, **environment(folder)},
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[1]
            wait_until_ready(url)
            host, _, port = url.removeprefix("http://").partition(":")
            yield process, (host, int(port))
        finally:
            process.terminate()


def wait_until_ready(url: str) -> None:
    """Ask /health/ready until it says yes."""
    for _ in range(600):
        try:
            return urlopen(f"{url}/health/ready", timeout=30).close()
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server does not get ready")


def get(path: str) -> bytes:
    """Bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def lists(seed: int) -> Iterator[Question]:
    """Ask for the lists of people at random; those with even numbers have events to fold in."""
    for user in np.random.default_rng(seed).integers(0, USERS, 1 << 20).tolist():
        kind = "published" if user % 2 else "folded in"
        yield kind, get(f"/v1/{NAMESPACE}/users/u{user}/recommendations?k={K}")


def in_turn(seed: int) -> Iterator[Question]:
    """The empty route, both kinds of lists, an event."""
    rng = np.random.default_rng(seed)
    for number in itertools.count():
        user = 2 * int(rng.integers(0, USERS // 2))
        yield "empty", get("/health/live")
        yield "published", get(f"/v1/{NAMESPACE}/users/u{user + 1}/recommendations?k={K}")
        yield "folded in", get(f"/v1/{NAMESPACE}/users/u{user}/recommendations?k={K}")
        event = {"event_id": f"{seed}-{number}", "user": f"x{number}", "item": f"i{user}", "timestamp": 1_700_000_000}
        body = json.dumps({"events": [event]}).encode()
        head = f"POST /v1/{NAMESPACE}/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        yield "event", head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
