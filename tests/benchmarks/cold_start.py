"""From a fresh process to its first answer, d = 64, as Lambda does it: import the app, call it with an event.

The bare process imports numpy and chalice and opens the same files: the pointer, the manifest, the database, and the
item side by `np.load(mmap_mode="r")`, of which it reads nothing but headers. Wall and processor time of processes in
turn, medians, each ending with `os._exit`. The split is that of a process that answers: imports, opening what is not
verified, verifying, the scan.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from recsys.artifacts import ArtifactManifest
from recsys.artifacts.artifact import ITEM_SIDE
from tests.benchmarks.harness import options, report
from tests.benchmarks.published import NAMESPACE, environment, publish_catalogue

APP = Path(__file__).parents[2] / "chalice_app"
RUNS = 21

BARE = """
import os, sqlite3, sys
from pathlib import Path
import numpy, chalice
folder, version = Path(sys.argv[1]), sys.argv[2]
(folder / "registry/shop/current.json").read_bytes()
(folder / "artifacts/shop" / version / "manifest.json").read_bytes()
arrays = [numpy.load(path, mmap_mode="r") for path in sys.argv[3:]]
sqlite3.connect(folder / "online.db").execute("SELECT 1 FROM users LIMIT 1").fetchone()
os._exit(0)
"""

FIRST = """
import os
from types import SimpleNamespace
from app import app
answer = app({
    "resource": "/v1/{ns}/users/{user}/recommendations",
    "requestContext": {"httpMethod": "GET", "resourcePath": "/v1/{ns}/users/{user}/recommendations"},
    "headers": {}, "pathParameters": {"ns": "shop", "user": "u1"},
    "multiValueQueryStringParameters": {"k": ["20"]}, "stageVariables": None, "body": None, "isBase64Encoded": False,
}, SimpleNamespace(aws_request_id="1"))
assert answer["statusCode"] == 200, answer
"""

SPLIT = f"""
import time
began = time.perf_counter()
import app, json
imported = time.perf_counter()
import recsys.artifacts.store as store, recsys.index as index
spent = dict.fromkeys(("verify", "opened", "search"), 0.0)
def timed(name, work):
    def call(*arguments, **named):
        start = time.perf_counter()
        try:
            return work(*arguments, **named)
        finally:
            spent[name] += time.perf_counter() - start
    return call
store._verified = timed("verify", store._verified)
store.LocalArtifactStore.open = timed("opened", store.LocalArtifactStore.open)
index.ItemIndex.search = timed("search", index.ItemIndex.search)
{FIRST}
whole = time.perf_counter() - imported
print(json.dumps({{
    "import": imported - began, "open": spent["opened"] - spent["verify"], "verify": spent["verify"],
    "search": spent["search"], "rest": whole - spent["opened"] - spent["search"],
}}))
"""
ENDS = "\nos._exit(0)"  # what an interpreter does after its first answer is not waited for


def environment_of(folder: Path) -> dict[str, str]:
    """Where the stores and the app are; bytecode is kept, as an image or a package has it."""
    ours = {
        **os.environ,
        **environment(folder),
        "PYTHONPATH": str(APP),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }
    return {name: value for name, value in ours.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(script: str, arguments: list[str], folder: Path) -> tuple[float, float, str]:
    """Wall and processor seconds of a process, and what it printed."""
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment_of(folder),
        stdout=subprocess.PIPE,
        check=True,
    )
    wall, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used, done.stdout.decode()


def contest(folder: Path, manifest: ArtifactManifest, runs: int) -> dict[str, object]:
    """One row: medians of processes in turn, after one of each that is not counted."""
    names = [one.name for one in manifest.arrays if one.name in ITEM_SIDE]
    files = [str(folder / "artifacts" / NAMESPACE / manifest.version / f"{name}.npy") for name in names]
    contestants = {
        "bare": (BARE, [str(folder), manifest.version, *files]),
        "answer": (FIRST + ENDS, []),
        "imports": ("import app, os" + ENDS, []),
        "split": (SPLIT, []),
    }
    found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in contestants}
    for counted in range(-1, runs):
        for name, (script, arguments) in contestants.items():
            one = run(script, arguments, folder)
            if counted >= 0:
                found[name].append(one)
    wall, used = ({name: statistics.median(one[at] for one in every) for name, every in found.items()} for at in (0, 1))
    parts = [json.loads(printed) for _, _, printed in found["split"]]
    return {
        "items": manifest.data["items"],
        "runs": runs,
        "bare ms": 1e3 * wall["bare"],
        "answer ms": 1e3 * wall["answer"],
        "ratio": wall["answer"] / wall["bare"],
        "ratio, processor": used["answer"] / used["bare"],
        "imports alone": wall["imports"] / wall["bare"],
        **{f"{part} ms": 1e3 * statistics.median(one[part] for one in parts) for part in parts[0]},
    }


def main() -> None:
    """Run 10,000 and 100,000 items, without --quick also a million."""
    chosen = options(__doc__.partition("\n")[0])
    rows = []
    for n_items in (10_000, 100_000) if chosen.quick else (10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            manifest = publish_catalogue(Path(folder), n_items)
            rows.append(contest(Path(folder), manifest, 11 if chosen.quick else RUNS))
    report("Fresh process to first answer", rows, chosen.json or Path("var/bench/cold_start.jsonl"))


if __name__ == "__main__":
    main()
