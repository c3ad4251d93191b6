"""The event log: every event ever taken in, in immutable Parquet files by namespace and day of arrival.

By arrival and not by event time: late events then never touch an old file, and a year of history taken in at once is
one file and not 365. The time of an event is the column ``ts``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.artifacts.manifest import check_name
from recsys.artifacts.store import make_folder, sync_folder
from recsys.data.events_table import EVENT_SCHEMA
from recsys.data.sources.lines import readable
from recsys.errors import DataError, InsufficientDataError, storing

_ONLINE = re.compile(r"online-(\d{20})-(\d{20})\.parquet")


@dataclass(frozen=True, eq=False)
class LogContents:
    """All events of a namespace at one moment.

    Parameters
    ----------
    events : pyarrow.Table
        Of `EVENT_SCHEMA`, file by file in order of arrival; of events with the same id only the first.
    online_position : int
        Position of the last online event among them, 0 if there is none.
    repeated : int
        Events left out because an earlier one has the same id.
    """

    events: pa.Table
    online_position: int
    repeated: int


class EventLog:
    """Events under ``root/ns=NAMESPACE/dt=DAY/NAME.parquet``, added by one process at a time.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def locked(self, namespace: str) -> Iterator[None]:
        """Keep other processes from adding to a namespace; waits until they are done. Not to be nested."""
        folder = self._folder(namespace)
        with storing(f"adding events to {folder}"):
            make_folder(folder)
            lock = (folder / "lock").open("a")
        with lock:
            with storing(f"adding events to {folder}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
                for abandoned in folder.glob("dt=*/.draft-*"):  # by a process that was killed: this one has none yet
                    abandoned.unlink(missing_ok=True)
            yield

    def append_file(self, namespace: str, source: Path, tables: Iterable[pa.Table]) -> int | None:
        """Add the events of a source file, whole or not at all.

        Returns
        -------
        int or None
            Events added; None if a file with the same content was taken in before.

        Raises
        ------
        DataError
            If the file cannot be read.
        """
        with readable(source), source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        name = f"file-{digest}.parquet"
        with self.locked(namespace):
            if any(self._folder(namespace).glob(f"dt=*/{name}")):
                return None
            return self._append(namespace, name, tables)

    def append_online(self, namespace: str, first: int, last: int, table: pa.Table) -> int:
        """Add the events the online store holds at positions `first` to `last`.

        To be called under the lock (`locked`) that `online_position` was read under.
        """
        return self._append(namespace, f"online-{first:020d}-{last:020d}.parquet", [table])

    def online_position(self, namespace: str) -> int:
        """Return the position of the last online event in the log, 0 if there is none."""
        return _position(self._files(namespace))

    def read(self, namespace: str) -> LogContents:
        """Return all events of a namespace, and how far they go.

        Raises `InsufficientDataError` if there are none and `DataError` if a file is damaged.
        """
        files = self._files(namespace)
        if not files:
            raise InsufficientDataError(
                f"the event log of namespace {namespace!r} under {self.root} is empty",
                remedy="Take in events first: recsys ingest FILE",
            )
        events = pa.concat_tables([_read(path) for path in files])
        once = _without_repeats(events)
        return LogContents(once, _position(files), len(events) - len(once))

    def _folder(self, namespace: str) -> Path:
        return self.root / f"ns={check_name('namespace', namespace)}"

    def _files(self, namespace: str) -> list[Path]:
        return sorted(self._folder(namespace).glob("dt=*/*.parquet"))

    def _append(self, namespace: str, name: str, tables: Iterable[pa.Table]) -> int:
        folder = self._folder(namespace) / f"dt={datetime.now(UTC):%Y-%m-%d}"
        draft = folder / f".draft-{uuid.uuid4().hex}"
        rows = 0
        with storing(f"adding events to {folder}"):
            make_folder(folder)
            try:
                with draft.open("xb") as file:
                    with pq.ParquetWriter(file, EVENT_SCHEMA, compression="zstd", write_page_checksum=True) as writer:
                        for table in tables:
                            writer.write_table(table)
                            rows += len(table)
                    file.flush()
                    os.fsync(file.fileno())
                if rows:
                    draft.rename(folder / name)
                    sync_folder(folder)
            finally:
                draft.unlink(missing_ok=True)
        return rows


def _position(files: list[Path]) -> int:
    names = (_ONLINE.fullmatch(path.name) for path in files)
    return max((int(name[2]) for name in names if name), default=0)


def _without_repeats(events: pa.Table) -> pa.Table:
    """Keep the first event of every id, and all without one."""
    ids = events["event_id"]
    if ids.null_count == len(ids):
        return events
    # Codes number the ids in order of first appearance (one dictionary over all chunks; large, for it may be over
    # 2 GiB), so an id is new exactly where its code is above all before.
    encoded = ids.cast(pa.large_string()).dictionary_encode()
    codes = np.concatenate([chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks])
    highest_before = np.append(-1, np.maximum.accumulate(codes)[:-1])
    keep = (codes < 0) | (codes > highest_before)
    return events if keep.all() else events.filter(pa.array(keep))


def _read(path: Path) -> pa.Table:
    with storing(f"reading {path}"):
        try:
            return pq.read_table(path, schema=EVENT_SCHEMA, partitioning=None, page_checksum_verification=True)
        except (pa.ArrowException, ValueError) as error:
            reason = f"the log file is damaged: {str(error).splitlines()[0]}"
            raise DataError(reason, path=path, remedy="Restore it from a backup") from error
