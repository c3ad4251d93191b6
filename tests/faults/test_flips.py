"""Versions change under load, and no answer mixes two of them (invariant I1).

A constant planted in each version stands in its item ids, vectors, biases, counts and user states, so an answer tells
of each of its parts where it comes from. Readers are threads of several processes and a client of the HTTP server. The
next version comes when each has had an answer from the last: the states of versions older than the one before are gone.
NIGHTLY=1 makes ten times as many flips and reads, and also over moto, which is slower than ministack. Over AWS there
are few by default: a read is four calls of a stand-in, a flip a hundred. CLOUD_FLIPS=1000 makes as many as over the
embedded stores, and plants every bug there, too.
"""

import http.client
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from math import ceil
from operator import lt
from pathlib import Path

import pytest
from clouds import CLOUDS
from planted import USERS, K, lists, put

from batch_jobs import publish
from batch_jobs.console import Screen
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.errors import RecsysError
from recsys.serving import ModelLoader, RecommendationService, SQLiteOnlineStore
from recsys.stores import ServingStores

NIGHTLY = bool(os.environ.get("NIGHTLY"))
SCALE = 10 if NIGHTLY else 1
FLIPS = int(os.environ.get("FLIPS", 150 * SCALE))  # 1,000 are the pull request's; they take a minute and a half
CLOUD_FLIPS = int(os.environ.get("CLOUD_FLIPS", 8 * SCALE))
PROCESSES, THREADS = 2, 2
MOST_S = 60  # from one version to the next
SERVER = """
import sys
sys.path[:0] = [sys.argv.pop(1)]
from recsys.serving import ModelLoader
ModelLoader.__init__.__kwdefaults__["refresh_s"] = 0.001
import server
server.main()
"""


def ask_until(done, ask, constants, reads, latest, granted, place):
    """Ask, compare and count until somebody finds a fault or the test is over; return what is not as it must be.

    Who has asked as often as granted goes on slowly, so that the next version comes sooner.
    """
    chance = random.Random(place)
    while not done.is_set():
        if reads[place] >= granted[place]:
            time.sleep(0.02)
        kind = "popular" if chance.random() < 0.2 else "user"
        try:
            version, found = ask(kind, f"u{chance.randrange(USERS)}")
        except (RecsysError, OSError, http.client.HTTPException) as error:
            version, found = None, error
        if version is None or found != lists(constants[version])[kind]:
            done.set()
            return [f"reader {place}: {kind} of {version} is {found}"]
        reads[place] += 1
        latest[place] = constants[version]
    return []


def over_the_service(service):
    def ask(kind, user):
        found = service.recommend("shop", user, K) if kind == "user" else service.popular("shop", K)
        listed = [(one.item, one.score) for one in found.items]
        return found.model_version, listed if not found.degraded else "degraded"

    return ask


def over_http(connection):
    def ask(kind, user):
        path = f"users/{user}/recommendations" if kind == "user" else "popular"
        connection.request("GET", f"/v1/shop/{path}?k={K}")
        answer = json.loads(connection.getresponse().read())
        listed = [(one["item"], one["score"]) for one in answer["items"]]
        return answer["model_version"], listed if not answer["degraded"] else "degraded"

    return ask


def read_in_threads(done, constants, reads, latest, granted, places, faults):
    """Be a process with a few threads that share one service."""
    sys.setswitchinterval(1e-5)
    stores = ServingStores.from_environment()
    service = RecommendationService(ModelLoader(stores.artifacts, stores.registry, refresh_s=0.001), stores.online)
    with ThreadPoolExecutor(len(places)) as pool:
        ask = over_the_service(service)
        found = pool.map(lambda place: ask_until(done, ask, constants, reads, latest, granted, place), places)
    faults.put([fault for each in found for fault in each])


