"""Where artefacts live: created once, verified whenever they are opened, memory-mapped."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import stat
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts.manifest import MAX_MANIFEST_BYTES, ArraySpec, ArtifactManifest, check_name
from recsys.errors import ArtifactError, ConflictError, NoModelError, storing

MANIFEST = "manifest.json"
_CHUNK_BYTES = 1 << 21
MOST_THREADS = 4  # beyond that they wait for memory

Extremes = tuple[float, float]
"""Lowest and highest number of an array and 0; NaN if it holds one."""


class StoredArrays(NamedTuple):
    """A verified artefact: its manifest and read-only arrays.

    Parameters
    ----------
    manifest : ArtifactManifest
    arrays : mapping of str to ndarray
    extremes : mapping of str to Extremes
        As the store met them while it verified: nobody need read an array again to check its range.
    """

    manifest: ArtifactManifest
    arrays: Mapping[str, NDArray[Any]]
    extremes: Mapping[str, Extremes] = MappingProxyType({})


class ArtifactStore(Protocol):
    """Immutable versions by namespace."""

    def put(self, manifest: ArtifactManifest, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store a version, whole or not at all.

        Raises `ConflictError` if it exists already and `StorageError` if the place refuses.
        """

    def open(
        self, namespace: str, version: str, *, manifest_sha256: str | None = None, names: Container[str] | None = None
    ) -> StoredArrays:
        """Verify a version against its manifest, and the manifest against the hash the pointer carries, and open it.

        With `names`, only those arrays are verified and opened. Raises `NoModelError` if there is no such version
        and `ArtifactError` if any byte of it is not what was published.
        """

    def versions(self, namespace: str) -> list[str]:
        """Return the names of all versions, ascending; also of what is left of one that was half stored or removed."""

    def remove(self, namespace: str, version: str) -> None:
        """Remove a version: nobody can open it from the first moment on. One that is missing is no fault."""

    def sweep(self, namespace: str) -> None:
        """Remove what processes that were killed left behind, but for what `versions` names."""


class LocalArtifactStore:
    """Artefacts in folders: ``root/namespace/version/{manifest.json, *.npy}``.

    A version is written beside its place, flushed, read back and verified, and then appears by one rename.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, manifest: ArtifactManifest, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `ArtifactStore.put`."""
        final = self.root / manifest.namespace / manifest.version
        with storing(f"storing version {manifest.version} under {self.root}"):
            make_folder(final.parent)
            with _draft_of(final) as draft:
                for spec in manifest.arrays:
                    array = np.ascontiguousarray(arrays[spec.name])
                    _write(draft / f"{spec.name}.npy", [spec.header, array.data if array.size else b""])
                _write(draft / MANIFEST, [manifest.to_bytes()])
                _open(draft, manifest.sha256, None)
                sync_folder(draft)
                _rename_new(draft, final)
                sync_folder(final.parent)

    def open(
        self, namespace: str, version: str, *, manifest_sha256: str | None = None, names: Container[str] | None = None
    ) -> StoredArrays:
        """See `ArtifactStore.open`."""
        folder = self.root / check_name("namespace", namespace) / check_name("version", version)
        if not folder.is_dir():
            raise NoModelError(f"namespace {namespace!r} has no version {version!r} under {self.root}")
        stored = _open(folder, manifest_sha256, names)
        if (stored.manifest.namespace, stored.manifest.version) != (namespace, version):
            raise ArtifactError(f"{folder} holds version {stored.manifest.version} of {stored.manifest.namespace}")
        return stored

    def versions(self, namespace: str) -> list[str]:
        """See `ArtifactStore.versions`."""
        return sorted(path.name for path in (self.root / check_name("namespace", namespace)).glob("[!.]*"))

    def remove(self, namespace: str, version: str) -> None:
        """See `ArtifactStore.remove`. It becomes a draft first: killed in between, a put or sweep removes that."""
        import shutil  # as in _remove_drafts

        folder = self.root / check_name("namespace", namespace) / check_name("version", version)
        gone = _draft_name(folder)
        with storing(f"removing {folder}"), suppress(FileNotFoundError):
            folder.rename(gone)
            sync_folder(folder.parent)
            shutil.rmtree(gone, ignore_errors=True)

    def sweep(self, namespace: str) -> None:
        """See `ArtifactStore.sweep`."""
        folder = self.root / check_name("namespace", namespace)
        if folder.is_dir():
            with storing(f"sweeping {folder}"), _locked(folder):
                _remove_drafts(folder)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents so that each of them survives a power cut."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _draft_name(final: Path) -> Path:
    return final.with_name(f".{final.name}.{os.urandom(16).hex()}")


