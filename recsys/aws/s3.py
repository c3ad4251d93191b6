"""Artefacts in S3: created once, checked by S3 as they arrive, and opened through a folder on the local disk."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts.manifest import MAX_MANIFEST_BYTES, ArraySpec, ArtifactManifest, check_name
from recsys.artifacts.store import MANIFEST, StoredArrays
from recsys.aws.cache import ArtifactCache
from recsys.aws.client import AwsError, Client
from recsys.aws.objects import Objects
from recsys.errors import ArtifactError, ConflictError, NoModelError, StorageError


class S3ArtifactStore:
    """Artefacts as objects: ``prefix/namespace/version/{*.npy, manifest.json}``, the manifest last.

    What has no manifest is no version. Nothing is overwritten, and only who removes versions lists them. What a process
    that was killed leaves is either used by the next put of the same version, and goes with old versions, or is parts
    of an upload: the bucket needs a lifecycle rule that aborts incomplete ones.

    IAM actions to read: s3:GetObject on the objects, and s3:ListBucket on the bucket, without which S3 calls a missing
    object a forbidden one. To publish: s3:PutObject and s3:AbortMultipartUpload on the objects besides; to remove
    versions: s3:DeleteObject. A bucket encrypted with a key of KMS asks for kms:Decrypt, and kms:GenerateDataKey to
    publish.

    Parameters
    ----------
    place : str
        ``BUCKET`` or ``BUCKET/PREFIX``.
    cache : Path
        Folder on a local disk for what is downloaded; several stores may share it.
    client : Client
        Of S3.
    """

    def __init__(self, place: str, cache: Path, client: Client) -> None:
        self._objects = Objects(place, client)
        self._cache = ArtifactCache(cache / hashlib.sha256(place.encode()).hexdigest()[:16], self._objects)

    def put(self, manifest: ArtifactManifest, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `ArtifactStore.put`."""
        folder = f"{manifest.namespace}/{manifest.version}"
        with _doing(f"storing {self._objects.url(folder)}"):
            self._put(folder, manifest, arrays)

    def open(
        self, namespace: str, version: str, *, manifest_sha256: str | None = None, names: Container[str] | None = None
    ) -> StoredArrays:
        """See `ArtifactStore.open`; what the cache does not hold yet is downloaded."""
        folder = f"{check_name('namespace', namespace)}/{check_name('version', version)}"
        with _doing(f"opening {self._objects.url(folder)}"):
            if names == ():  # who looks through all manifests must not empty the cache, nor find there what is removed
                return StoredArrays(self._manifest(namespace, version, manifest_sha256), {})
            return self._cache.open(namespace, version, manifest_sha256=manifest_sha256, names=names)

    def versions(self, namespace: str) -> list[str]:
        """See `ArtifactStore.versions`."""
        folder = f"{check_name('namespace', namespace)}/"
        with _doing(f"listing {self._objects.url(folder)}"):
            return sorted({name.partition("/")[0] for name in self._objects.names(folder)})

    def remove(self, namespace: str, version: str) -> None:
        """See `ArtifactStore.remove`."""
        folder = f"{check_name('namespace', namespace)}/{check_name('version', version)}/"
        with _doing(f"removing {self._objects.url(folder)}"):
            self._objects.remove([folder + MANIFEST])
            self._objects.remove([folder + name for name in self._objects.names(folder)])

    def _manifest(self, namespace: str, version: str, sha256: str | None) -> ArtifactManifest:
        found = self._objects.read(f"{namespace}/{version}/{MANIFEST}", 0, MAX_MANIFEST_BYTES + 1)
        if found is None:
            raise NoModelError(f"namespace {namespace!r} has no version {version!r} under {self._objects.url('')}")
        if sha256 is not None and hashlib.sha256(found[0]).hexdigest() != sha256:
            raise ArtifactError("the manifest is not the one that was published")
        manifest = ArtifactManifest.from_bytes(found[0])
        if (manifest.namespace, manifest.version) != (namespace, version):
            raise ArtifactError(f"it holds version {manifest.version} of {manifest.namespace}")
        return manifest

    def sweep(self, namespace: str) -> None:
        """See `ArtifactStore.sweep`; whatever is left is among `versions`."""

    def _put(self, folder: str, manifest: ArtifactManifest, arrays: Mapping[str, NDArray[Any]]) -> None:
        if self._objects.sha256(f"{folder}/{MANIFEST}") is not None:
            raise ConflictError(
                f"{self._objects.url(folder)} exists already: version {manifest.version} is never overwritten"
            )
        contents = {spec.name: _content(spec, arrays[spec.name]) for spec in manifest.arrays}
        for spec in manifest.arrays:
            self._objects.create(f"{folder}/{spec.name}.npy", spec.header, contents[spec.name], spec.sha256)
        self._objects.create(f"{folder}/{MANIFEST}", manifest.to_bytes(), memoryview(b""), manifest.sha256)


@contextmanager
def _doing(what: str) -> Iterator[None]:
    """Say at which place it was that something failed."""
    try:
        yield
    except AwsError as error:
        raise StorageError(f"{what} failed: {error}") from error
    except ArtifactError as error:
        raise ArtifactError(f"{what} failed: {error}") from error


def _content(spec: ArraySpec, array: NDArray[Any]) -> memoryview:
    """Bytes of an array that is the one described; `ArtifactError` if it is another."""
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    digest = hashlib.sha256(spec.header)
    digest.update(content)
    if digest.hexdigest() != spec.sha256:
        raise ArtifactError(f"array {spec.name!r} is not the one its manifest describes")
    return content
