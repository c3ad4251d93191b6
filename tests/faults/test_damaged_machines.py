"""Saved machines of plain rows that are damaged, lying or hostile: refused, in memory bounded by the file."""

import io
import json
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recsys.data.features import FeatureMatrix
from recsys.errors import ArtifactError, RecsysError
from recsys.models.fm.model import FactorizationMachine
from recsys.models.fm.rows import RowPredictor

ROWS = FeatureMatrix.side_by_side(
    [FeatureMatrix.of_ids(np.arange(12, dtype=np.int32) % n, n, name) for n, name in ((4, "user"), (3, "item"))]
)
TARGETS = (np.arange(12) % 5).astype(np.float32)


@pytest.fixture(scope="module", params=["plain", "field weights", "no factors"])
def saved(request, tmp_path_factory):
    """A machine, and the members of the file it was saved to."""
    settings = {"plain": {}, "field weights": {"field_weights": True}, "no factors": {"factors": 0}}[request.param]
    machine = FactorizationMachine(
        **{"factors": 3, "loss": "squared", "solver": "sgd", "iterations": 2, **settings}
    ).fit_rows(ROWS, TARGETS)
    path = tmp_path_factory.mktemp("machine") / "machine.npz"
    machine.save(path)
    assert RowPredictor.load(path).predict(ROWS).tobytes() == machine.predict(ROWS).tobytes()
    with np.load(path) as file:
        return machine, {name: file[name] for name in file.files}, path


def with_settings(**changes):
    return lambda members: {
        **members,
        "settings": np.frombuffer(
            json.dumps({**json.loads(members["settings"].tobytes()), **changes}).encode(), np.uint8
        ),
    }


def with_array(name, change):
    return lambda members: {**members, name: change(members[name])}


LIES = {
    "no settings": lambda members: {name: one for name, one in members.items() if name != "settings"},
    "no vectors": lambda members: {name: one for name, one in members.items() if name != "vectors"},
    "no weights": lambda members: {name: one for name, one in members.items() if name != "weights"},
    "no field_of": lambda members: {name: one for name, one in members.items() if name != "field_of"},
    "something more": lambda members: {**members, "extra": np.zeros(3, np.float32)},
    "no JSON": with_array("settings", lambda one: one[:-1]),
    "deep JSON": with_array("settings", lambda one: np.frombuffer(b"[" * 200_000, np.uint8)),
    "JSON of another kind": with_array("settings", lambda one: np.frombuffer(b"[1]", np.uint8)),
    "more factors": with_settings(factors=10**9),
    "factors below nothing": with_settings(factors=-8),
    "factors of a half": with_settings(factors=0.5),
    "factors as text": with_settings(factors="3"),
    "an unknown link": with_settings(link="magic"),
    "link of no text": with_settings(link=[]),
    "a field less": with_settings(fields=["user"]),
    "fields that are numbers": with_settings(fields=[1, 2]),
    "no fields": with_settings(fields=None),
    "offsets that fall": with_array("offsets", lambda one: one[[0, 2, 1]]),
    "offsets below nothing": with_array("offsets", lambda one: one - 1),
    "offsets that overflow": with_array("offsets", lambda one: np.array([0, 2**62, -(2**62)])),
    "offsets beyond": with_array("offsets", lambda one: one * 2**40),
    "offsets of another type": with_array("offsets", lambda one: one.astype(np.float64)),
    "no offsets": with_array("offsets", lambda one: one[:0]),
    "weights too short": with_array("weights", lambda one: one[:-1]),
    "weights of float64": with_array("weights", lambda one: one.astype(np.float64)),
    "weights of NaN": with_array("weights", lambda one: one * np.nan),
    "two biases": with_array("bias", lambda one: np.repeat(one, 2)),
    "a bias of nothing": with_array("bias", lambda one: one[:0]),
    "an infinite bias": with_array("bias", lambda one: one + np.inf),
    "vectors too short": with_array("vectors", lambda one: one[:-1]),
    "vectors of one dimension": with_array("vectors", np.ravel),
    "vectors in another order": with_array("vectors", lambda one: np.asfortranarray(np.ones((7, 3), np.float32))),
    "fields below nothing": with_array("field_of", lambda one: one - 1),
    "fields beyond": with_array("field_of", lambda one: one + 1),
    "fields of other features": with_array("field_of", lambda one: one[::-1].copy()),
    "fields of another type": with_array("field_of", lambda one: one.astype(np.int64)),
    "field weights of another shape": lambda members: {**members, "field_weights": np.ones((1, 2), np.float32)},
    "a field weight of NaN": lambda members: {**members, "field_weights": np.full((2, 2), np.nan, np.float32)},
    "no range": with_array("range", lambda one: one[:0]),
    "a range that falls": with_array("range", lambda one: np.array([1.0, -1.0])),
    "a range of NaN": with_array("range", lambda one: one * np.nan),
}