@contextmanager
def _draft_of(final: Path) -> Iterator[Path]:
    """Give an empty folder beside the place of a version; drafts of processes that were killed are removed."""
    import shutil  # as in _remove_drafts

    draft = _draft_name(final)
    with _locked(final.parent):  # so that nobody finds a draft between its making and its locking
        _remove_drafts(final.parent)
        draft.mkdir()
        ours = ExitStack()
        ours.enter_context(_locked(draft))
    with ours:
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _remove_drafts(folder: Path) -> None:
    """Remove the drafts that nobody holds any more."""
    import shutil  # and five modules for compression with it: nothing that serves should load

    for draft in folder.glob(".*"):
        with suppress(OSError), _locked(draft, fcntl.LOCK_NB):
            shutil.rmtree(draft)


@contextmanager
def _locked(folder: Path, wait: int = 0) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | wait)
        yield
    finally:
        os.close(handle)


def give_back(array: NDArray[Any]) -> None:
    """Unmap the pages of an array that a store opened; what is asked for again comes from the page cache or the file.

    A system maps more than is asked for, up to 2 MB for a single number: soon all of a file would be with the process.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap):
        base.obj.madvise(mmap.MADV_DONTNEED)


def _write(path: Path, parts: list[Any]) -> None:
    with path.open("xb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _rename_new(draft: Path, final: Path) -> None:
    try:
        draft.rename(final)  # fails on a folder that has anything in it
    except OSError as error:
        if final.exists():
            raise ConflictError(f"version {final.name} exists already and is never overwritten") from error
        raise


def _open(folder: Path, manifest_sha256: str | None, names: Container[str] | None) -> StoredArrays:
    with storing(f"reading {folder}"), _open_regular(folder / MANIFEST) as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    if manifest_sha256 is not None and hashlib.sha256(data).hexdigest() != manifest_sha256:
        raise ArtifactError(f"the manifest in {folder} is not the one that was published")
    manifest = ArtifactManifest.from_bytes(data)
    return _verified(folder, manifest, [spec for spec in manifest.arrays if names is None or spec.name in names])


def _verified(folder: Path, manifest: ArtifactManifest, specs: list[ArraySpec]) -> StoredArrays:
    """Map arrays and verify them on all cores, hashes first, the longest first: no thread is left alone at the end."""
    specs.sort(key=lambda spec: -spec.file_bytes)
    contents = {spec.name: _map(folder / f"{spec.name}.npy", spec) for spec in specs}
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        digests = pool.map(lambda spec: _digest(contents[spec.name], spec), specs)
        extremes = pool.map(lambda spec: _extremes(contents[spec.name], spec), specs)
    for spec, digest in zip(specs, digests, strict=True):
        if digest != spec.sha256:
            raise ArtifactError(f"{folder / spec.name}.npy is damaged: its SHA-256 is not the manifest's")
    arrays = {spec.name: _numbers(contents[spec.name], spec) for spec in specs}
    return StoredArrays(manifest, arrays, dict(zip(arrays, extremes, strict=True)))


def _open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; what is no regular file is refused, for a pipe would be waited on for ever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ArtifactError(f"{path} is not a regular file")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{path} is missing") from None


def _map(path: Path, spec: ArraySpec) -> mmap.mmap:
    """Memory-map a .npy file after comparing its size and its header with the manifest."""
    with storing(f"reading {path}"), _open_regular(path) as file:
        if os.fstat(file.fileno()).st_size != spec.file_bytes:
            raise ArtifactError(f"{path} is not {spec.file_bytes:,} bytes long: it is truncated or replaced")
        if file.read(len(spec.header)) != spec.header:
            raise ArtifactError(f"{path} does not hold {spec.dtype} of shape {spec.shape}")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _numbers(content: mmap.mmap, spec: ArraySpec) -> NDArray[Any]:
    return np.frombuffer(content, spec.dtype, offset=len(spec.header)).reshape(spec.shape)


def _digest(content: mmap.mmap, spec: ArraySpec) -> str:
    """Hash of a file."""
    digest = hashlib.sha256(spec.header)
    for chunk in _chunks(content, spec):
        digest.update(chunk)
    return digest.hexdigest()


def _extremes(content: mmap.mmap, spec: ArraySpec) -> Extremes:
    """Extremes of the numbers in a file."""
    lowest, highest = np.zeros((2, 1), spec.dtype)
    with np.errstate(invalid="ignore"):  # a file that is damaged may hold anything
        for chunk in _chunks(content, spec):
            numbers = np.frombuffer(chunk, spec.dtype)
            np.minimum(lowest, numbers.min(initial=0), out=lowest)  # unlike Python's min, these keep a NaN
            np.maximum(highest, numbers.max(initial=0), out=highest)
    return lowest.item(), highest.item()


def _chunks(content: mmap.mmap, spec: ArraySpec) -> Iterator[memoryview]:
    """Yield what follows the header, piece by piece.

    Every piece is given back as soon as it is done with: what no request ever needs would stay with the process.
    """
    view, start = memoryview(content), len(spec.header)
    for begin in range(0, len(view), _CHUNK_BYTES):
        yield view[max(begin, start) : begin + _CHUNK_BYTES]
        content.madvise(mmap.MADV_DONTNEED, begin, min(_CHUNK_BYTES, len(view) - begin))
