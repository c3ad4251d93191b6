"""A folder on the local disk for versions that live elsewhere: what is asked for is fetched, verified and mapped."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from recsys.artifacts.manifest import MAX_MANIFEST_BYTES
from recsys.artifacts.store import MANIFEST, LocalArtifactStore, StoredArrays
from recsys.aws.objects import PART_BYTES, THREADS, Objects
from recsys.errors import ArtifactError, NoModelError, storing

CACHED_VERSIONS = 2
"""Versions of a namespace that stay on the disk; one that is mapped lives on when its files are removed."""


class ArtifactCache:
    """Versions of an object store as `LocalArtifactStore` opens them.

    One thread of one process at a time opens a version of a namespace, the others wait for what it downloads. A file
    that fails verification is downloaded once more.

    Parameters
    ----------
    root : Path
        Folder on a local disk; whatever is in it may vanish.
    objects : Objects
        What it is a cache of.
    """

    def __init__(self, root: Path, objects: Objects) -> None:
        self._root = root
        self._local = LocalArtifactStore(root)
        self._objects = objects

    def open(
        self, namespace: str, version: str, *, manifest_sha256: str | None, names: Container[str] | None
    ) -> StoredArrays:
        """See `ArtifactStore.open`."""
        folder = self._root / namespace / version
        with storing(f"caching version {version} under {self._root}"), _locked(folder.parent):
            try:
                return self._opened(folder, manifest_sha256, names)
            except ArtifactError:
                _remove(folder)
                return self._opened(folder, manifest_sha256, names)

    def _opened(self, folder: Path, manifest_sha256: str | None, names: Container[str] | None) -> StoredArrays:
        """Download what is missing, the manifest and those arrays, and verify all of it."""
        namespace, version = folder.parts[-2:]
        if not (folder / MANIFEST).exists():
            self._fetch_manifest(folder)
        os.utime(folder)
        open_cached = partial(self._local.open, namespace, version, manifest_sha256=manifest_sha256)
        specs = [spec for spec in open_cached(names=()).manifest.arrays if names is None or spec.name in names]
        files = {f"{spec.name}.npy": spec.file_bytes for spec in specs}
        self._fetch(folder, {name: size for name, size in files.items() if not (folder / name).exists()})
        return open_cached(names=names)

    def _fetch_manifest(self, folder: Path) -> None:
        namespace, version = folder.parts[-2:]
        found = self._objects.read(f"{namespace}/{version}/{MANIFEST}", 0, MAX_MANIFEST_BYTES + 1)
        if found is None:
            raise NoModelError(f"namespace {namespace!r} has no version {version!r} under {self._objects.url('')}")
        if not folder.exists():
            _evict(folder.parent)
            folder.mkdir()
        draft = folder / f".{MANIFEST}"
        draft.write_bytes(found[0])
        draft.rename(folder / MANIFEST)

    def _fetch(self, folder: Path, sizes: dict[str, int]) -> None:
        drafts = {name: folder / f".{name}" for name in sizes}
        try:
            for draft in drafts.values():
                draft.write_bytes(b"")
            firsts = ((name, 0) for name in sizes)
            rest = ((name, begin) for name in sizes for begin in range(PART_BYTES, sizes[name], PART_BYTES))
            with ThreadPoolExecutor(THREADS) as pool:
                # The first part of each tells how long it is: nothing is planned by what a manifest claims.
                for parts in (firsts, rest):
                    list(pool.map(lambda part: self._fetch_part(drafts[part[0]], sizes[part[0]], part[1]), parts))
            for name, draft in drafts.items():
                draft.rename(folder / name)
        finally:
            for draft in drafts.values():
                draft.unlink(missing_ok=True)

    def _fetch_part(self, draft: Path, size: int, begin: int) -> None:
        key = "/".join((*draft.parts[-3:-1], draft.name.removeprefix(".")))
        found = self._objects.read(key, begin, min(begin + PART_BYTES, size))
        if found is None:
            raise ArtifactError(f"{self._objects.url(key)} is missing")
        content, length = found
        if length != size:
            raise ArtifactError(f"{self._objects.url(key)} is not {size:,} bytes long: it is truncated or replaced")
        with draft.open("r+b") as file:
            file.seek(begin)
            file.write(content)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _evict(folder: Path) -> None:
    """Remove all versions but those opened last, so that one more makes `CACHED_VERSIONS`."""
    versions = sorted((one for one in folder.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    for old in versions[: 1 - CACHED_VERSIONS or None]:
        _remove(old)


def _remove(folder: Path) -> None:
    import shutil  # and five modules for compression with it: nothing that serves should load

    shutil.rmtree(folder, ignore_errors=True)
