"""`recsys demo`: the whole chain on the sample, in front of the reader, with the real server."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from batch_jobs.config import IngestConfig, JobConfig
from batch_jobs.console import Screen
from batch_jobs.nightly import nightly
from batch_jobs.stores import Stores
from recsys.errors import DataError, StorageError

_NAMESPACE = "demo"
_SENT = 3
_PATIENCE_S = 30
_MODEL = {"kind": "als", "factors": 32, "unobserved_weight": 0.7, "regularization": 0.02}


def demo(data: Path) -> None:
    """Run the chain on embedded stores in a folder of their own."""
    with TemporaryDirectory(prefix="recsys-demo-") as folder:
        os.environ |= {
            "RECSYS_ARTIFACTS": f"file:{folder}/artifacts",
            "RECSYS_REGISTRY": f"file:{folder}/registry",
            "RECSYS_ONLINE": f"sqlite:{folder}/online.db",
            "RECSYS_EVENTS": f"file:{folder}/events",
            "RECSYS_RUNS": f"file:{folder}/runs",
        }
        run_chain(data, Path(folder), Screen())


def run_chain(data: Path, folder: Path, screen: Screen, deliver: Callable[[], None] = lambda: None) -> None:
    """Train on `data`, publish, start the API, ask for lists, send events, show the changed list, train once more.

    The stores are those the environment names. Before the second training, `deliver` does what AWS does by itself: it
    brings events from the queue to the log.
    """
    events, items = data / "interactions.csv", data / "items.csv"
    if not (events.is_file() and items.is_file()):
        raise DataError(
            f"{data} has no interactions.csv and items.csv", remedy="Run it in the repository, or give --data"
        )
    sources = IngestConfig((str(events),), str(items), settle_s=0)  # nothing else is on its way
    config = JobConfig(_NAMESPACE, sources, model=_MODEL, clean={"weights": "binary"})
    stores = Stores.from_environment()
    with closing(stores.online):
        first = nightly(stores, config, screen)
        screen.summary("1. Trained, judged and published", first)
        with _server(folder / "server.log") as url:
            ask = _conversation(url, events, items, screen)
            deliver()
            second = nightly(stores, config, screen)
            learned = second["interactions"] - first["interactions"]
            if learned != _SENT:
                raise StorageError(f"the second model knows {learned} events more than the first, not {_SENT}")
            _await_version(url, second["version"])
            ask(f"8. The next morning: version {second['version']} was trained on {learned} events more")
    screen.note("Now with your own data: recsys nightly EVENTS.csv, then recsys serve. The README goes on from here.")


def _conversation(url: str, events: Path, items: Path, screen: Screen) -> Callable[[str], list[str]]:
    """Ask for lists and send events; returns what asks for the list of the same user again, under a title."""
    titles, rows = {row["item_id"]: row for row in _rows(items)}, _rows(events)
    user = _light_user(rows)
    history = [row["item_id"] for row in rows if row["user_id"] == user]
    base = f"/v1/{_NAMESPACE}"

    def ask(title: str, path: str) -> list[str]:
        answer = _call(url + path)
        listed, scores = [one["item"] for one in answer["items"]], [one["score"] for one in answer["items"]]
        _show(screen, titles, f"{title}\nGET {path} -> strategy {answer['strategy']}", listed, scores)
        return listed

    _show(screen, titles, f"2. What user {user} read last", history[-8:])
    theirs = f"{base}/users/{user}/recommendations?k=8"
    first = ask(f"3. What user {user} should read next", theirs)
    ask("4. Somebody nobody knows gets what is popular", f"{base}/users/stranger/recommendations?k=5")
    ask(f"5. Books like {titles[first[0]]['title']}", f"{base}/items/{first[0]}/similar?k=5")
    other = _other_taste(rows, user, titles)
    stored = _call(f"{url}{base}/events", {"events": [_reading(user, item) for item in other]})
    told = f"POST {base}/events -> {stored['accepted']} stored"
    _show(screen, titles, f"6. User {user} now reads three books of another kind\n{told}", other)
    changed = ask("7. The list a moment later", theirs)
    new, again = set(changed) - set(first), set(changed) & set(other)
    offered = f"{len(again) or 'none'} of the three is offered again"
    screen.note(f"{len(new)} of {len(changed)} books are new in the list, and {offered}.")
    return lambda title: ask(title, theirs)


def _await_version(url: str, version: str) -> None:
    """Wait until the API, which looks for a new version every second, answers from this one."""
    until = time.monotonic() + _PATIENCE_S
    while _call(f"{url}/v1/{_NAMESPACE}/popular?k=1")["model_version"] != version:
        if time.monotonic() > until:
            raise StorageError(f"the API does not answer from version {version}")
        time.sleep(0.1)


def _show(
    screen: Screen, titles: dict[str, dict[str, str]], title: str, items: list[str], scores: list[float] | None = None
) -> None:
    rows: list[list[Any]] = [
        [n, one, titles[one]["title"], titles[one]["genres"].replace("|", ", ")] for n, one in enumerate(items, 1)
    ]
    head = ["", "item", "title", "genres"]
    if scores is not None:
        rows, head = [[*row, score] for row, score in zip(rows, scores, strict=True)], [*head, "score"]
    screen.rows(title, head, rows)


def _reading(user: str, item: str) -> dict[str, Any]:
    event = {"user": user, "item": item, "timestamp": time.time(), "event": "rating", "value": 5}
    return {"event_id": str(uuid.uuid4()), **event}


def _light_user(rows: list[dict[str, str]]) -> str:
    """Return a user with fewer events than most, whose list three more can move."""
    counts = Counter(row["user_id"] for row in rows)
    return sorted(counts, key=lambda user: (counts[user], user))[len(counts) // 10]


def _other_taste(rows: list[dict[str, str]], user: str, titles: dict[str, dict[str, str]]) -> list[str]:
    """Return the three most read books of the genre this user has least of."""
    read = {row["item_id"] for row in rows if row["user_id"] == user}
    genre = {item: row["genres"].split("|")[0] for item, row in titles.items()}
    taste = Counter(genre[item] for item in read)
    rarest = min(sorted(set(genre.values())), key=lambda name: taste[name])
    readers = Counter(row["item_id"] for row in rows)
    return sorted((item for item in genre if genre[item] == rarest and item not in read), key=lambda i: -readers[i])[
        :_SENT
    ]


@contextmanager
def _server(log: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "batch_jobs.cli", "serve", "--port", "0"]
    with log.open("wb") as lines:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=lines, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("Serving "):
            raise StorageError(f"the API did not start: {log.read_text()}")
        yield line.split()[1]
    finally:
        process.terminate()
        process.wait(timeout=10)
        if process.stdout:
            process.stdout.close()


def _call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"})
    # The server is on this machine, whatever proxy the environment names.
    with build_opener(ProxyHandler({})).open(request, timeout=10) as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
