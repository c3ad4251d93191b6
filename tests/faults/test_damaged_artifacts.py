"""Damaged, lying and hostile artefacts and pointers: refused as what they are, in bounded time and memory."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from machine import Machine

from recsys.artifacts import (
    ArraySpec,
    Histories,
    LocalArtifactStore,
    LocalModelRegistry,
    describe,
    pack,
    store,
    unpack,
)
from recsys.artifacts.artifact import ITEM_SIDE
from recsys.artifacts.registry import Pointer
from recsys.artifacts.store import StoredArrays
from recsys.errors import ArtifactError, ConflictError, StorageError

ARRAYS = {
    "user_vectors": np.arange(10, dtype=np.float32).reshape(5, 2),
    "item_vectors": np.arange(8, dtype=np.float32).reshape(4, 2) / 3,
    "item_bias": np.linspace(-1, 1, 4, dtype=np.float32),
    "item_counts": np.ones(4, np.float32),  # as long as item_bias, so that the two can change places
    "empty": np.zeros((4, 0), np.float32),
    "ids": np.arange(4, dtype=np.int64),
}
REFUSALS = (ArtifactError, StorageError)


def manifest(number=0):
    now = datetime(2026, 1, 1, hour=number // 3600 % 24, minute=number // 60 % 60, second=number % 60, tzinfo=UTC)
    config = {"n": number, "weights": {}}
    return describe("shop", "als", ARRAYS, config=config, data={"window": None}, metrics={"ndcg@20": 0.5}, now=now)


@pytest.fixture
def stored(tmp_path):
    """A store, its one version and the folder of it."""
    described = manifest()
    place = LocalArtifactStore(tmp_path / "artifacts")
    place.put(described, ARRAYS)
    place.open("shop", described.version, manifest_sha256=described.sha256)
    return place, described, tmp_path / "artifacts/shop" / described.version


def flip(path, at, bit):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(bytes(data))


def replace_by(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


DAMAGES = {
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "twice": lambda path: path.write_bytes(path.read_bytes() * 2),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": lambda path: path.unlink(),
    "a folder": replace_by(lambda path: path.mkdir()),
    "a loop of links": replace_by(lambda path: path.symlink_to(path.name)),
    "a link to nothing": replace_by(lambda path: path.symlink_to("nothing")),
    "a pipe": replace_by(os.mkfifo),
    "/dev/zero": replace_by(lambda path: path.symlink_to("/dev/zero")),
    "first bit flipped": lambda path: flip(path, 0, 0),
    "last bit flipped": lambda path: flip(path, -1, 7),
    "bit 1 of byte 9 flipped": lambda path: flip(path, 9, 1),
    "bit in the middle flipped": lambda path: flip(path, path.stat().st_size // 2, 3),
    "bit in the first quarter flipped": lambda path: flip(path, path.stat().st_size // 4, 5),
    "bit in the last quarter flipped": lambda path: flip(path, path.stat().st_size * 3 // 4, 6),
}
OBJECTS = [*(f"{name}.npy" for name in ARRAYS), "manifest.json"]


def accepted_damages(place, described, folder):
    """Open under every damage of every object; return those that were taken for the published version."""
    accepted, whole = [], folder.with_name("whole")
    shutil.copytree(folder, whole)
    swaps = {f"swapped with {two}": two for two in OBJECTS}
    for name in OBJECTS:
        for damage in (*DAMAGES, *(swap for swap, two in swaps.items() if two > name)):
            if damage in swaps:
                (folder / name).write_bytes((whole / swaps[damage]).read_bytes())
                (folder / swaps[damage]).write_bytes((whole / name).read_bytes())
            else:
                DAMAGES[damage](folder / name)
            try:
                place.open("shop", described.version, manifest_sha256=described.sha256)
                accepted.append((name, damage))
            except REFUSALS:
                pass
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
    place.open("shop", described.version, manifest_sha256=described.sha256)
    return accepted


def test_every_damage_of_every_object_is_refused(stored):
    assert accepted_damages(*stored) == []


class EqualToAnything(str):
    __slots__ = ()
    __hash__ = None

    def __ne__(self, other):
        return False


@pytest.fixture
def no_hash_check(monkeypatch):
    """A bug: the store compares no hash."""
    nothing = SimpleNamespace(update=lambda data: None, hexdigest=EqualToAnything)
    blind = SimpleNamespace(sha256=lambda data: nothing)
    monkeypatch.setattr(store, "hashlib", blind)


def test_the_same_check_catches_a_store_that_skips_the_hash(stored, no_hash_check):
    accepted = accepted_damages(*stored)
    assert ("item_vectors.npy", "last bit flipped") in accepted
    assert ("item_bias.npy", "swapped with item_counts.npy") in accepted


def accepted_mutations(place, described, folder, rounds, seed):
    """Mutate random bytes of random objects; return the mutations that were accepted."""
    print("seed", seed)
    chance, accepted = random.Random(seed), []
    whole = {name: (folder / name).read_bytes() for name in OBJECTS}
    for _ in range(rounds):
        name = chance.choice(OBJECTS)
        data = bytearray(whole[name])
        for _ in range(chance.choice((1, 1, 2, 8))):
            at, kind = chance.randrange(len(data)), chance.randrange(4)
            if kind == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                data[at] = chance.randrange(256)
            elif kind == 2:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
            else:
                del data[at : at + chance.randrange(1, 9)]
            data = data or bytearray(b"\0")
        if bytes(data) == whole[name]:
            continue
        (folder / name).write_bytes(bytes(data))
        try:
            place.open("shop", described.version, manifest_sha256=described.sha256)
            accepted.append((name, bytes(data)))
        except REFUSALS:
            pass
        (folder / name).write_bytes(whole[name])
    return accepted


def test_of_2000_random_mutations_none_is_accepted(stored):
    assert accepted_mutations(*stored, 2000, seed=1) == []


def test_the_same_mutations_catch_a_store_that_skips_the_hash(stored, no_hash_check):
    assert accepted_mutations(*stored, 500, seed=1)


def test_a_mutated_manifest_without_a_pointer_is_never_put_under_another_hash(stored):
    """`recsys publish VERSION` has no hash yet: what it reads must be what it will name."""
    place, described, folder = stored
    whole, chance = (folder / "manifest.json").read_bytes(), random.Random(2)
    for _ in range(1000):
        data = bytearray(whole)
        data[chance.randrange(len(data))] = chance.choice(b' \n\t"0123456789abcdef{}[],:.-eE')
        (folder / "manifest.json").write_bytes(data)
        try:
            found = place.open("shop", described.version).manifest
        except REFUSALS:
            continue
        assert found.sha256 == hashlib.sha256(data).hexdigest()


VALID = json.loads(manifest().to_bytes())
PICKLE = b"cos\nsystem\n(S'touch executed'\ntR."


def npy(header, body=b""):
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def one_array(**changes):
    return {**VALID, "arrays": [{**VALID["arrays"][0], **changes}]}


def with_file(content, **changes):
    """A manifest whose one array has the hash of a hostile file."""
    spec = {"name": "evil", "dtype": "float32", "shape": [2], "sha256": hashlib.sha256(content).hexdigest(), **changes}
    return {**VALID, "arrays": [spec]}, content


def sized(content, shape=(2,), dtype="float32"):
    """Hostile content padded to the size that shape and dtype ask for."""
    return content.ljust(ArraySpec("evil", dtype, shape, "0" * 64).file_bytes, b"\0")


CORPUS = {
    "2^63 elements": one_array(shape=[2**63]),
    "2^63 x 2^63": one_array(shape=[2**63, 2**63]),
    "0 x 2^63": one_array(shape=[0, 2**63]),
    "2^40 elements": one_array(shape=[2**40]),
    "product overflows to 0": one_array(shape=[2**32, 2**32]),
    "shape of 4,000 digits": json.dumps(one_array(shape=[1])).replace("1]", "9" * 4000 + "]").encode(),
    "shape of 10,000 digits": json.dumps(one_array(shape=[1])).replace("1]", "9" * 10_000 + "]").encode(),
    "negative": one_array(shape=[-1]),
    "negative squared": one_array(shape=[-2, -5]),
    "boolean": one_array(shape=[True, 10]),
    "float": one_array(shape=[10.0]),
    "text": one_array(shape="10"),
    "null": one_array(shape=None),
    "scalar": one_array(shape=[]),
    "three dimensions": one_array(shape=[1, 2, 5]),
    "a million dimensions": one_array(shape=[1] * 200_000),
    "nested": one_array(shape=[[10]]),
    "dtype object": one_array(dtype="object"),
    "dtype O": one_array(dtype="O"),
    "dtype record": one_array(dtype="f4,O"),
    "dtype float64": one_array(dtype="float64"),
    "dtype a list": one_array(dtype=["float32"]),
    "dtype big-endian": one_array(dtype=">f4"),
    "name leaves the folder": one_array(name="../../../etc/passwd"),
    "name is absolute": one_array(name="/etc/passwd"),
    "name with NUL": one_array(name="ids\0"),
    "name with newline": one_array(name="ids\n"),
    "name empty": one_array(name=""),
    "name a number": one_array(name=7),
    "name a list": one_array(name=["ids"]),
    "name of 1 MB": one_array(name="a" * 1_000_000),
    "name not ASCII": one_array(name="ıds"),
    "same name twice": {**VALID, "arrays": VALID["arrays"][:1] * 2},
    "sha in capitals": one_array(sha256=VALID["arrays"][0]["sha256"].upper()),
    "sha too short": one_array(sha256="00"),
    "sha null": one_array(sha256=None),
    "version leaves the folder": {**VALID, "version": "../../other"},
    "version of another": {**VALID, "version": "20200101T000000Z-00000000"},
    "version a number": {**VALID, "version": 7},
    "namespace of another": {**VALID, "namespace": "rival"},
    "namespace with a slash": {**VALID, "namespace": "shop/../shop"},
    "namespace null": {**VALID, "namespace": None},
    "schema 2": {**VALID, "schema": 2},
    "schema true": {**VALID, "schema": True},
    "schema 1.0": {**VALID, "schema": 1.0},
    "schema text": {**VALID, "schema": "1"},
    "schema missing": {k: v for k, v in VALID.items() if k != "schema"},
    "NaN metric": {**VALID, "metrics": {"ndcg@20": float("nan")}},
    "infinite metric": json.dumps(VALID).replace("0.5", "1e999").encode(),
    "metric a text": {**VALID, "metrics": {"ndcg@20": "high"}},
    "metric a boolean": {**VALID, "metrics": {"ndcg@20": True}},
    "metrics a list": {**VALID, "metrics": []},
    "metrics a list of pairs": {**VALID, "metrics": [["ndcg@20", 0.5]]},
    "config a text": {**VALID, "config": ""},
    "data null": {**VALID, "data": None},
    "kind a number": {**VALID, "kind": 5},
    "created_at null": {**VALID, "created_at": None},
    "arrays missing": {k: v for k, v in VALID.items() if k != "arrays"},
    "arrays an object": {**VALID, "arrays": {}},
    "arrays a text": {**VALID, "arrays": "ids"},
    "arrays of nulls": {**VALID, "arrays": [None]},
    "metrics missing": {k: v for k, v in VALID.items() if k != "metrics"},
    "a field too many": {**VALID, "extra": 1},
    "key twice": json.dumps(VALID).replace('"kind"', '"kind": "als", "kind"').encode(),
    "not as written": json.dumps(VALID).encode(),
    "UTF-16": manifest().to_bytes().decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + manifest().to_bytes(),
    "a list": [VALID],
    "null manifest": None,
    "no JSON": b"{'schema': 1}",
    "not UTF-8": b'{"schema": "\xff"}',
    "pickle for a manifest": PICKLE,
    "deep list": b"[" * 500_000 + b"]" * 500_000,
    "deep object": b'{"a":' * 150_000 + b"1" + b"}" * 150_000,
    "deep config": json.dumps(VALID).replace('"n": 0', '"n": ' + "[" * 900 + "]" * 900).encode(),
    "50 MB of blanks": b" " * 50_000_000,
    "50 MB of digits": b"1" * 50_000_000,
    "1 MB of keys": b"{" + b",".join(b'"%06d":1' % n for n in range(80_000)) + b"}",
    "pickle in .npy": with_file(sized(npy("{'descr': '|O', 'fortran_order': False, 'shape': (), }\n", PICKLE))),
    "pickle for .npy": with_file(sized(PICKLE)),
    "header of another shape": with_file(sized(ArraySpec("evil", "float32", (3,), "0" * 64).header)),
    "header of another dtype": with_file(sized(ArraySpec("evil", "int32", (2,), "0" * 64).header)),
    "header in Fortran order": with_file(sized(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }\n"))),
    "header with a call": with_file(sized(npy("__import__('os').system('touch executed')\n"))),
    "header of 64 KB": with_file(npy(" " * 65_000)),
    "version 3 of the format": with_file(sized(b"\x93NUMPY\x03\x00")),
    "a zip file": with_file(sized(b"PK\x03\x04")),
    "2^40 elements and 8 bytes": with_file(b"\0" * 8, shape=[2**40]),
    "a file of 1 TB with nothing in it": (with_file(b"", shape=[2**38])[0], (1 << 40) + 128),
}

CHILD = """
import json, os, resource, sys, time
from pathlib import Path
import numpy
from recsys.artifacts import LocalArtifactStore
from recsys.errors import ArtifactError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 192 * 2**20,) * 2)
answers = {}
for folder in sorted(Path().iterdir(), key=lambda path: int(path.name)):
    begin = time.monotonic()
    try:
        LocalArtifactStore(folder).open("shop", sys.argv[1])
        answer = "accepted"
    except ArtifactError as error:
        answer = "refused" if len(str(error)) < 1000 else "refused at length"
    except BaseException as error:
        answer = f"{type(error).__name__}: {error}"[:300]
    answers[folder.name] = answer, time.monotonic() - begin
