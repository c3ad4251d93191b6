"""The event log: every event ever taken in, in immutable files by namespace and day of arrival.

By arrival and not by event time: late events then never touch an old file, and a year of history taken in at once is
one file and not 365. The time of an event is the column ``ts``. Files are Parquet; only what comes from the queue
arrives as lines of JSON (`batch_jobs.consumer`), until it is compacted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_jobs.log_erasures import without_erased
from batch_jobs.log_files import LogFiles, today
from batch_jobs.log_tables import IMPRESSION_SCHEMA, LOG_SCHEMA, read_events, through, without_repeats
from recsys.data.sources.lines import readable
from recsys.errors import DataError, InsufficientDataError, NotFoundError, StorageError, storing
from recsys.serving.online import POSITIONS_A_SECOND
from recsys.serving.online.erasures import Erasure

_ONLINE = re.compile(r"online-(\d{20})-(\d{20})\.parquet")
_READERS = 8  # files on their way at once; each is whole in memory while it is unpacked
_LISTINGS = 5


@dataclass(frozen=True, eq=False)
class LogContents:
    """All settled events of a namespace at one moment.

    Parameters
    ----------
    events : pyarrow.Table
        Of `EVENT_SCHEMA`, file by file by day of arrival; of events with the same id only the first.
    events_through : int
        The online store serves events beyond this position as recent ones: none of them is in `events`.
    repeated : int
        Events left out because an earlier one has the same id.
    unsettled : int
        Events left out because they are beyond that position.
    files : str
        Digest of the names of the files read: other files, another digest.
    """

    events: pa.Table
    events_through: int
    repeated: int
    unsettled: int
    files: str


class EventLog:
    """All events of every namespace.

    Parameters
    ----------
    files : LogFiles
    schema : pyarrow.Schema
        Of the events: those of users, or what was shown to them.
    """

    def __init__(self, files: LogFiles, schema: pa.Schema = LOG_SCHEMA) -> None:
        self.files = files
        self._schema = schema

    @property
    def impressions(self) -> EventLog:
        """The log of the impressions, beside that of the events and kept in the same way."""
        return EventLog(self.files.table("impressions"), IMPRESSION_SCHEMA)

    def locked(self, namespace: str) -> AbstractContextManager[None]:
        """See `LogFiles.locked`."""
        return self.files.locked(namespace)

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
            if any(_base(known) == name for known in self._names(namespace)):
                return None
            return self._append(namespace, today(name), tables)

    def append_online(self, namespace: str, first: int, last: int, table: pa.Table) -> int:
        """Add the events the online store holds at positions `first` to `last`.

        To be called under the lock (`locked`) that `online_position` was read under.
        """
        return self._append(namespace, today(f"online-{first:020d}-{last:020d}.parquet"), [table])

    def online_position(self, namespace: str) -> int:
        """Return the position of the last online event in the log, 0 if there is none."""
        return _position(self._names(namespace))

    def compact(self, namespace: str) -> int:
        """Pack what came from the queue into one file a day; return how many files it replaces.

        Killed in between, events are in several files, and are counted once; the next run ends it.
        """
        with self.locked(namespace):
            tables = self._read(namespace, _to_pack)
            for _, names in groupby(tables, _day):
                self._pack(namespace, {name: tables[name] for name in names})
            return len(tables)

    def erase(self, namespace: str, erasures: Sequence[Erasure]) -> int:
        """Write the files anew that hold what is older than an erasure; return how many.

        They keep their names, so that no source file is taken in again. Lines from the queue are left for `compact`.
        """
        rewritten = 0
        with self.locked(namespace):
            for name in self._names(namespace) if erasures else ():
                with suppress(NotFoundError):  # compacted since
                    before = self._table(namespace, name)
                    after = self._left(namespace, name, before, erasures)
                    if after is not before and name.endswith(".parquet"):
                        self.files.replace(namespace, name, partial(_write, [after]))
                        rewritten += 1
        return rewritten

    def read(self, namespace: str, *, settle_s: float = 0.0, erasures: Sequence[Erasure] = ()) -> LogContents:
        """Return all settled events of a namespace but those older than an erasure of their user, and how far they go.

        The queue delivers in any order: events newer than the newest minus `settle_s` are left out, for others as new
        as they are may not have come yet. The online store serves them as recent ones. Events without a position (from
        files, or drained from an online store, which has them in order) need not settle.

        Raises `InsufficientDataError` if there are none and `DataError` if a file is damaged.
        """
        tables = self._read(namespace, lambda names: names)
        if not tables:
            raise InsufficientDataError(
                f"the event log of namespace {namespace!r} under {self.files} is empty",
                remedy="Take in events first: recsys ingest FILE",
            )
        events = pa.concat_tables(self._left(namespace, *named, erasures) for named in tables.items())
        newest = pc.max(events["position"]).as_py()
        position = _position(tables) if newest is None else newest - round(settle_s * POSITIONS_A_SECOND)
        settled = through(events, position)
        once = without_repeats(settled)
        return LogContents(
            once.drop_columns("position"),
            position,
            len(settled) - len(once),
            len(events) - len(settled),
            _digest(tables),
        )

    def _names(self, namespace: str) -> list[str]:
        """Names of all files; of those that have one content the first: two processes added it on two days."""
        names = {_base(name): name for name in reversed(self.files.names(namespace))}
        return sorted(name for name in names.values() if name.endswith((".parquet", ".jsonl")))

    def _read(self, namespace: str, choose: Callable[[list[str]], list[str]]) -> dict[str, pa.Table]:
        """Events by file of those chosen; all of one listing, so that no event is missed."""
        for _ in range(_LISTINGS):
            names = choose(self._names(namespace))
            try:
                with ThreadPoolExecutor(_READERS) as pool:
                    return dict(zip(names, pool.map(lambda name: self._table(namespace, name), names), strict=True))
            except NotFoundError:  # compacted since: its events are in a file that the next listing has
                continue
        raise StorageError(f"the files of namespace {namespace!r} under {self.files} vanish while they are read")

    def _table(self, namespace: str, name: str) -> pa.Table:
        with self.files.open(namespace, name) as file, storing(f"reading {name} under {self.files}"):
            try:
                return read_events(name, file, self._schema)
            except (pa.ArrowException, ValueError, OSError) as error:
                if getattr(error, "errno", None):  # of the disk; Arrow's own, such as a wrong sum, have none
                    raise
                reason = f"the log file is damaged: {str(error).splitlines()[0]}"
                place = f"{self.files}/ns={namespace}/{name}"
                raise DataError(reason, path=place, remedy="Restore it from a backup") from error

    def _left(self, namespace: str, name: str, table: pa.Table, erasures: Sequence[Erasure]) -> pa.Table:
        # An erasure names the place of the last event; impressions have an order of their own.
        copied = _ONLINE.fullmatch(_base(name)) if self._schema is LOG_SCHEMA else None
        return without_erased(table, namespace, name, int(copied[2]) if copied else None, erasures)

    def _append(self, namespace: str, name: str, tables: Iterable[pa.Table]) -> int:
        some = (table for table in tables if len(table))
        first = next(some, None)
        if first is None:
            return 0
        rows = 0

        def counted() -> Iterator[pa.Table]:
            nonlocal rows
            for table in chain([first], some):
                yield table
                rows += len(table)

        self.files.create(namespace, name, partial(_write, counted()))
        return rows

    def _pack(self, namespace: str, tables: dict[str, pa.Table]) -> None:
        """Replace files of one day by one; its name tells what it is made of, so a second try makes no second one."""
        day = _day(next(iter(tables)))
        packed = without_repeats(pa.concat_tables(tables.values())).sort_by("position")
        self._append(namespace, f"{day}/queue-{_digest(tables)[:32]}.parquet", [packed])
        self.files.remove(namespace, list(tables))


def _write(tables: Iterable[pa.Table], file: BinaryIO) -> None:
    """Write a Parquet file of at least one table."""
    rest = iter(tables)
    first = next(rest)
    with pq.ParquetWriter(file, first.schema, compression="zstd", write_page_checksum=True) as writer:
        for table in chain([first], rest):
            writer.write_table(table)


def _day(name: str) -> str:
    return name.partition("/")[0]


def _base(name: str) -> str:
    return name.partition("/")[2]


def _to_pack(names: list[str]) -> list[str]:
    """Files from the queue, of days that have more than one of them, or one that is not packed."""
    queued = (name for name in names if _base(name).startswith("queue-"))
    days = [list(of_day) for _, of_day in groupby(queued, _day)]
    return [name for of_day in days if len(of_day) > 1 or of_day[0].endswith(".jsonl") for name in of_day]


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _position(names: Iterable[str]) -> int:
    found = (_ONLINE.fullmatch(_base(name)) for name in names)
    return max((int(one[2]) for one in found if one), default=0)
