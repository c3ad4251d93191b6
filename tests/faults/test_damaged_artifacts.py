"""Damaged, lying and hostile artefacts and pointers: refused as what they are, in bounded time and memory."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from small_artifacts import ARRAYS, DAMAGES, REFUSALS, manifest

from recsys.artifacts import (
    ArraySpec,
    LocalArtifactStore,
    store,
)


@pytest.fixture
def stored(tmp_path):
    """A store, its one version and the folder of it."""
    described = manifest()
    place = LocalArtifactStore(tmp_path / "artifacts")
    place.put(described, ARRAYS)
    place.open("shop", described.version, manifest_sha256=described.sha256)
    return place, described, tmp_path / "artifacts/shop" / described.version


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
