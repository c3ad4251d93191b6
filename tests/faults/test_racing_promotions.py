"""The registry in files under a race of processes (DynamoDB: test_aws_registry.py); NIGHTLY=1: 4,000 promotions."""

import multiprocessing
import os
from contextlib import contextmanager

import pytest

from recsys.artifacts import ArtifactManifest, LocalModelRegistry, registry
from recsys.errors import ArtifactError, ConflictError, StorageError

PROCESSES, PROMOTIONS = 8, 500 if os.environ.get("NIGHTLY") else 25


def promote_often(root, worker, promotions):
    """Promote until all are in; return the entries won."""
    local, won = LocalModelRegistry(root), []
    for n in range(promotions):
        manifest = ArtifactManifest("shop", f"v{worker}-{n}", "als", "", {}, {}, {}, ())
        while len(won) == n:
            try:
                now = local.current("shop")
                won.append(local.promote(manifest, expected=now.sequence if now else 0))
            except ConflictError:
                continue
    return won


def no_lock(monkeypatch):
    monkeypatch.setattr(registry.fcntl, "flock", lambda *_: None)


def no_comparison(monkeypatch):
    all_have_looked = multiprocessing.get_context("fork").Barrier(PROCESSES)

    @contextmanager
    def careless(self, namespace, expected):
        if expected == 0:
            all_have_looked.wait(60)
        folder = self._folder(namespace)
        registry.make_folder(folder)
        with (folder / "lock").open("a") as lock:
            registry.fcntl.flock(lock, registry.fcntl.LOCK_EX)
            yield self.current(namespace)

    monkeypatch.setattr(LocalModelRegistry, "_locked", careless)


@pytest.mark.parametrize("planted", [None, no_lock, no_comparison])
def test_racing_processes_get_one_number_each_and_none_is_lost(tmp_path, monkeypatch, planted):
    if planted:
        planted(monkeypatch)
    try:
        with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
            work = [(tmp_path, worker, PROMOTIONS) for worker in range(PROCESSES)]
            won = [pointer for each in pool.starmap(promote_often, work) for pointer in each]
        won.sort(key=lambda pointer: pointer.sequence)
        each_number_once = [pointer.sequence for pointer in won] == list(range(1, PROCESSES * PROMOTIONS + 1))
        faultless = each_number_once and won == LocalModelRegistry(tmp_path).history("shop")
    except (ArtifactError, StorageError, OSError):  # two that write one file at once tear it
        faultless = False
    assert faultless is (planted is None)
