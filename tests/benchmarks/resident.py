"""Memory of a server: resident when ready, during lists, at the worst moment of a hot swap, and after many reloads."""

import subprocess
import tempfile
from pathlib import Path
from urllib.request import urlopen

from recsys.artifacts import ArtifactManifest
from recsys.serving import ModelLoader
from tests.benchmarks.load import load
from tests.benchmarks.memory import alone, resident
from tests.benchmarks.published import NAMESPACE, item_side_bytes, publish_catalogue, stores_in
from tests.benchmarks.servers import lists, server

SETTLED, ASKED = 50, 10_000


def of_server(folder: Path, n_items: int) -> dict[str, object]:
    """Resident megabytes when ready, after and during lists, and at the worst of a hot swap under load."""
    manifest = publish_catalogue(folder, n_items)
    with server(folder) as (process, address):
        ready = resident("VmRSS", process.pid)
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        answered, _ = load([(address, lists(0))], count=ASKED, limit_s=120)
        served, most = resident("VmRSS", process.pid), resident("VmHWM", process.pid)
        new = publish_catalogue(folder, n_items, seed=1)
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        swap(process, address, new)
        peak = resident("VmHWM", process.pid)
    artefact = item_side_bytes(manifest)
    return {
        "items": n_items,
        "artefact MB": artefact / 1e6,
        "ready MB": ready / 1e6,
        "lists": sum(map(len, answered.values())),
        "after them MB": served / 1e6,
        "most MB": most / 1e6,
        "swap peak MB": peak / 1e6,
        "swap peak / artefact": peak / artefact,
    }


def swap(process: subprocess.Popen[str], address: tuple[str, int], new: ArtifactManifest) -> None:
    """Ask until the new version answers, and some more."""
    for _ in range(600):
        load([(address, lists(1))], count=20, limit_s=10)
        with urlopen(f"http://{address[0]}:{address[1]}/v1/{NAMESPACE}/popular?k=1", timeout=60) as answer:
            if new.version in answer.read().decode():
                load([(address, lists(1))], count=500, limit_s=30)
                return
    raise TimeoutError("the new version is not taken up")


def of_reloads(count: int) -> dict[str, object]:
    """Growth over so many reloads of a small model, in a process of its own."""
    return {"reloads": count, "growth MB": alone(reload_often, count) / 1e6}


def reload_often(count: int) -> int:
    """Put two versions into service in turn; bytes held in the end beyond those after the first few."""
    with tempfile.TemporaryDirectory() as name:
        folder, stores = Path(name), stores_in(Path(name))
        versions = [publish_catalogue(folder, 10_000, seed=seed) for seed in (0, 1)]
        loader = ModelLoader(stores.artifacts, stores.registry, refresh_s=0.0)
        for number in range(SETTLED + count):
            now = stores.registry.current(NAMESPACE)
            stores.registry.promote(versions[number % 2], expected=now.sequence)
            model = loader.current(NAMESPACE)
            assert model.manifest == versions[number % 2]
            model.index.search(model.factors.item_vectors[:1], 20)
            model.cosine_index.similar(0, 20)
            if number == SETTLED - 1:
                before = resident("VmRSS")
        return resident("VmRSS") - before