@pytest.mark.parametrize("lie", LIES)
def test_arrays_that_contradict_each_other_are_refused(saved, tmp_path, lie):
    np.savez(tmp_path / "lie.npz", **LIES[lie](saved[1]))
    with pytest.raises(ArtifactError, match="is no saved factorization machine"):
        RowPredictor.load(tmp_path / "lie.npz")


def zipped(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(descr="<f4", shape="(2,)", body=b"", version=1):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text + body


HOSTILE = {
    "empty": b"",
    "no zip": b"hello" * 100,
    "a pickle": pickle.dumps({"weights": [1]}),
    "one array": npy(body=bytes(8)),
    "a zip of nothing": zipped({}),
    "a zip of text": zipped({"weights": b"hello"}),
    "a pickle for an array": zipped({"weights.npy": npy("|O", "()", pickle.dumps(print))}),
    "a claim of 2^50 numbers": zipped({"weights.npy": npy(shape=f"({2**50},)")}),
    "a claim of 2^70 numbers": zipped({"weights.npy": npy(shape=f"({2**70},)")}),
    "a claim below nothing": zipped({"weights.npy": npy(shape="(-1, -2)", body=bytes(8))}),
    "a shape that is text": zipped({"weights.npy": npy(shape="'ab'", body=bytes(8))}),
    "a type of no size": zipped({"weights.npy": npy("V0", f"({2**40},)")}),
    "a call for a header": zipped({"weights.npy": npy(shape="__import__('os').getcwd()")}),
    "a header that breaks the reader": zipped({"weights.npy": b"\x93NUMPY\x01\x00\x04\x00(((\n"}),
    "a header of brackets": zipped({"weights.npy": b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10_000}),
    "a header of another version": zipped({"weights.npy": npy(version=3, body=bytes(8))}),
    "a bomb": zipped({"weights.npy": npy(shape=f"({2**26},)", body=bytes(2**28))}, zipfile.ZIP_DEFLATED),
    "many members": zipped({f"a{n}.npy": npy(body=bytes(8)) for n in range(20_000)}),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_files_that_are_no_machine_are_refused_in_bounded_memory(tmp_path, hostile, memory_limit):
    path = tmp_path / "hostile.npz"
    path.write_bytes(HOSTILE[hostile])
    with memory_limit(64 << 20), pytest.raises(ArtifactError, match="is no saved factorization machine") as refused:
        RowPredictor.load(path)
    assert len(str(refused.value)) < 600


@pytest.fixture
def memory_limit():
    """Let the process have so many bytes more than it has."""
    import resource
    from contextlib import contextmanager

    @contextmanager
    def limited(more):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + more, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    return limited


def test_places_that_cannot_be_read_are_named(tmp_path):
    for path in (tmp_path / "nothing.npz", tmp_path):
        with pytest.raises(ArtifactError, match="is no saved factorization machine"):
            RowPredictor.load(path)


def test_random_damage_is_refused_or_predicts_numbers(saved, tmp_path):
    chance, whole, path = random.Random(1), saved[2].read_bytes(), tmp_path / "damaged.npz"
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            at = chance.randrange(len(data))
            data[at : at + chance.choice((0, 1, 1, 1, 9))] = chance.randbytes(chance.choice((0, 1, 1, 1, 9)))
        path.write_bytes(data)
        try:
            assert np.isfinite(RowPredictor.load(path).predict(ROWS)).all()
        except RecsysError:
            refused += 1
    assert refused > 200  # the rest hit what nobody reads
