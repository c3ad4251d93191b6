"""Artefacts in S3: lost answers, racing writers, damaged objects and a damaged cache."""

import hashlib
import threading
from collections import Counter
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session
from clouds import CLOUDS

from recsys.artifacts import describe, store
from recsys.aws import cache, objects
from recsys.aws.client import BotoClient
from recsys.aws.objects import Objects
from recsys.aws.s3 import S3ArtifactStore
from recsys.errors import ArtifactError, ConflictError, NoModelError, StorageError

PART = 5 << 20  # the shortest part S3 takes
ARRAYS = {
    "long": np.arange(PART // 2 - 64, dtype=np.int32),  # two parts
    "short": np.linspace(0, 1, 9, dtype=np.float32).reshape(3, 3),
    "other": np.linspace(1, 2, 9, dtype=np.float32).reshape(3, 3),
}


def manifest(number=0):
    now = datetime(2026, 1, 1, second=number, tzinfo=UTC)
    return describe("shop", "als", ARRAYS, config={"n": number}, data={}, metrics={}, now=now)


ON_ONE = pytest.mark.parametrize("s3", ["moto"], indirect=True)  # where the stand-in does nothing of its own


@pytest.fixture(params=CLOUDS)
def s3(request, aws):
    return S3(aws(request.param))


class S3:
    """A bucket, and stores over it whose requests are counted and can go wrong."""

    def __init__(self, aws):
        self.bucket = aws.bucket()
        self.requests, self.before = Counter(), lambda request: None
        self.client = BotoClient("s3")
        self.boto = aws.client("s3")  # whose requests are neither
        self.client._client.meta.events.register("before-send.s3", self._send)

    def _send(self, request, **_):
        self.requests[f"{request.method} {request.url.partition('?')[0].rpartition('/')[2]}"] += 1
        return self.before(request)

    def store(self, folder):
        return S3ArtifactStore(f"{self.bucket}/models", folder, self.client)

    def get(self, key):
        return self.boto.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def write(self, key, content):
        self.boto.put_object(Bucket=self.bucket, Key=key, Body=content)

    def uploads(self):
        return self.boto.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    for module in (objects, cache):
        monkeypatch.setattr(module, "PART_BYTES", PART)


def completes(request, file):
    """Whether a request is the one that makes this object appear."""
    path, _, query = request.url.partition("?")
    return path.endswith(file) and (request.method, query.partition("=")[0]) in (("PUT", ""), ("POST", "uploadId"))


def lost_answer(file, times=1):
    """The server does as it is told, and the connection breaks before it can say so."""
    left = [times]

    def before(request):
        if completes(request, file) and left[0]:
            left[0] -= 1
            URLLib3Session().send(request)
            raise ConnectionClosedError(endpoint_url=request.url)

    return before


def overtaken(s3, file):
    """Somebody else writes something else a moment earlier."""
    return lambda request: (
        s3.write(request.url.partition(f"{s3.bucket}/")[2].partition("?")[0], b"else")
        if completes(request, file)
        else None
    )


@pytest.mark.parametrize(("file", "times"), [("long.npy", 1), ("short.npy", 1), ("manifest.json", 4)])
def test_a_version_whose_answers_are_lost_is_stored_all_the_same(s3, tmp_path, file, times):
    described = manifest()
    s3.before = lost_answer(file, times)
    s3.store(tmp_path).put(described, ARRAYS)
    opened = s3.store(tmp_path).open("shop", described.version, manifest_sha256=described.sha256)
    assert all(np.array_equal(opened.arrays[name], array) for name, array in ARRAYS.items())
    assert not s3.uploads()


@pytest.mark.parametrize("file", ["long.npy", "short.npy", "manifest.json"])
def test_what_somebody_else_put_there_is_neither_taken_for_ours_nor_overwritten(s3, tmp_path, file):
    described = manifest()
    s3.before = overtaken(s3, file)
    with pytest.raises(ConflictError, match=f"s3://{s3.bucket}/models/shop/{described.version}/{file} exists"):
        s3.store(tmp_path).put(described, ARRAYS)
    assert s3.get(f"models/shop/{described.version}/{file}") == b"else"
    assert not s3.uploads()


@ON_ONE
def test_a_store_that_does_not_look_at_what_is_there_is_caught(s3, tmp_path, monkeypatch):
    described = manifest()
    monkeypatch.setattr(Objects, "sha256", lambda self, key: None)
    s3.before = lost_answer("short.npy", 1)
    with pytest.raises(
        StorageError, match=f"storing s3://{s3.bucket}/models/shop/.* failed: PutObject failed: Precond"
    ):
        s3.store(tmp_path).put(described, ARRAYS)
    stored = {f"shop/{described.version}/{spec.name}.npy": spec.sha256 for spec in described.arrays}
    monkeypatch.setattr(Objects, "sha256", lambda self, key: stored.get(key))  # what is there is always ours
    s3.before = overtaken(s3, "short.npy")
    s3.store(tmp_path).put(described, ARRAYS)
    with pytest.raises(ArtifactError):
        s3.store(tmp_path).open("shop", described.version)


@pytest.mark.parametrize("s3", ["ministack"], indirect=True)  # moto compares no checksums
@pytest.mark.parametrize("file", ["long.npy", "short.npy", "manifest.json"])
def test_what_is_damaged_on_its_way_is_not_stored(s3, tmp_path, file):
    def flip(request):
        if request.method == "PUT" and request.url.partition("?")[0].endswith(file):
            request.body = BytesIO(DAMAGES["flipped"](request.body.read()))

    s3.before, described = flip, manifest()
    with pytest.raises(StorageError, match="BadDigest"):
        s3.store(tmp_path).put(described, ARRAYS)
    with pytest.raises(NoModelError):
        s3.store(tmp_path).open("shop", described.version)


def test_a_put_that_fails_leaves_no_version_and_a_second_one_completes_it(s3, tmp_path):
    described = manifest()

    def refuse(request):
        if "partNumber=2" in request.url:
            raise ConnectionClosedError(endpoint_url=request.url)

    s3.before = refuse
    with pytest.raises(StorageError, match="UploadPart failed: Unreachable"):
        s3.store(tmp_path).put(described, ARRAYS)
    assert not s3.uploads()
    with pytest.raises(NoModelError, match=f"no version '{described.version}' under s3://{s3.bucket}/models/"):
        s3.store(tmp_path).open("shop", described.version)
    s3.before = lambda request: None
    s3.store(tmp_path).put(described, ARRAYS)
    s3.store(tmp_path).open("shop", described.version, manifest_sha256=described.sha256)


DAMAGES = {
    "missing": None,
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "flipped": lambda content: content[:-2] + bytes([content[-2] ^ 1]) + content[-1:],
    "swapped": lambda content: b"?" * len(content),
}


def accepted(s3, folder, described, damages=DAMAGES):
    """Damage each object in each way; return what was opened all the same."""
    opened, refusals = [], []
    for name in ("short.npy", "manifest.json"):
        key = f"models/shop/{described.version}/{name}"
        sound = s3.get(key)
        for damage, change in damages.items():
            if change is None:
                s3.boto.delete_object(Bucket=s3.bucket, Key=key)
            else:
                s3.write(key, change(sound))
            try:
                s3.store(folder / name / damage).open(
                    "shop", described.version, manifest_sha256=described.sha256, names=("short",)
                )
                opened.append((name, damage))
            except (ArtifactError, NoModelError) as error:
                refusals.append(str(error))
        s3.write(key, sound)
    assert all(f"s3://{s3.bucket}/models/" in refusal for refusal in refusals)
    return opened


@ON_ONE
def test_a_manifest_in_the_place_of_another_version_is_refused(s3, tmp_path):
    described, place = manifest(), f"models/shop/{manifest(1).version}/manifest.json"
    s3.store(tmp_path).put(described, ARRAYS)
    s3.write(place, s3.get(f"models/shop/{described.version}/manifest.json"))
    with pytest.raises(
        ArtifactError, match=f"{manifest(1).version} failed: it holds version {described.version} of shop"
    ):
        s3.store(tmp_path).open("shop", manifest(1).version, names=())


@ON_ONE
def test_damaged_objects_are_refused(s3, tmp_path, monkeypatch):
    described = manifest()
    s3.store(tmp_path).put(described, ARRAYS)
    assert accepted(s3, tmp_path, described) == []
    s3.store(tmp_path).open("shop", described.version, manifest_sha256=described.sha256)
    monkeypatch.setattr(store, "_digest", lambda content, spec: spec.sha256)  # a planted bug
    assert accepted(s3, tmp_path / "blind", described) == [("short.npy", "flipped")]


@ON_ONE
def test_what_is_cached_is_not_downloaded_again_and_what_is_damaged_there_is_mended(s3, tmp_path):
    described = manifest()
    s3.store(tmp_path).put(described, ARRAYS)

    def downloads(*names):
        s3.requests.clear()
        opened = s3.store(tmp_path).open("shop", described.version, manifest_sha256=described.sha256, names=names)
        assert all(np.array_equal(opened.arrays[name], ARRAYS[name]) for name in names)
        return dict(s3.requests)

    assert downloads("short") == {"GET manifest.json": 1, "GET short.npy": 1}
    assert downloads("short") == {}
    assert downloads("short", "long") == {"GET long.npy": 2}
    for damaged in ("short.npy", "manifest.json"):
        (file,) = tmp_path.rglob(damaged)
        file.write_bytes(DAMAGES["flipped"](file.read_bytes()))
        assert downloads("short") == {"GET manifest.json": 1, "GET short.npy": 1}


@ON_ONE
@pytest.mark.parametrize("locked", [True, False])
def test_one_of_many_downloads(s3, tmp_path, monkeypatch, locked):
    described = manifest()
    s3.store(tmp_path).put(described, ARRAYS)
    s3.requests.clear()
    together = threading.Barrier(4)

    def wait(request):
        if request.url.endswith(".json"):
            with suppress(threading.BrokenBarrierError):
                together.wait(timeout=0.5)

    s3.before, opened = wait, []
    if not locked:  # a planted bug
        monkeypatch.setattr(cache, "_locked", lambda folder: nullcontext(folder.mkdir(parents=True, exist_ok=True)))

    def work(one):  # each store locks by files of its own, as processes do
        with suppress(OSError, StorageError):
            opened.append(one.open("shop", described.version))

    threads = [threading.Thread(target=work, args=(s3.store(tmp_path),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    once = {"GET manifest.json": 1, "GET short.npy": 1, "GET other.npy": 1, "GET long.npy": 2}
    assert (s3.requests == once and len(opened) == 4) is locked


@ON_ONE
def test_two_versions_stay_in_the_cache_and_what_is_mapped_lives_on(s3, tmp_path):
    versions = [manifest(number) for number in range(3)]
    opened = []
    for described in versions:
        s3.store(tmp_path).put(described, ARRAYS)
        opened.append(s3.store(tmp_path).open("shop", described.version, names=("long",)))
    with pytest.raises(NoModelError):
        s3.store(tmp_path).open("shop", "v4")
    kept = {folder.name for folder in tmp_path.glob("*/shop/*/")}
    assert kept == {described.version for described in versions[1:]}
    assert all(np.array_equal(one.arrays["long"], ARRAYS["long"]) for one in opened)


def test_a_bucket_that_does_not_exist_is_named_with_what_to_do(s3, tmp_path):
    s3.bucket = "nothing-here"
    with pytest.raises(StorageError, match=r"no bucket 'nothing-here'. Create it"):
        s3.store(tmp_path).open("shop", "v1")
    with pytest.raises(StorageError, match=r"no bucket 'nothing-here'. Create it"):
        s3.store(tmp_path).put(manifest(), ARRAYS)


@pytest.mark.parametrize("size", [5, PART, PART + 1])
def test_an_object_of_any_length_is_replaced(s3, size):
    """As the log is, where somebody is erased."""
    place = Objects(f"{s3.bucket}/some", s3.client)
    for content in (b"a" * size, b"b" * size):
        place.replace("key", memoryview(content), hashlib.sha256(content).hexdigest())
        assert s3.get("some/key") == content
        assert place.sha256("key") == hashlib.sha256(content).hexdigest()
    assert s3.uploads() == []
