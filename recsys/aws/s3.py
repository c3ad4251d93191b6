"""Artefacts in S3: created once, checked by S3 as they arrive, and opened through a folder on the local disk."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts.manifest import ArraySpec, ArtifactManifest, check_name
from recsys.artifacts.store import MANIFEST, StoredArrays
from recsys.aws.cache import ArtifactCache
from recsys.aws.client import Client
from recsys.aws.objects import Objects
from recsys.errors import ArtifactError, ConflictError


class S3ArtifactStore:
    """Artefacts as objects: ``prefix/namespace/version/{*.npy, manifest.json}``, the manifest last.

    What has no manifest is no version. Nothing is overwritten, nothing is listed. IAM actions: s3:GetObject on the
    objects and s3:ListBucket on the bucket to read (without the latter S3 does not tell a missing object from a
    forbidden one); s3:PutObject and s3:AbortMultipartUpload besides, to publish.

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
        if self._objects.sha256(f"{folder}/{MANIFEST}") is not None:
            raise ConflictError(
                f"{self._objects.url(folder)} exists already: version {manifest.version} is never overwritten"
            )
        contents = {spec.name: _content(spec, arrays[spec.name]) for spec in manifest.arrays}
        for spec in manifest.arrays:
            self._objects.create(f"{folder}/{spec.name}.npy", spec.header, contents[spec.name], spec.sha256)
        self._objects.create(f"{folder}/{MANIFEST}", manifest.to_bytes(), memoryview(b""), manifest.sha256)

    def open(
        self, namespace: str, version: str, *, manifest_sha256: str | None = None, names: Container[str] | None = None
    ) -> StoredArrays:
        """See `ArtifactStore.open`; what the cache does not hold yet is downloaded."""
        folder = f"{check_name('namespace', namespace)}/{check_name('version', version)}"
        try:
            return self._cache.open(namespace, version, manifest_sha256=manifest_sha256, names=names)
        except ArtifactError as error:
            raise ArtifactError(f"{self._objects.url(folder)} cannot be used: {error}") from error


def _content(spec: ArraySpec, array: NDArray[Any]) -> memoryview:
    """Bytes of an array that is the one described; `ArtifactError` if it is another."""
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    digest = hashlib.sha256(spec.header)
    digest.update(content)
    if digest.hexdigest() != spec.sha256:
        raise ArtifactError(f"array {spec.name!r} is not the one its manifest describes")
    return content
