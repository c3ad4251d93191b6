"""Versions come and go: what a reload opens, the next one gives back."""

import gc
import tracemalloc
from pathlib import Path

import pytest
from world import World

from recsys.data import Dataset, interactions_from_tuples
from recsys.models import ImplicitALS
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
