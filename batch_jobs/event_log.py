"""The event log: every event ever taken in, in immutable Parquet files by namespace and day of arrival.

By arrival and not by event time: late events then never touch an old file, and a year of history taken in at once is
one file and not 365. The time of an event is the column ``ts``.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.artifacts.manifest import check_name
from recsys.artifacts.store import sync_folder
from recsys.data.events_table import EVENT_SCHEMA
from recsys.data.sources.lines import readable
from recsys.errors import DataError, InsufficientDataError, storing

_ONLINE = re.compile(r"online-(\d{20})-(\d{20})\.parquet")


class EventLog:
    """Events under ``root/ns=NAMESPACE/dt=DAY/NAME.parquet``.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self.root = root

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
        if any(self._folder(namespace).glob(f"dt=*/{name}")):
            return None
        return self._append(namespace, name, tables)

    def append_online(self, namespace: str, first: int, last: int, table: pa.Table) -> int:
        """Add the events the online store holds at positions `first` to `last`; the same range twice is one file."""
        return self._append(namespace, f"online-{first:020d}-{last:020d}.parquet", [table])

    def online_position(self, namespace: str) -> int:
        """Return the position of the last online event in the log, 0 if there is none."""
        names = (_ONLINE.fullmatch(path.name) for path in self._files(namespace))
        return max((int(name[2]) for name in names if name), default=0)

    def read(self, namespace: str) -> pa.Table:
        """Return all events of a namespace, file by file in order of arrival.

        Raises `InsufficientDataError` if there are none and `DataError` if a file is damaged.
        """
        files = self._files(namespace)
        if not files:
            raise InsufficientDataError(
                f"the event log of namespace {namespace!r} under {self.root} is empty",
                remedy="Take in events first: recsys ingest FILE",
            )
        return pa.concat_tables([_read(path) for path in files])

    def _folder(self, namespace: str) -> Path:
        return self.root / f"ns={check_name('namespace', namespace)}"

    def _files(self, namespace: str) -> list[Path]:
        return sorted(self._folder(namespace).glob("dt=*/*.parquet"))

    def _append(self, namespace: str, name: str, tables: Iterable[pa.Table]) -> int:
        folder = self._folder(namespace) / f"dt={datetime.now(UTC):%Y-%m-%d}"
        draft = folder / f".{uuid.uuid4().hex}"
        rows = 0
        with storing(f"adding events to {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
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


def _read(path: Path) -> pa.Table:
    with storing(f"reading {path}"):
        try:
            return pq.read_table(path, schema=EVENT_SCHEMA, partitioning=None, page_checksum_verification=True)
        except (pa.ArrowException, ValueError) as error:
            reason = f"the log file is damaged: {str(error).splitlines()[0]}"
            raise DataError(reason, path=path, remedy="Restore it from a backup") from error
