"""Which version is in service: a pointer with a sequence number, moved by compare-and-set, never by a clock."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from recsys.artifacts.manifest import ArtifactManifest, check_name
from recsys.artifacts.store import sync_folder
from recsys.errors import ArtifactError, ConflictError, NoModelError, storing


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


class ModelRegistry(Protocol):
    """The pointer of each namespace."""

    def current(self, namespace: str) -> Pointer | None:
        """Return what is in service, None before the first promotion."""

    def promote(self, manifest: ArtifactManifest, *, expected: int) -> Pointer:
        """Move the pointer to a stored version if its sequence number is still `expected` (0: nothing in service).

        Raises `ConflictError` if somebody else moved it first.
        """

    def rollback(self, namespace: str, *, expected: int) -> Pointer:
        """Move the pointer back to what was in service before; a second rollback goes one further.

        Raises `NoModelError` if there is nothing to go back to and `ConflictError` as `promote` does.
        """

    def history(self, namespace: str) -> list[Pointer]:
        """Every move so far, oldest first."""


class LocalModelRegistry:
    """Pointers in files: ``root/namespace/{current.json, 00000001.json, ...}``, moved under a lock by one rename."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def current(self, namespace: str) -> Pointer | None:
        """See `ModelRegistry.current`."""
        return _read(self._folder(namespace) / "current.json")

    def promote(self, manifest: ArtifactManifest, *, expected: int) -> Pointer:
        """See `ModelRegistry.promote`."""
        with self._locked(manifest.namespace, expected):
            return self._move(manifest.namespace, manifest.version, manifest.sha256, expected, expected)

    def rollback(self, namespace: str, *, expected: int) -> Pointer:
        """See `ModelRegistry.rollback`."""
        with self._locked(namespace, expected) as now:
            if now is None or now.previous == 0:
                raise NoModelError(f"namespace {namespace!r} has no earlier model to go back to")
            target = _read(self._folder(namespace) / f"{now.previous:08d}.json")
            if target is None:
                raise ArtifactError(f"entry {now.previous} of the history of {namespace!r} is missing")
            return self._move(namespace, target.version, target.manifest_sha256, expected, target.previous)

    def history(self, namespace: str) -> list[Pointer]:
        """See `ModelRegistry.history`."""
        now = self.current(namespace)
        entries = (_read(self._folder(namespace) / f"{n:08d}.json") for n in range(1, now.sequence + 1 if now else 1))
        return [entry for entry in entries if entry is not None]

    def _folder(self, namespace: str) -> Path:
        return self.root / check_name("namespace", namespace)

    @contextmanager
    def _locked(self, namespace: str, expected: int) -> Iterator[Pointer | None]:
        folder = self._folder(namespace)
        with storing(f"moving the pointer of {namespace!r} under {self.root}"):
            folder.mkdir(parents=True, exist_ok=True)
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
        # The history entry first: a crash between the two leaves one that the next move overwrites.
        for name in (f"{pointer.sequence:08d}.json", "current.json"):
            draft = folder / f".{name}"
            with draft.open("w") as file:
                json.dump(asdict(pointer), file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(folder / name)
            sync_folder(folder)
        return pointer


def _read(path: Path) -> Pointer | None:
    with storing(f"reading {path}"):
        try:
            return Pointer(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{path} is damaged: {error}") from error
