"""Whatever was stored, published and rolled back: what is in service stays, and what rollbacks within reach lead to."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from clouds import CLOUDS
from hypothesis import given
from hypothesis import strategies as st

from batch_jobs import prune as module
from batch_jobs.console import Screen
from batch_jobs.prune import prune
from recsys.artifacts import LocalArtifactStore, LocalModelRegistry, describe
from recsys.errors import ConflictError, NoModelError
from recsys.serving import MemoryOnlineStore, UserState
from recsys.stores import ServingStores

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where flushing a file takes no time
ARRAYS = {"one": np.zeros(1, np.float32)}
STATE = UserState(np.zeros(1, np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))
STEPS = st.one_of(st.just(("store",)), st.tuples(st.just("promote"), st.integers(0, 9)), st.just(("roll_back",)))


class Life:
    """Versions that are stored one after the other, published and rolled back in any order."""

    def __init__(self, stores):
        self.stores, self.stored = stores, []

    def store(self):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=len(self.stored))
        self.stored.append(describe("shop", "als", ARRAYS, config={}, data={}, metrics={}, now=at))
        self.stores.artifacts.put(self.stored[-1], ARRAYS)
        self.stores.online.put_users("shop", self.stored[-1].version, [("u", STATE)])

    def promote(self, back):
        if self.stored:
            self.stores.registry.promote(self.stored[-1 - back % len(self.stored)], expected=self.sequence)

    def roll_back(self):
        if self.sequence and self.stores.registry.current("shop").previous:
            self.stores.registry.rollback("shop", expected=self.sequence)

    @property
    def sequence(self):
        return len(self.stores.registry.history("shop"))

    def left(self):
        """Versions whose states are there; those of no other can be opened."""
        found = [one.version for one in self.stored if self.stores.online.user_state("shop", one.version, "u")]
        assert self.stores.artifacts.versions("shop") == found
        return found

    def prune(self, keep):
        """Prune, look, and then go back as far as it must be possible."""
        prune(self.stores, "shop", keep, Screen(as_json=True))
        history, left = self.stores.registry.history("shop"), self.left()
        needed = [entry.version for entry in history[-keep:]]
        for _ in range(keep):
            self.roll_back()
            needed += [entry.version for entry in self.stores.registry.history("shop")[-1:]]
        for version in needed:
            self.stores.artifacts.open("shop", version)
        assert left == [one.version for one in self.stored if not needed or one.version >= min(needed)]


def run(steps, keep):
    with TemporaryDirectory(dir=MEMORY) as folder:
        stores = LocalArtifactStore(Path(folder, "artifacts")), LocalModelRegistry(Path(folder, "registry"))
        life = Life(SimpleNamespace(artifacts=stores[0], registry=stores[1], online=MemoryOnlineStore()))
        for name, *arguments in steps:
            getattr(life, name)(*arguments)
        life.prune(keep)


@given(st.lists(STEPS, max_size=8), st.integers(2, 4))
def test_what_anybody_may_go_back_to_stays_and_what_is_older_goes(steps, keep):
    run(steps, keep)


STORE, NEWEST, BACK = ("store",), ("promote", 0), ("roll_back",)
THREE = [STORE, NEWEST] * 3


@pytest.mark.parametrize(
    ("planted", "steps"),
    [
        (lambda history, keep: {entry.version for entry in history[-keep:]}, [*THREE, BACK]),
        (lambda history, keep: {history[-1].version}, THREE),
        (lambda history, keep: {entry.version for entry in history}, [*THREE, *THREE]),
    ],
    ids=["moves alone", "what is in service alone", "nothing is too old"],
)
def test_planted_bugs_are_found(monkeypatch, planted, steps):
    run(steps, 2)
    monkeypatch.setattr(module, "_needed", planted)
    with pytest.raises((AssertionError, NoModelError)):
        run(steps, 2)


def test_what_the_gate_compares_with_stays(tmp_path):
    stores = LocalArtifactStore(tmp_path / "artifacts"), LocalModelRegistry(tmp_path / "registry")
    life = Life(SimpleNamespace(artifacts=stores[0], registry=stores[1], online=MemoryOnlineStore()))
    for name, *arguments in [STORE, NEWEST, STORE, STORE]:  # one that was in service, and those that were judged
        getattr(life, name)(*arguments)
    best, twin = life.stored[1:]
    for n in range(4):
        at = datetime(2026, 2, 1 + n, tzinfo=UTC)
        judged = {"twin": twin.version, "best": best.version}
        manifest = describe("shop", "als", ARRAYS, config={}, data=judged, metrics={}, now=at)
        stores[0].put(manifest, ARRAYS)
        stores[1].promote(manifest, expected=life.sequence)
    prune(life.stores, "shop", 2, Screen(as_json=True))
    left = stores[0].versions("shop")
    assert {best.version, twin.version} < set(left)
    assert life.stored[0].version not in left


@pytest.mark.parametrize("place", ["embedded", CLOUDS[1]])
def test_all_stores_forget(request, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    if place != "embedded":
        aws = request.getfixturevalue("aws")(place)
        monkeypatch.setenv("RECSYS_ARTIFACTS", f"s3://{aws.bucket()}/models")
        monkeypatch.setenv("RECSYS_REGISTRY", f"dynamodb://{aws.table()}")
        monkeypatch.setenv("RECSYS_ONLINE", f"dynamodb://{aws.table()}")
        monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    stores = ServingStores.from_environment()
    with closing(stores.online):
        life = Life(stores)
        for name, *arguments in [STORE, *THREE, STORE, NEWEST]:
            getattr(life, name)(*arguments)
        drop = stores.online.drop_version

        def while_somebody_publishes(namespace, version):
            drop(namespace, version)
            life.promote(0)

        with monkeypatch.context() as patch:
            patch.setattr(stores.online, "drop_version", while_somebody_publishes)
            with pytest.raises(ConflictError, match="Run it again"):
                prune(stores, "shop", 2, Screen(as_json=True))
        life.prune(2)
        assert len(life.left()) == 2


def test_what_a_running_experiment_names_stays_until_it_ends(tmp_path):
    stores = LocalArtifactStore(tmp_path / "artifacts"), LocalModelRegistry(tmp_path / "registry")
    life = Life(SimpleNamespace(artifacts=stores[0], registry=stores[1], online=MemoryOnlineStore()))
    for _ in range(6):
        life.store()
        life.promote(0)
    versions = [one.version for one in life.stored]
    variants = [{"name": "new", "share": 0.5}, {"name": "old", "share": 0.5, "version": versions[1]}]
    stores[1].put_experiment("shop", {"name": "e", "variants": variants})
    prune(life.stores, "shop", 2, Screen(as_json=True))
    assert life.left() == [versions[1], *versions[3:]]
    stores[1].put_experiment("shop", {"name": "e", "variants": variants, "ended_at": "now"})
    prune(life.stores, "shop", 2, Screen(as_json=True))
    assert life.left() == versions[3:]
