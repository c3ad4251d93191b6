"""`recsys train`, `publish` and `rollback` killed at any moment: the old or the new version, whole; the next converges.

Killed before, after and in the middle of every call that changes a file (`kill_points.c`), those of SQLite included.
After each kill two servers look at the stores: one that has just started, and one that still has the model from before
the run in memory. The sweep also runs against planted bugs, which it must find.
"""

import csv
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from forks import EVERY_POINT, KILLED, forks

from recsys.artifacts import ArtifactManifest, LocalArtifactStore, LocalModelRegistry
from recsys.errors import RecsysError
from recsys.serving import ModelLoader, RecommendationService, SQLiteOnlineStore

USERS = [f"u{n}" for n in range(30)]
ASKED = USERS[::4]  # of every transaction of states one user; in the end all states are compared
SEED = 7


PLANTED = {
    "states after the pointer": "publish b",
    "states only once": "publish b",
    "old states dropped first": "publish b",
    "states of the version before dropped": "publish c",
    "old states kept": "publish c",
    "pointer in place": "publish b",
    "pointer before history": "publish c",
    "no journal": "publish c",
    "manifest first": "train b",
    "in place": "train b",
    "drafts kept": "train b",
}


class Shop:
    """The default stores in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.artifacts = LocalArtifactStore(folder / "var/artifacts")
        self.registry = LocalModelRegistry(folder / "var/registry")

    def copy(self, folder):
        """Copy what a run may change; versions, which it may not, are links."""
        versions = folder / "var/artifacts/shop"
        versions.mkdir(parents=True)
        for version in self.versions:
            (versions / version).symlink_to((self.folder / "var/artifacts/shop" / version).resolve())
        for name in ("registry", "events"):
            if (self.folder / "var" / name).exists():
                shutil.copytree(self.folder / "var" / name, folder / "var" / name)
        for file in self.folder.glob("var/online.db*"):
            shutil.copy(file, folder / "var")
        return Shop(folder)

    @property
    def versions(self):
        return {path.name for path in self.folder.glob("var/artifacts/shop/[!.]*")}

    def check_new_versions(self):
        """Raise `ArtifactError` unless every version that appeared here is whole."""
        for version in self.versions:
            if not (self.folder / "var/artifacts/shop" / version).is_symlink():
                self.artifacts.open("shop", version)

    def server(self):
        """Return the models of a server that has started now and never looks at the pointer again; None without any."""
        models = ModelLoader(self.artifacts, self.registry, refresh_s=float("inf"))
        return None if self.registry.current("shop") is None else models.current("shop") and models

    def answers(self, models):
        """Return what a server says over the user states that are here now."""
        if models is None:
            return None
        with closing(SQLiteOnlineStore(self.folder / "var/online.db")) as online:
            service = RecommendationService(models, online)
            return [service.recommend("shop", user, 4) for user in ASKED] + [service.popular("shop", 4)]

    def state(self):
        """Return everything that a run leaves but the names and times it invents."""
        history = [(one.sequence, one.version, one.previous) for one in self.registry.history("shop")]
        with closing(sqlite3.connect(self.folder / "var/online.db")) as db:
            states = db.execute("SELECT * FROM users ORDER BY version, user").fetchall()
        manifests = self.folder.glob("var/artifacts/shop/*/manifest.json")
        arrays = {ArtifactManifest.from_bytes(path.read_bytes()).arrays for path in manifests}
        drafts = [path.name for path in self.folder.glob("var/artifacts/shop/.*")]
        return history, states, arrays, drafts


@pytest.fixture(scope="module")
def forked():
    with forks(Path(__file__).with_name("publish_jobs.py")) as run:
        yield run


@pytest.fixture(scope="module")
def life(forked, tmp_path_factory):
    """Three versions trained and published, two of them rolled back: each run, and the stores before it."""
    shop, life = Shop(tmp_path_factory.mktemp("shop")), {}

    def run(name, *words):
        life[name] = shop.copy(tmp_path_factory.mktemp("before") / "shop"), words
        assert forked(shop.folder, *words)[0] == 0, words

    for number, name in enumerate("abc"):
        events = [(user, f"i{(n * n + number) % 5 + 2 * m}") for n, user in enumerate(USERS) for m in range(2)]
        with (shop.folder / f"{name}.csv").open("w") as file:
            csv.writer(file).writerows([("user", "item"), *events])
        run(f"ingest {name}", "ingest", "shop", f"{name}.csv")
        before = shop.versions
        run(f"train {name}", "train", "shop")
        (version,) = shop.versions - before
        run(f"publish {name}", "publish", "shop", version)
    run("publish again", "publish", "shop", version)
    run("roll back c", "rollback", "shop")
    run("roll back b", "rollback", "shop")
    return life


def sweep(forked, before, words, place, planted=""):
    """Kill a run at points in any order, look, run it again and compare; return the kills and the first fault."""
    whole, server = before.copy(place / "whole"), before.server()
    status, points = forked(whole.folder, *words)
    assert status == 0
    old, new, left = before.answers(server), whole.answers(whole.server()), whole.state()
    kills = points if planted or EVERY_POINT else -(-points // 3)
    for at in Random(SEED).sample(range(1, points + 1), kills):
        shop = before.copy(place / str(at))
        status, _ = forked(shop.folder, *words, at=at, planted=planted)
        if planted and status == 0:
            continue  # with the bug it has fewer points
        try:
            assert status == KILLED
            assert shop.answers(shop.server()) in (old, new), (
                "what is in service is neither the old version nor the new"
            )
            assert shop.answers(server) == old, "the version from before is no longer whole"
            shop.check_new_versions()
            run_again(forked, shop, words, planted, left)
            assert shop.answers(server) == old, "the version from before is no longer whole after the second run"
        except (AssertionError, RecsysError) as error:
            return kills, [f"point {at}: {error}"]
        shutil.rmtree(shop.folder)
    return kills, []


def run_again(forked, shop, words, planted, left):
    """Run again and compare; of a rollback that had moved the pointer already only what is left of it."""
    history = left[0]
    if words[0] == "rollback" and len(shop.registry.history("shop")) == len(history):
        words = "publish", "shop", history[-1][1]
    status, _ = forked(shop.folder, *words, planted=planted)
    assert status == 0, f"the second run ends with {status}"
    assert shop.state() == left, "the second run ends in another state"


@pytest.mark.parametrize(
    "name", ["train b", "publish a", "publish b", "publish c", "publish again", "roll back c", "roll back b"]
)
def test_killed_at_any_point_the_old_or_the_new_version_is_there_and_the_next_run_converges(
    forked, life, in_memory, name
):
    shop, words = life[name]
    kills, found = sweep(forked, shop, words, in_memory)
    print(name, kills, "kills")
    assert found == []


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_bugs_are_found(forked, life, in_memory, planted):
    shop, words = life[PLANTED[planted]]
    _, found = sweep(forked, shop, words, in_memory, planted)
    assert len(found) == 1
