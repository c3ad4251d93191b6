"""Which version is in service: a pointer with a sequence number, moved by compare-and-set, never by a clock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from recsys.artifacts.manifest import ArtifactManifest, check_name
from recsys.artifacts.store import make_folder, sync_folder
from recsys.errors import ArtifactError, ConflictError, NoModelError, storing

_EXPERIMENT = "experiment.json"


@dataclass(frozen=True)
class Pointer:
    """One entry of a namespace's history; the last one is in service.

    Parameters
    ----------
    sequence : int
        1, 2, 3, ...: one more with every move, rollbacks included.
    version, manifest_sha256 : str
        What is served, and the hash its manifest must have.
    previous : int
        Sequence number of the entry a rollback goes back to, 0 if there is none.
    moved_at : str
        ISO 8601, UTC. For people.
    """

    sequence: int
    version: str
    manifest_sha256: str
    previous: int
    moved_at: str

    def __post_init__(self) -> None:
        """Refuse what no registry writes; `ArtifactError`."""
        numbers, texts = (self.sequence, self.previous), (self.version, self.manifest_sha256, self.moved_at)
        if not (all(type(n) is int for n in numbers) and all(type(text) is str for text in texts)):
            raise ArtifactError("a registry entry has a field of the wrong type")
        if not 0 <= self.previous < self.sequence:
            raise ArtifactError(f"a registry entry claims number {self.sequence} after {self.previous}")

    def to_bytes(self) -> bytes:
        """JSON that carries a hash of itself, so that a flipped bit is not taken for another version or number."""
        fields = asdict(self)
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return json.dumps({**fields, "sha256": digest}).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, place: object) -> Pointer:
        """Parse what `to_bytes` wrote; `ArtifactError` naming the place if any byte differs."""
        try:
            fields = json.loads(data)
            del fields["sha256"]
            pointer = cls(**fields)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ArtifactError(f"{place} is damaged: {str(error)[:200]}") from error
        if pointer.to_bytes() != data:
            raise ArtifactError(f"{place} is damaged: its SHA-256 is not that of its content")
        return pointer


class ModelRegistry(Protocol):
    """The pointer of each namespace."""

    def current(self, namespace: str) -> Pointer | None:
        """Return what is in service, None before the first promotion."""

    def namespaces(self) -> list[str]:
        """Return the namespaces that have something in service, in ascending order."""

    def promote(self, manifest: ArtifactManifest, *, expected: int) -> Pointer:
        """Move the pointer to a stored version if its sequence number is still `expected` (0: nothing in service).

        Raises `ConflictError` if somebody else moved it first.
        """

    def rollback(self, namespace: str, *, expected: int) -> Pointer:
        """Move the pointer back to what was in service before; a second rollback goes one further.

        Raises `NoModelError` if there is nothing to go back to and `ConflictError` as `promote` does.
        """

    def history(self, namespace: str) -> list[Pointer]:
        """Every move so far, oldest first; `ArtifactError` if an entry is damaged or missing."""

    def experiment(self, namespace: str) -> dict[str, Any] | None:
        """Return what `put_experiment` stored last, None if it never did; `ArtifactError` if it is damaged."""

    def put_experiment(self, namespace: str, document: Mapping[str, Any]) -> None:
        """Store what splits the users of a namespace, in place of what did before."""


class LocalModelRegistry:
    """Pointers in files: ``root/namespace/{current.json, 00000001.json, ...}``, moved under a lock by one rename."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def current(self, namespace: str) -> Pointer | None:
        """See `ModelRegistry.current`."""
        return _read(self._folder(namespace) / "current.json")

    def namespaces(self) -> list[str]:
        """See `ModelRegistry.namespaces`."""
        with storing(f"reading {self.root}"):
            folders = sorted(self.root.iterdir()) if self.root.exists() else []
            return [folder.name for folder in folders if (folder / "current.json").exists()]

    def promote(self, manifest: ArtifactManifest, *, expected: int) -> Pointer:
        """See `ModelRegistry.promote`."""
        with self._locked(manifest.namespace, expected):
            return self._move(manifest.namespace, manifest.version, manifest.sha256, expected, expected)

    def rollback(self, namespace: str, *, expected: int) -> Pointer:
        """See `ModelRegistry.rollback`."""
        with self._locked(namespace, expected) as now:
            if now is None or now.previous == 0:
                raise NoModelError(f"namespace {namespace!r} has no earlier model to go back to")
            target = self._entry(namespace, now.previous)
            return self._move(namespace, target.version, target.manifest_sha256, expected, target.previous)

    def history(self, namespace: str) -> list[Pointer]:
        """See `ModelRegistry.history`."""
        now = self.current(namespace)
        return [self._entry(namespace, n) for n in range(1, now.sequence + 1 if now else 1)]

    def experiment(self, namespace: str) -> dict[str, Any] | None:
        """See `ModelRegistry.experiment`."""
        path = self._folder(namespace) / _EXPERIMENT
        with storing(f"reading {path}"):
            try:
                return read_experiment(path.read_bytes(), path)
            except FileNotFoundError:
                return None

    def put_experiment(self, namespace: str, document: Mapping[str, Any]) -> None:
        """See `ModelRegistry.put_experiment`."""
        folder = self._folder(namespace)
        with storing(f"storing the experiment of {namespace!r} under {self.root}"):
            make_folder(folder)
            with (folder / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                _replace(folder, _EXPERIMENT, json.dumps(dict(document)).encode())

    def _entry(self, namespace: str, sequence: int) -> Pointer:
        entry = _read(self._folder(namespace) / f"{sequence:08d}.json")
        if entry is None or entry.sequence != sequence:
            raise ArtifactError(
                f"entry {sequence} of the history of {namespace!r} under {self.root} is missing. "
                "Restore it from a backup, or remove the folder of the namespace and publish again"
            )
        return entry

    def _folder(self, namespace: str) -> Path:
        return self.root / check_name("namespace", namespace)

    @contextmanager
    def _locked(self, namespace: str, expected: int) -> Iterator[Pointer | None]:
        folder = self._folder(namespace)
        with storing(f"moving the pointer of {namespace!r} under {self.root}"):
            make_folder(folder)
            with (folder / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                now = self.current(namespace)
                found = now.sequence if now else 0
                if found != expected:
                    raise ConflictError(
                        f"the pointer of {namespace!r} moved meanwhile: expected entry {expected}, found {found}. "
                        "Look at what is in service now and run it again"
                    )
                yield now

    def _move(self, namespace: str, version: str, manifest_sha256: str, sequence: int, previous: int) -> Pointer:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        pointer = Pointer(sequence + 1, version, manifest_sha256, previous, now)
        folder = self._folder(namespace)
        names = (f"{pointer.sequence:08d}.json", "current.json")
        try:
            for name in names:
                with (folder / f".{name}").open("wb") as file:
                    file.write(pointer.to_bytes())
                    file.flush()
                    os.fsync(file.fileno())
            # The history entry first: a crash between the two leaves one that the next move overwrites.
            for name in names:
                (folder / f".{name}").replace(folder / name)
                sync_folder(folder)
        finally:
            for name in names:
                (folder / f".{name}").unlink(missing_ok=True)
        return pointer


def read_experiment(data: bytes, place: object) -> dict[str, Any]:
    """Parse a stored experiment; `ArtifactError` naming the place if it is no object."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the experiment in {place} is damaged: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise ArtifactError(f"the experiment in {place} is damaged: it is no object")
    return document


def _replace(folder: Path, name: str, content: bytes) -> None:
    """Put a file in the place of another by one rename."""
    draft = folder / f".{name}"
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / name)
        sync_folder(folder)
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> Pointer | None:
    with storing(f"reading {path}"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
    return Pointer.from_bytes(data, path)