@contextmanager
def served():
    chalice_app = Path(__file__).resolve().parents[2] / "chalice_app"
    command = [sys.executable, "-c", SERVER, str(chalice_app), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            place = server.stdout.readline().split()[1].partition("//")[2]
            with closing(http.client.HTTPConnection(place, timeout=30)) as connection:
                yield connection
        finally:
            server.terminate()


def flips(n_flips, n_reads, n_versions):
    """Flip and read; return flips, reads of each reader, the one over HTTP last, and faults: the first ends it."""
    stores, screen, fork = ServingStores.from_environment(), Screen(as_json=True), multiprocessing.get_context("fork")
    constants = {put(stores, constant): constant for constant in range(1, n_versions + 1)}
    versions = list(constants)
    publish.publish(stores, "shop", versions[0], screen)
    stores.online.close()
    done, faults, n_readers = fork.Event(), fork.SimpleQueue(), PROCESSES * THREADS + 1
    reads, latest, granted = (fork.Array("q", n_readers, lock=False) for _ in range(3))
    told = done, constants, reads, latest, granted
    groups = [range(n * THREADS, (n + 1) * THREADS) for n in range(PROCESSES)]
    processes = [fork.Process(target=read_in_threads, args=(*told, places, faults)) for places in groups]
    for one in processes:
        one.start()
    with served() as connection, ThreadPoolExecutor(1) as pool:
        client = pool.submit(ask_until, done, over_http(connection), *told[1:], n_readers - 1)
        shares = [ceil(n_reads / n_flips / (n_readers - 1))] * (n_readers - 1) + [1]
        flipped = 0
        try:
            while flipped < n_flips and not done.is_set():
                flipped += 1
                granted[:] = [flipped * each for each in shares]
                version = versions[flipped % n_versions]
                publish.publish(stores, "shop", version, screen)
                until = time.monotonic() + MOST_S
                while not done.is_set() and ({*latest} != {constants[version]} or any(map(lt, reads, granted))):
                    assert time.monotonic() < until, f"after {flipped} flips readers stand still: {list(reads)}"
                    time.sleep(0.0005)
        finally:
            done.set()
            found = [fault for _ in processes for fault in faults.get()] + client.result()
            for one in processes:
                one.join()
            stores.online.close()
    return flipped, list(reads), found


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    for name in ("ARTIFACTS", "REGISTRY", "ONLINE", "EVENTS"):
        monkeypatch.delenv(f"RECSYS_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def on_cloud(request, embedded, aws, tmp_path, monkeypatch):
    place = aws(request.param)
    monkeypatch.setenv("RECSYS_ARTIFACTS", f"s3://{place.bucket()}/models")
    monkeypatch.setenv("RECSYS_REGISTRY", f"dynamodb://{place.table()}")
    monkeypatch.setenv("RECSYS_ONLINE", f"dynamodb://{place.table()}")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RECSYS_SECRET", "5ec4e7" * 6)


def check(n_flips, n_reads, n_versions):
    flipped, reads, found = flips(n_flips, n_reads, n_versions)
    print(flipped, "flips;", sum(reads), "reads,", reads[-1], "of them over HTTP")
    assert found == []
    assert (flipped, sum(reads) >= n_reads, min(reads) >= n_flips) == (n_flips, True, True)


def test_no_answer_mixes_two_versions(embedded):
    check(FLIPS, 100 * FLIPS, n_versions=20)


@pytest.mark.parametrize("on_cloud", CLOUDS if NIGHTLY else CLOUDS[1:], indirect=True)
def test_nor_does_one_over_s3_and_dynamodb(on_cloud):
    check(CLOUD_FLIPS, 100 * CLOUD_FLIPS, n_versions=3)


def pointer_read_twice(monkeypatch):
    asked = RecommendationService._asked

    def again(self, namespace, user, model, *more):
        time.sleep(0.005)  # as long as a call of a store takes
        return asked(self, namespace, user, self.models.current(namespace), *more)

    monkeypatch.setattr(RecommendationService, "_asked", again)


def swapped_in_place(monkeypatch):
    load = ModelLoader._load

    def into_the_old_one(self, namespace, pointer):
        new, old = load(self, namespace, pointer), self._slots[namespace].model
        for name, value in vars(new).items() if old else ():
            object.__setattr__(old, name, value)
        for name in ("index", "popularity") if old else ():
            vars(old).pop(name, None)
        return old or new

    monkeypatch.setattr(ModelLoader, "_load", into_the_old_one)


def pointer_before_states(monkeypatch):
    put_states = publish.put_states

    def late(stores, artifact, screen):
        vars(stores.registry).pop("promote", None)
        now = stores.registry.current("shop")
        pointer = stores.registry.promote(artifact.manifest, expected=now.sequence if now else 0)
        stores.registry.promote = lambda *_, **__: pointer  # the job will want to
        put_states(stores, artifact, screen)

    monkeypatch.setattr(publish, "put_states", late)


def states_under_one_name(monkeypatch):
    for store in (SQLiteOnlineStore, DynamoOnlineStore):
        state, put_users = store.user_state, store.put_users
        monkeypatch.setattr(store, "user_state", lambda self, ns, _, user, state=state: state(self, ns, "one", user))
        monkeypatch.setattr(
            store,
            "put_users",
            lambda self, ns, _, states, put=put_users, **known: put(self, ns, "one", states, **known),
        )


def states_before_dropped(monkeypatch):
    def drop(stores, namespace):
        *before, _ = stores.registry.history(namespace)
        for entry in before[-3:]:
            stores.online.drop_version(namespace, entry.version)

    monkeypatch.setattr(publish, "_drop_old_states", drop)


def pointer_in_place(monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda self, target: target.write_bytes(self.read_bytes()))


PLANTED = [
    pointer_read_twice,
    swapped_in_place,
    pointer_before_states,
    states_under_one_name,
    states_before_dropped,
]


@pytest.mark.parametrize("plant", [*PLANTED, pointer_in_place])
def test_planted_bugs_are_found(embedded, monkeypatch, plant):
    check_found(monkeypatch, plant)


@pytest.mark.parametrize("plant", PLANTED if "CLOUD_FLIPS" in os.environ else PLANTED[:1])
@pytest.mark.parametrize("on_cloud", CLOUDS[1:], indirect=True)
def test_and_over_s3_and_dynamodb(on_cloud, monkeypatch, plant):
    check_found(monkeypatch, plant)


def check_found(monkeypatch, plant):
    plant(monkeypatch)
    flipped, reads, found = flips(1_000, 100_000, 3)
    print(plant.__name__, "found after", flipped, "flips and", sum(reads), "reads:", found[:1])
    assert found
