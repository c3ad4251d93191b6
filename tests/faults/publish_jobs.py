"""`recsys ingest`, `train`, `publish` and `rollback`, and bugs of them that the sweep of kills must find."""

import shutil
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow.parquet

from batch_jobs import publish
from batch_jobs.config import IngestConfig, JobConfig
from batch_jobs.console import Screen
from batch_jobs.ingest import ingest
from batch_jobs.stores import Stores
from batch_jobs.train import train
from recsys.artifacts import LocalArtifactStore, store
from recsys.aws import cache
from recsys.aws.registry import DynamoModelRegistry
from recsys.aws.s3 import S3ArtifactStore
from recsys.errors import RecsysError
from recsys.serving import SQLiteOnlineStore
from recsys.serving.online import sqlite

MODEL = {"kind": "als", "factors": 2, "iterations": 1, "threads": 1}
JOBS = {
    "ingest": lambda stores, config, screen, _: ingest(stores, config.namespace, config.ingest, screen),
    "train": lambda stores, config, screen, _: train(stores, config, screen),
    "publish": lambda stores, config, screen, version: publish.publish(stores, config.namespace, version, screen),
    "rollback": lambda stores, config, screen, _: publish.roll_back(stores, config.namespace, screen),
}
assert shutil, pyarrow.parquet  # what a fork would have to import is imported here


def run(words):
    """Run ``JOB NAMESPACE [FILE or VERSION]`` over the stores that the environment names."""
    # Here, not above: whoever collects doctests imports this module into its own process.
    cache.CACHED_VERSIONS = 9  # so that a run downloads nothing
    sqlite._ROWS_A_TRANSACTION = 4  # so that the states of a few users are several transactions
    job, namespace, argument = (*words, "")[:3]
    config = JobConfig(namespace=namespace, ingest=IngestConfig(files=(argument,)), model=MODEL)
    stores = Stores.from_environment()
    with closing(stores.online):
        try:
            JOBS[job](stores, config, Screen(as_json=True), argument)
        except RecsysError as error:
            print(type(error).__name__, error, file=sys.stderr)
            return 1
    return 0


replace, put_users, put_states = Path.replace, SQLiteOnlineStore.put_users, publish.put_states
connect, actions = sqlite.Connection._connect, DynamoModelRegistry._actions


def states_after_pointer(stores, artifact, screen):
    namespace, version = artifact.manifest.namespace, artifact.manifest.version
    now = stores.registry.current(namespace)
    if now is None or now.version != version:
        pointer = stores.registry.promote(artifact.manifest, expected=now.sequence if now else 0)
        stores.registry.promote = lambda *_, **__: pointer  # the job will want to
    put_states(stores, artifact, screen)


def states_only_once(self, namespace, version, states, **known):
    states = list(states)
    if not self.user_state(namespace, version, states[0][0]):
        put_users(self, namespace, version, states, **known)


def old_states_first(stores, artifact, screen):
    now = stores.registry.current(artifact.manifest.namespace)
    if now is not None and now.version != artifact.manifest.version:
        stores.online.drop_version(artifact.manifest.namespace, now.version)
    put_states(stores, artifact, screen)


def states_of_the_version_before_dropped(stores, namespace, *_):
    now, *older = reversed(stores.registry.history(namespace))
    for entry in older:
        if entry.version != now.version:
            stores.online.drop_version(namespace, entry.version)


def old_states_kept(stores, namespace, *_):
    """Do nothing."""


def pointer_in_place(self, target):
    Path(target).write_bytes(self.read_bytes())


def pointer_before_history(self, target):
    if target.name == "current.json":
        replace(self, target)
        (entry,) = self.parent.glob(".0*.json")
        replace(entry, target.with_name(entry.name[1:]))


def no_journal(self):
    db = connect(self)
    db.execute("PRAGMA journal_mode = OFF")
    return db


def manifest_first(self, manifest, arrays):
    final = self.root / manifest.namespace / manifest.version
    store.make_folder(final)
    store._write(final / store.MANIFEST, [manifest.to_bytes()])
    for spec in manifest.arrays:
        store._write(final / f"{spec.name}.npy", [spec.header, arrays[spec.name].tobytes()])


def in_place(self, manifest, arrays):
    final = self.root / manifest.namespace / manifest.version
    store.make_folder(final)
    for spec in manifest.arrays:
        store._write(final / f"{spec.name}.npy", [spec.header, arrays[spec.name].tobytes()])
    store._write(final / store.MANIFEST, [manifest.to_bytes()])


def s3_manifest_first(self, folder, manifest, arrays):
    self._objects.create(f"{folder}/{store.MANIFEST}", manifest.to_bytes(), memoryview(b""), manifest.sha256)
    for spec in manifest.arrays:
        self._objects.create(
            f"{folder}/{spec.name}.npy", spec.header, memoryview(arrays[spec.name].tobytes()), spec.sha256
        )


def three_puts(self, namespace, pointer, mark):
    *first, last = actions(self, namespace, pointer, mark)
    for action in first:
        self._client.call("PutItem", **action["Put"])
    return [last]


@contextmanager
def draft_kept(final):
    draft = final.with_name(f".{final.name}")
    draft.mkdir(exist_ok=True)
    yield draft


PLANTED = {
    "states after the pointer": [(publish, "put_states", states_after_pointer)],
    "states only once": [(SQLiteOnlineStore, "put_users", states_only_once)],
    "old states dropped first": [(publish, "put_states", old_states_first)],
    "states of the version before dropped": [(publish, "_drop_old_states", states_of_the_version_before_dropped)],
    "old states kept": [(publish, "_drop_old_states", old_states_kept)],
    "pointer in place": [(Path, "replace", pointer_in_place)],
    "pointer before history": [(Path, "replace", pointer_before_history)],
    "no journal": [(sqlite.Connection, "_connect", no_journal)],
    "manifest first": [(LocalArtifactStore, "put", manifest_first)],
    "in place": [(LocalArtifactStore, "put", in_place)],
    "S3: manifest first": [(S3ArtifactStore, "_put", s3_manifest_first)],
    "DynamoDB: pointer and history one after the other": [(DynamoModelRegistry, "_actions", three_puts)],
    "drafts kept": [(store, "_draft_of", draft_kept)],
}
