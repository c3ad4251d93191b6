"""What is not needed is given back: vectors between requests, and by a reload all that the one before it opened."""

import gc
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from world import World

from recsys.data import Dataset, interactions_from_tuples
from recsys.models import ImplicitALS
from recsys.serving import loader
from recsys.serving.loader import ModelLoader, ServedModel

SETTLED, RELOADS = 20, 60


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two versions of one namespace."""
    world = World(tmp_path_factory.mktemp("world"))
    pairs = [(f"u{n}", f"i{n * m % 400}", 1.0) for n in range(200) for m in (1, 3, 7)]
    data = Dataset.from_interactions(interactions_from_tuples(sorted(set(pairs))))
    world.versions = [world.publish(ImplicitALS(factors=f, iterations=1).fit(data)) for f in (8, 16)]
    return world


def resident(version):
    """Kilobytes of the item vectors of a version that are with this process."""
    mapping = Path("/proc/self/smaps").read_text().partition(f"{version}/item_vectors.npy")[2]
    return int(re.search(r"Rss:\s+(\d+)", mapping)[1])


def test_vectors_that_requests_touched_are_given_back(world, monkeypatch):
    monkeypatch.setattr(loader, "_SMALL_BYTES", 0)
    model = world.loader.current("shop")
    before = np.array(model.factors.item_vectors)
    assert resident(model.manifest.version) > 0
    for _ in range(loader._LEAN):
        world.loader.current("shop")
    assert resident(model.manifest.version) == 0
    np.testing.assert_array_equal(model.factors.item_vectors, before)


def held():
    """Models alive, files open, artefacts mapped."""
    models = [one for one in gc.get_objects() if isinstance(one, ServedModel)]
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(".npy")]
    return len(models), len(list(Path("/proc/self/fd").iterdir())), len(mapped)


def reloaded(world, count):
    for number in range(count):
        now = world.registry.current("shop")
        world.registry.promote(world.versions[number % 2], expected=now.sequence)
        answer = world.service.recommend("shop", "u1", 5)
        world.service.similar("shop", "i1", 5)
        assert (answer.model_version, answer.degraded) == (world.versions[number % 2].version, False)


def growth(world):
    """What many reloads leave behind: models, files, mappings, and bytes of Python's and numpy's own memory."""
    reloaded(world, SETTLED)
    gc.collect()
    before = held()
    tracemalloc.start()
    reloaded(world, 2)
    traced = tracemalloc.get_traced_memory()[0]
    reloaded(world, RELOADS)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - traced
    tracemalloc.stop()
    return *(after - at_first for after, at_first in zip(held(), before, strict=True)), grown


def test_reloads_leave_nothing_behind(world):
    models, files, mappings, size = growth(world)
    assert (models, files, mappings) == (0, 0, 0)
    assert size < 500 * RELOADS  # less than the smallest object a reload could leave


def test_a_loader_that_keeps_what_it_has_loaded_is_noticed(world, monkeypatch):
    """Planted: the test above would prove nothing if this passed."""
    kept, load = [], ModelLoader._load
    monkeypatch.setattr(ModelLoader, "_load", lambda *a: (kept.append(load(*a)), kept[-1])[1])
    models, _, mappings, _ = growth(world)
    assert models == RELOADS + 2
    assert mappings >= RELOADS + 2
