"""Objects under a prefix of an S3 bucket: created once, read in ranges."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from recsys.aws.client import UNREACHABLE, AwsError, Client
from recsys.errors import ConfigError, ConflictError, NotFoundError, StorageError

PART_BYTES = 1 << 23
"""Objects longer than this travel in parts of this length; S3 takes no more than 10,000 of one."""

THREADS = 4
"""Parts on their way at once, each in memory."""

_AT_ONCE = 1000  # as many as S3 removes by one call


class Objects:
    """Objects of one bucket whose keys begin with one prefix.

    Parameters
    ----------
    place : str
        ``BUCKET`` or ``BUCKET/PREFIX``.
    client : Client
        Of S3.
    """

    def __init__(self, place: str, client: Client) -> None:
        self._bucket, _, prefix = place.partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if not self._bucket:
            raise ConfigError(f"s3://{place} names no bucket")
        self._client = client

    def url(self, key: str) -> str:
        """Return the place of an object in words."""
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def read(self, key: str, begin: int, end: int) -> tuple[bytes, int] | None:
        """Return bytes ``begin`` to ``end`` of an object, and how long all of it is; None if it is missing.

        One that ends before `begin` counts as empty.
        """
        try:
            answer = self._call("GetObject", Key=self._prefix + key, Range=f"bytes={begin}-{end - 1}")
        except AwsError as error:
            if error.code == "NoSuchKey":
                return None
            if error.code == "InvalidRange":
                return b"", 0
            raise
        if not answer["Body"]:  # whoever reads on from where it ends would never come to an end
            raise AwsError("GetObject", UNREACHABLE, f"the answer holds none of the bytes of {self.url(key)}")
        return answer["Body"], int(answer["ContentRange"].rpartition("/")[2])

    def names(self, folder: str) -> list[str]:
        """Return what follows `folder` in every key that begins with it, ascending."""
        start, names = self._prefix + folder, list[str]()
        more = dict[str, str]()
        while True:
            answer = self._call("ListObjectsV2", Prefix=start, **more)
            names += [one["Key"].removeprefix(start) for one in answer.get("Contents", [])]
            if not answer["IsTruncated"]:
                return names
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are missing are no fault."""
        for start in range(0, len(keys), _AT_ONCE):
            listed = [{"Key": self._prefix + key} for key in keys[start : start + _AT_ONCE]]
            answer = self._call("DeleteObjects", Delete={"Objects": listed, "Quiet": True})
            for refused in answer.get("Errors", []):
                raise StorageError(f"s3://{self._bucket}/{refused['Key']} was not removed: {refused['Code']}")

    def parts(self, key: str) -> Iterator[bytes]:
        """Yield an object part by part; `NotFoundError` if it is missing."""
        begin, length = 0, 1
        while begin < length:
            found = self.read(key, begin, begin + PART_BYTES)
            if found is None:
                raise NotFoundError(f"{self.url(key)} is gone")
            content, length = found
            begin += len(content)
            yield content

    def sha256(self, key: str) -> str | None:
        """Hash of what is stored, None if it is missing."""
        digest = hashlib.sha256()
        try:
            for content in self.parts(key):
                digest.update(content)
        except NotFoundError:
            return None
        return digest.hexdigest()

    def create(self, key: str, head: bytes, body: memoryview, sha256: str) -> None:
        """Store an object of two parts that is not there yet; S3 compares it with its hash as it arrives.

        An object with the same content may be there: an earlier try, whose answer was lost, or whose process ended.
        Raises `ConflictError` if there is another one.
        """
        try:
            if len(head) + len(body) <= PART_BYTES:
                self._put(key, head + bytes(body), sha256, IfNoneMatch="*")
            else:
                self._put_in_parts(key, head, body, IfNoneMatch="*")
        except AwsError as error:
            found = self.sha256(key)
            if found is None:
                raise
            if found != sha256:
                raise ConflictError(f"{self.url(key)} exists already, with another content") from error

    def replace(self, key: str, body: memoryview, sha256: str) -> None:
        """Store an object in the place of whatever has its key."""
        if len(body) <= PART_BYTES:
            self._put(key, bytes(body), sha256)
        else:
            self._put_in_parts(key, b"", body)

    def _put(self, key: str, content: bytes, sha256: str, **condition: str) -> None:
        checksum = b64encode(bytes.fromhex(sha256)).decode()
        self._call("PutObject", Key=self._prefix + key, Body=content, ChecksumSHA256=checksum, **condition)

    def _put_in_parts(self, key: str, head: bytes, body: memoryview, **condition: str) -> None:
        place = {"Key": self._prefix + key}
        upload = place | {
            "UploadId": self._call("CreateMultipartUpload", **place, ChecksumAlgorithm="SHA256")["UploadId"]
        }

        def send(begin: int) -> dict[str, Any]:
            end = begin + PART_BYTES
            content = head[begin:end] + bytes(body[max(begin - len(head), 0) : end - len(head)])
            part = {"PartNumber": begin // PART_BYTES + 1, "ChecksumSHA256": _checksum(content)}
            return part | {"ETag": self._call("UploadPart", **upload, **part, Body=content)["ETag"]}

        try:
            with ThreadPoolExecutor(THREADS) as pool:
                parts = list(pool.map(send, range(0, len(head) + len(body), PART_BYTES)))
            self._call("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": parts}, **condition)
        except BaseException:
            with suppress(StorageError):  # what is not aborted is paid for until somebody does
                self._call("AbortMultipartUpload", **upload)
            raise

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._client.call(operation, Bucket=self._bucket, **parameters)
        except AwsError as error:
            if error.code != "NoSuchBucket":
                raise
            raise StorageError(
                f"there is no bucket {self._bucket!r}. "
                "Create it as the deployment's template does, or correct the setting"
            ) from error


def _checksum(content: bytes) -> str:
    return b64encode(hashlib.sha256(content).digest()).decode()