print(json.dumps(answers))
"""


def test_a_corpus_of_hostile_artefacts_is_refused_in_bounded_time_and_memory(tmp_path):
    assert len(CORPUS) >= 40
    version = VALID["version"]
    for number, hostile in enumerate(CORPUS.values()):
        folder = tmp_path / str(number) / "shop" / version
        folder.mkdir(parents=True)
        for name, array in ARRAYS.items():
            np.save(folder / f"{name}.npy", array)
        if isinstance(hostile, tuple):
            hostile, content = hostile
            with (folder / "evil.npy").open("wb") as file:
                file.truncate(content) if isinstance(content, int) else file.write(content)
        if not isinstance(hostile, bytes):  # in the very form a publisher writes, so that nothing else is refused
            hostile = json.dumps(hostile, indent=1, sort_keys=True).encode() + b"\n"
        (folder / "manifest.json").write_bytes(hostile)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, version], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answers = dict(zip(CORPUS, json.loads(done.stdout).values(), strict=True))
    assert {name: answer for name, (answer, _) in answers.items() if answer != "refused"} == {}
    assert max(seconds for _, seconds in answers.values()) < 5
    assert not list(tmp_path.rglob("executed"))


def test_the_corpus_is_refused_for_what_is_hostile_in_it(tmp_path):
    """The manifest that every hostile one was made of is fine itself."""
    place = LocalArtifactStore(tmp_path)
    place.put(manifest(), ARRAYS)
    folder = tmp_path / "shop" / VALID["version"]
    (folder / "manifest.json").write_bytes(json.dumps(VALID, indent=1, sort_keys=True).encode() + b"\n")
    assert set(place.open("shop", VALID["version"]).arrays) == set(ARRAYS)


MODEL = {
    "user_vectors": np.ones((2, 1), np.float32),
    "item_vectors": np.ones((3, 1), np.float32),
    "item_bias": np.zeros(3, np.float32),
    "item_counts": np.ones(3, np.float32),
    "eigenvalues": np.ones(1, np.float32),
    "history_indptr": np.array([0, 1, 3]),
    "history_items": np.array([2, 0, 1], np.int32),
    "history_weights": np.ones(3, np.float32),
    "user_ids_text": np.frombuffer(b"ab", np.uint8),
    "user_ids_offsets": np.array([0, 1, 2]),
    "user_ids_order": np.array([0, 1], np.int32),
    "item_ids_text": np.frombuffer(b"xyz", np.uint8),
    "item_ids_offsets": np.array([0, 1, 2, 3]),
    "item_ids_order": np.array([0, 1, 2], np.int32),
}
MISFITS = {
    "rows beyond the catalogue": {"history_items": np.array([3, 0, 1], np.int32)},
    "negative rows": {"history_items": np.array([-1, 0, 1], np.int32)},
    "histories out of order": {"history_indptr": np.array([0, 3, 1])},
    "histories beyond the end": {"history_indptr": np.array([0, 1, 9])},
    "weights missing": {"history_weights": np.ones(2, np.float32)},
    "a user without a vector": {"user_vectors": np.ones((1, 1), np.float32)},
    "vectors of one dimension": {"item_vectors": np.ones(3, np.float32)},
    "vectors of integers": {"item_vectors": np.ones((3, 1), np.int32)},
    "an item without a count": {"item_counts": np.ones(2, np.float32)},
    "order beyond the ids": {"item_ids_order": np.array([0, 1, 7], np.int32)},
    "order too short": {"item_ids_order": np.array([0, 1], np.int32)},
    "no offsets": {"user_ids_offsets": np.zeros(0, np.int64)},
    "offsets beyond the text": {"user_ids_offsets": np.array([0, 1, 99])},
    "eigenvalues of another width": {"eigenvalues": np.ones(2, np.float32)},
}


def unpacked(arrays, config):
    described = describe(
        "shop", "als", arrays, config=config, data={}, metrics={}, now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return unpack(StoredArrays(described, arrays))


def fitting(arrays, fold_in):
    return unpacked(arrays, {"fold_in": fold_in})


def test_verified_arrays_that_do_not_fit_each_other_are_refused(subtests):
    good = {"alpha": 2.0, "regularization": 1.0, "unobserved_weight": 0.1, "frequency_exponent": 1.0}
    assert fitting(MODEL, good).users.ids() == ["a", "b"]
    for name, changes in MISFITS.items():
        with subtests.test(name), pytest.raises(ArtifactError):
            fitting(MODEL | changes, good)
    for name in MODEL:
        with subtests.test(f"without {name}"), pytest.raises(ArtifactError):
            fitting({k: v for k, v in MODEL.items() if k != name}, good)
    for bad in ("yes", [], {}, {**good, "alpha": "much"}, {**good, "alpha": None}, {**good, "beta": 1.0}):
        with subtests.test(f"fold_in {bad}"), pytest.raises(ArtifactError):
            fitting(MODEL, bad)


@pytest.fixture(scope="module")
def machine():
    """Arrays and settings of a published factorization machine, one of each kind of field."""
    made = Machine(lowest=-1.0)
    csr = made.dataset.user_items
    histories = Histories(csr.indptr.astype(np.int64), csr.indices.astype(np.int32), csr.data)
    factors = made.export()
    arrays = pack(factors, made.dataset.users, made.dataset.items, histories, made.dataset.item_counts)
    return factors, arrays, json.loads(json.dumps(factors.settings, allow_nan=False))


def test_a_machine_comes_back_to_the_bit(machine):
    factors, arrays, config = machine
    left_to_the_online_store = {name for name in arrays if name not in ITEM_SIDE}
    assert {name.partition("_")[0] for name in left_to_the_online_store} == {"user", "history", "query"}
    assert len(left_to_the_online_store) == 8
    again = unpacked(arrays, config).factors
    assert again.settings == factors.settings
    assert {name: one.tobytes() for name, one in again.arrays.items()} == {
        name: one.tobytes() for name, one in factors.arrays.items()
    }
    for record in ({}, {"device": "phone", "country": "it", "age": 33.3}):
        for left, right in zip(
            again.query.encode(record, known_user=False), factors.query.encode(record, known_user=False), strict=True
        ):
            assert left.tobytes() == right.tobytes()


NEW = ("query_", "fold_in_", "user_encoder_", "context_encoder_")


def test_parts_of_a_machine_that_do_not_fit_each_other_are_refused(machine, subtests):
    _, arrays, config = machine
    for name, array in arrays.items():
        for damage, changed in {
            "missing": None,
            "one short": array[:-1],
            "one longer": np.concatenate([array, array[-1:]]),
            "of another type": array.astype(np.int64 if array.dtype != np.int64 else np.int32),
        }.items():
            if damage == "of another type" and not name.startswith(NEW):
                continue
            others = {one: other for one, other in arrays.items() if one != name}
            with subtests.test(f"{name} {damage}"), pytest.raises(ArtifactError):
                unpacked(others if changed is None else {**others, name: changed}, config)


HOSTILE = (None, "much", "", [], {}, [None], {"fields": None}, {"fields": [None]}, True, -1, 0, 1e999, -1e999, 2**70)


def test_settings_of_a_machine_that_make_no_sense_are_refused_or_harmless(machine, subtests):
    """Whatever takes the place of a setting: an `ArtifactError`, or a machine whose scores are numbers."""
    _, arrays, config = machine
    refused = 0
    for path in paths(config):
        for hostile in HOSTILE:
            changed = json.loads(json.dumps(config))
            *way, last = path
            place = changed
            for key in way:
                place = place[key]
            place[last] = hostile
            with subtests.test(f"{path} = {hostile!r:.30}"):
                refused += accepted_scores(arrays, changed) is None
        with subtests.test(f"without {path}"):
            changed = json.loads(json.dumps(config))
            place = changed
            for key in path[:-1]:
                place = place[key]
            del place[path[-1]]
            accepted_scores(arrays, changed)
    assert refused > 100


def paths(settings, before=()):
    """Ways to every value of nested settings."""
    keys = settings if isinstance(settings, dict) else range(len(settings)) if isinstance(settings, list) else ()
    for key in keys:
        yield (*before, key)
        yield from paths(settings[key], (*before, key))


def accepted_scores(arrays, config):
    """Scores of a query of every kind; None if the artefact is refused."""
    try:
        query = unpacked(arrays, config).factors.query
    except ArtifactError:
        return None
    if query is None:
        return np.zeros(1)
    record = {
        name: one for name, one in {"device": "phone", "country": "it", "age": 3}.items() if name in query.known_fields
    }
    features, values = query.encode(record, known_user=False)
    assert all(isinstance(query.feature_name(int(one)), str) for one in features)
    found = query.predictions(query.points(query.mean_user, features, values)[:, -1])
    assert np.isfinite(found).all()
    return found


def promoted(root, count):
    registry = LocalModelRegistry(root)
    for number in range(count):
        registry.promote(manifest(number), expected=number)
    return registry


def test_damaged_pointers_are_refused_and_never_crash(tmp_path, subtests):
    registry = promoted(tmp_path, 3)
    folder, chance = tmp_path / "shop", random.Random(3)
    uses = {
        "current": lambda: registry.current("shop"),
        "history": lambda: registry.history("shop"),
        "promote": lambda: registry.promote(manifest(9), expected=3),
        "rollback": lambda: registry.rollback("shop", expected=3),
    }
    touched = {"current.json": set(uses), "00000002.json": {"history", "rollback"}, "00000001.json": {"history"}}
    shutil.copytree(folder, tmp_path / "whole")
    hostile = {f"byte {n}": n for n in range(60)} | {
        "deep": b"[" * 200_000,
        "a list": b"[]",
        "null": b"null",
        "a number": b"7",
        "1e999": b'{"sequence": 1e999}',
        "another entry": Pointer(7, "v", "0" * 64, 6, "").to_bytes(),
        "numbers as text": registry.current("shop").to_bytes().replace(b": 3", b': "3"'),
    }
    for name, needed in touched.items():
        for damage in (*DAMAGES, *hostile):
            if damage == "a pipe" or damage == "/dev/zero" or (damage == "deleted" and name == "current.json"):
                continue
            if damage == "another entry" and name == "current.json":
                continue
            path = folder / name
            if damage in DAMAGES:
                DAMAGES[damage](path)
            elif isinstance(hostile[damage], int):
                data = bytearray(path.read_bytes())
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                path.write_bytes(data)
            else:
                path.write_bytes(hostile[damage])
            for use in needed:
                gone = damage == "a link to nothing" and name == "current.json"
                with subtests.test(f"{use}: {name}: {damage}"):
                    if gone:  # nothing in service, so nothing moves from entry 3
                        assert registry.current("shop") is None
                    else:
                        with pytest.raises(REFUSALS):
                            uses[use]()
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / "whole", folder)
    assert registry.rollback("shop", expected=3).version == manifest(1).version


FORKED_PROMOTER = """
import os, sys
from pathlib import Path
from recsys.artifacts import ArtifactManifest, LocalModelRegistry
one = ArtifactManifest.from_bytes(Path(sys.argv[2]).read_bytes())
registry = LocalModelRegistry(Path(sys.argv[1]))
while sys.stdin.buffer.read(1):
    read, write = os.pipe()
    child = os.fork()
    while not child:
        now = registry.current("shop")
        registry.promote(one, expected=now.sequence if now else 0)
        os.write(write, b".")
    print(child, flush=True)
    os.close(write)
    os.waitpid(child, 0)
    print(len(os.read(read, 65536)), flush=True)
    os.close(read)
