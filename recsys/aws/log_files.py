"""Files of the event log, and of the runs, in S3."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from recsys.artifacts.manifest import check_name
from recsys.aws.client import Client
from recsys.aws.objects import Objects
from recsys.errors import ConflictError, storing


class S3LogFiles:
    """Objects ``prefix/ns=NAMESPACE/dt=DAY/NAME``; implements `batch_jobs.log_files.LogFiles`.

    What is written or read goes through a temporary file: memory does not grow with it. IAM actions: s3:ListBucket on
    the bucket, s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on the objects; who only adds
    needs s3:PutObject and, to find its own earlier try, s3:GetObject.

    Parameters
    ----------
    place : str
        ``BUCKET`` or ``BUCKET/PREFIX``.
    client : Client
        Of S3.
    """

    def __init__(self, place: str, client: Client) -> None:
        self._place, self._client = place, client
        self._objects = Objects(place, client)

    def __str__(self) -> str:
        return self._objects.url("")

    def table(self, name: str) -> S3LogFiles:
        """See `LogFiles.table`."""
        return S3LogFiles(f"{self._place.rstrip('/')}/{name}", self._client)

    def locked(self, namespace: str) -> AbstractContextManager[None]:
        """S3 has no locks: two that add the same create the same names, and one of them nothing."""
        return nullcontext()

    def namespaces(self) -> list[str]:
        """See `LogFiles.namespaces`; S3 lists every file for it."""
        return sorted({key.partition("/")[0] for key in self._objects.names("ns=")})

    def names(self, namespace: str) -> list[str]:
        """See `LogFiles.names`; S3 lists what is there at this moment."""
        return self._objects.names(_folder(namespace))

    @contextmanager
    def open(self, namespace: str, name: str) -> Iterator[BinaryIO]:
        """See `LogFiles.open`."""
        with TemporaryFile() as file:
            for content in self._objects.parts(_folder(namespace) + name):
                with storing("writing to the temporary folder"):
                    file.write(content)
            file.seek(0)
            yield cast(BinaryIO, file)

    def create(self, namespace: str, name: str, write: Callable[[BinaryIO], object]) -> None:
        """See `LogFiles.create`."""
        # The same events packed by another release may be other bytes: whichever is there holds them.
        with _content(write) as (content, sha256), suppress(ConflictError):
            self._objects.create(_folder(namespace) + name, b"", content, sha256)

    def replace(self, namespace: str, name: str, write: Callable[[BinaryIO], object]) -> None:
        """See `LogFiles.replace`."""
        with _content(write) as (content, sha256):
            self._objects.replace(_folder(namespace) + name, content, sha256)

    def remove(self, namespace: str, names: list[str]) -> None:
        """See `LogFiles.remove`."""
        self._objects.remove([_folder(namespace) + name for name in names])


def _folder(namespace: str) -> str:
    return f"ns={check_name('namespace', namespace)}/"


@contextmanager
def _content(write: Callable[[BinaryIO], object]) -> Iterator[tuple[memoryview, str]]:
    """Give what is written, and its hash, from a temporary file."""
    with TemporaryFile() as file:
        with storing("writing to the temporary folder"):
            write(cast(BinaryIO, file))
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages, memoryview(pages) as content:
            yield content, sha256
