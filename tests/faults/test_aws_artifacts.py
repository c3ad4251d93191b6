"""Artefacts in S3: lost answers, racing writers, damaged objects and a damaged cache."""

import threading
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session
from clouds import CLOUDS

from recsys.artifacts import describe, store
from recsys.aws import cache, objects
from recsys.aws.client import AwsError, BotoClient
from recsys.aws.s3 import S3ArtifactStore
from recsys.errors import ArtifactError, ConflictError, NoModelError, StorageError

PART = 5 << 20  # the shortest part S3 takes
ARRAYS = {
    "long": np.arange(3 * PART // 4 - 7, dtype=np.int32),
    "short": np.linspace(0, 1, 9, dtype=np.float32).reshape(3, 3),
    "other": np.linspace(1, 2, 9, dtype=np.float32).reshape(3, 3),
}


def manifest(number=0):
    now = datetime(2026, 1, 1, second=number, tzinfo=UTC)
    return describe("shop", "als", ARRAYS, config={"n": number}, data={}, metrics={}, now=now)


@pytest.fixture(params=CLOUDS)
def s3(request, aws):
    return S3(aws(request.param))


class S3:
    """A bucket, and stores over it whose requests are counted and can go wrong."""

    def __init__(self, aws):
        self.bucket = aws.bucket()
        self.boto = aws.client("s3")
        self.requests = Counter()

    def store(self, folder, *, before=None):
        client = BotoClient("s3")

        def count(request, **_):
            operation = f"{request.method} {request.url.partition('?')[0].rpartition('/')[2]}"
            self.requests[operation] += 1
            return before(request) if before else None

        client._client.meta.events.register("before-send.s3", count)
        return S3ArtifactStore(f"{self.bucket}/models", folder, client)

    def keys(self):
        return [one["Key"] for one in self.boto.list_objects_v2(Bucket=self.bucket).get("Contents", ())]

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


def ends(request, file):
    """Whether a request is the one that makes this object appear."""
    path, _, query = request.url.partition("?")
    return path.endswith(file) and (request.method == "PUT" and not query or request.method == "POST" and "uploadId" in query)


def lost_answer(file, times=1):
    """The server does as it is told, and the connection breaks before it can say so."""
    left = [times]

    def before(request):
        if ends(request, file) and left[0]:
            left[0] -= 1
            URLLib3Session().send(request)
            raise ConnectionClosedError(endpoint_url=request.url)

    return before


def overtaken(s3, file):
    """Somebody else writes something else a moment earlier."""
    return lambda request: s3.write(request.url.partition(f"{s3.bucket}/")[2].partition("?")[0], b"else") if ends(request, file) else None


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("file", ["long.npy", "short.npy", "manifest.json"])
def test_a_version_whose_answers_are_lost_is_stored_all_the_same(s3, tmp_path, file, times):
    described = manifest()
    s3.store(tmp_path, before=lost_answer(file, times)).put(described, ARRAYS)
    opened = s3.store(tmp_path).open("shop", described.version, manifest_sha256=described.sha256)
    assert all(np.array_equal(opened.arrays[name], array) for name, array in ARRAYS.items())
    assert not s3.uploads()


@pytest.mark.parametrize("file", ["long.npy", "short.npy", "manifest.json"])
def test_what_somebody_else_put_there_is_neither_taken_for_ours_nor_overwritten(s3, tmp_path, file):
    described = manifest()
    with pytest.raises(ConflictError, match=f"s3://{s3.bucket}/models/shop/{described.version}/{file} exists"):
        s3.store(tmp_path, before=overtaken(s3, file)).put(described, ARRAYS)
    assert s3.get(f"models/shop/{described.version}/{file}") == b"else"
    assert not s3.uploads()
