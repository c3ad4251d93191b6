"""Where the files of the event log and of the runs lie: each is created whole and once, and never changed."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from recsys.artifacts.manifest import check_name
from recsys.artifacts.store import make_folder, sync_folder
from recsys.errors import NotFoundError, storing
from recsys.stores import located, setting

Write = Callable[[BinaryIO], object]


class LogFiles(Protocol):
    """Immutable files by namespace, named ``dt=DAY/NAME``. Raises `StorageError`; as text, where they lie."""

    def table(self, name: str) -> LogFiles:
        """Return the files of another table, in a folder of their own beside the namespaces."""

    def locked(self, namespace: str) -> AbstractContextManager[None]:
        """Keep others from adding to a namespace as far as the place can: waits until they are done. Not to be nested.

        Where it cannot, two that add the same create the same names, and one of them nothing.
        """

    def namespaces(self) -> list[str]:
        """Return the namespaces that have files."""

    def names(self, namespace: str) -> list[str]:
        """Return the names of all files, ascending."""

    def open(self, namespace: str, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading; `NotFoundError` if it is gone."""

    def create(self, namespace: str, name: str, write: Write) -> None:
        """Create what `write` writes, whole or not at all; one that has the name already stays as it is."""

    def replace(self, namespace: str, name: str, write: Write) -> None:
        """Put what `write` writes in the place of a file: readers find the one or the other, whole."""

    def remove(self, namespace: str, names: list[str]) -> None:
        """Remove files; those that are gone already are no fault."""


class LocalLogFiles:
    """Files ``root/ns=NAMESPACE/dt=DAY/NAME``: what is there is on disk. See `LogFiles`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def table(self, name: str) -> LocalLogFiles:
        """See `LogFiles.table`."""
        return LocalLogFiles(self.root / name)

    @contextmanager
    def locked(self, namespace: str) -> Iterator[None]:
        """See `LogFiles.locked`."""
        folder = self._folder(namespace)
        with storing(f"adding to {folder}"):
            make_folder(folder)
            lock = (folder / "lock").open("a")
        with lock:
            with storing(f"adding to {folder}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
                for abandoned in folder.glob("dt=*/.draft-*"):  # by a process that was killed: this one has none yet
                    abandoned.unlink(missing_ok=True)
            yield

    def namespaces(self) -> list[str]:
        """See `LogFiles.namespaces`."""
        return sorted({path.parts[-3].removeprefix("ns=") for path in self.root.glob("ns=*/dt=*/[!.]*")})

    def names(self, namespace: str) -> list[str]:
        """See `LogFiles.names`."""
        folder = self._folder(namespace)
        return sorted(path.relative_to(folder).as_posix() for path in folder.glob("dt=*/[!.]*"))

    def open(self, namespace: str, name: str) -> BinaryIO:
        """See `LogFiles.open`."""
        path = self._folder(namespace) / name
        with storing(f"reading {path}"):
            try:
                return path.open("rb")
            except FileNotFoundError:
                raise NotFoundError(f"{path} is gone") from None

    def create(self, namespace: str, name: str, write: Write) -> None:
        """See `LogFiles.create`; to be called under the lock."""
        final = self._folder(namespace) / name
        with storing(f"adding to {final.parent}"):
            make_folder(final.parent)
        if not final.exists():
            self.replace(namespace, name, write)

    def replace(self, namespace: str, name: str, write: Write) -> None:
        """See `LogFiles.replace`; to be called under the lock."""
        final = self._folder(namespace) / name
        draft = final.with_name(f".draft-{uuid.uuid4().hex}")
        with storing(f"adding to {final.parent}"):
            try:
                with draft.open("xb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                draft.rename(final)
                sync_folder(final.parent)
            finally:
                draft.unlink(missing_ok=True)

    def remove(self, namespace: str, names: list[str]) -> None:
        """See `LogFiles.remove`."""
        with storing(f"removing files under {self.root}"):
            for name in names:
                (self._folder(namespace) / name).unlink(missing_ok=True)

    def _folder(self, namespace: str) -> Path:
        return self.root / f"ns={check_name('namespace', namespace)}"


def log_files(name: str = "RECSYS_EVENTS") -> LogFiles:
    """Open what RECSYS_EVENTS names, or RECSYS_RUNS."""
    scheme, place = located(name, setting(name))
    if scheme == "s3":
        from recsys.aws.client import connect
        from recsys.aws.log_files import S3LogFiles

        return S3LogFiles(place, connect("s3"))
    return LocalLogFiles(Path(place))


def today(name: str) -> str:
    """Return the name of a file that arrives now."""
    return f"dt={datetime.now(UTC):%Y-%m-%d}/{name}"