"""


def test_a_promotion_killed_at_any_moment_leaves_the_old_or_the_new_pointer(tmp_path):
    """50 kills; none of 50 wrong means at most 6 % at 95 % confidence."""
    seed = 4
    print("seed", seed)
    chance, registry, acknowledged, killed = random.Random(seed), LocalModelRegistry(tmp_path / "registry"), 0, 0
    (tmp_path / "manifest.json").write_bytes(manifest().to_bytes())
    command = [sys.executable, "-c", FORKED_PROMOTER, tmp_path / "registry", tmp_path / "manifest.json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        for _ in range(50):
            before = registry.current("shop")
            server.stdin.write(b"g")
            server.stdin.flush()
            child = int(server.stdout.readline())
            time.sleep(chance.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
            killed += 1
            acknowledged = int(server.stdout.readline())
            found = registry.current("shop")
            begin = before.sequence if before else 0
            # Each acknowledged promotion is there, and at most one more that was not acknowledged any more.
            reached = found.sequence if found else 0
            assert begin + acknowledged <= reached <= begin + acknowledged + 1
            history = registry.history("shop")
            assert [entry.sequence for entry in history] == list(range(1, reached + 1))
            assert registry.promote(manifest(), expected=reached).sequence == reached + 1
            with pytest.raises(ConflictError):
                registry.promote(manifest(), expected=reached)
        server.stdin.close()
    assert killed == 50
    assert registry.current("shop").sequence > 50  # some promotions happened beside those of this test
