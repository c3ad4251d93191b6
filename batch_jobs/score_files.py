"""A folder of lists: Parquet parts that appear whole or not at all, and a manifest once all of them are there.

Names that begin with a dot or an underscore are no data to those who read such folders: pyarrow, Spark, DuckDB's globs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_jobs.score_lists import Lists
from recsys.artifacts.store import make_folder, sync_folder
from recsys.errors import ConflictError, storing
from recsys.ids import IdMap
from recsys.serving import StoredList

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("rank", pa.int16(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("strategy", pa.string(), nullable=False),
    ]
)
SETTINGS, MANIFEST = "_settings.json", "_manifest.json"
_PART = re.compile(r"part-(\d{5,})-([0-9a-f]{16})\.parquet")
_METADATA = b"recsys.lists"


@dataclass(frozen=True)
class Part:
    """A finished part."""

    name: str
    rows: int
    bytes: int
    sha256: str


class ListFolder:
    """The lists of one version and settings, ``root/NAMESPACE/VERSION/part-NUMBER-HASH.parquet``.

    Parameters
    ----------
    root : Path
    settings : mapping
        Plain JSON that, with the version, decides every byte of every part: with at least namespace and version.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any]) -> None:
        self.path = root / settings["namespace"] / settings["version"]
        self._settings = settings
        self._finished: dict[int, Part] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Work in the folder, beside other shards of the same lists; drafts of killed runs go when nobody else is in.

        Raises `ConflictError` if it holds lists of other settings.
        """
        with self._storing():
            make_folder(self.path)
            handle = os.open(self.path, os.O_RDONLY)
        try:
            with self._storing():
                with suppress(BlockingIOError):
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    for abandoned in self.path.glob(".draft-*"):
                        abandoned.unlink()
                fcntl.flock(handle, fcntl.LOCK_SH)
            self._claim()
            yield
        finally:
            os.close(handle)

    def find(self, number: int) -> Part | None:
        """Return a part that is there, whole and of these settings; one that is damaged is removed."""
        with self._storing():
            for path in self.path.glob(f"part-{number:05d}-*.parquet") if number not in self._finished else ():
                part = self._checked(path)
                if part is None:
                    path.unlink(missing_ok=True)
                else:
                    self._finished[number] = part
        return self._finished.get(number)

    def add(self, number: int, tables: Iterable[pa.Table]) -> Part:
        """Write a part; it appears by one rename, under a name with the beginning of its SHA-256."""
        data, rows = _encoded(tables, self._settings_bytes)
        digest = hashlib.sha256(data).hexdigest()
        part = Part(f"part-{number:05d}-{digest[:16]}.parquet", rows, len(data), digest)
        self._write(part.name, data, os.replace)
        self._finished[number] = part
        return part

    def finish(self, n_parts: int) -> bool:
        """Write the manifest if every part is there, whoever made it; of several shards the last one does."""
        with self._storing():
            there = {int(match[1]) for path in self.path.iterdir() if (match := _PART.fullmatch(path.name))}
        if not there >= set(range(n_parts)):
            return False
        parts = [part for part in map(self.find, range(n_parts)) if part is not None]
        if len(parts) == n_parts:
            rows = sum(part.rows for part in parts)
            manifest = {**self._settings, "rows": rows, "parts": [asdict(part) for part in parts]}
            self._write(MANIFEST, _json(manifest), os.replace)
        return len(parts) == n_parts

    def read(self, part: Part, items: pa.Array) -> Iterator[tuple[str, StoredList]]:
        """Yield the lists of a finished part, user by user; `items` are the ids of the version's item rows."""
        with self._storing(), pq.ParquetFile(self.path / part.name) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                rows = pc.index_in(table["item_id"].cast(items.type), value_set=items).to_numpy()
                scores, users = table["score"].to_numpy(), table["user_id"]
                firsts = np.flatnonzero(table["rank"].to_numpy() == 1)
                for first, end in pairwise([*firsts.tolist(), len(table)]):
                    strategy = table["strategy"][first].as_py()
                    yield users[first].as_py(), StoredList(rows[first:end], scores[first:end], strategy)

    def leave_out(self, is_out: Callable[[str], bool]) -> int:
        """Write the parts anew that hold certain users, and the manifest, if there is one; return how many parts."""
        rewritten = 0
        with self._storing():
            paths = sorted(path for path in self.path.iterdir() if _PART.fullmatch(path.name))
        for path in paths:
            with self._storing():
                table = pq.read_table(path, schema=SCHEMA, partitioning=None)
            out = [user for user in pc.unique(table["user_id"]).to_pylist() if is_out(user)]
            if out:
                left = table.filter(pc.invert(pc.is_in(table["user_id"], pa.array(out))))
                self.add(int(path.name.split("-")[1]), [left])
                with self._storing():
                    path.unlink(missing_ok=True)
                rewritten += 1
        if (self.path / MANIFEST).exists():
            self.finish(len({path.name.split("-")[1] for path in paths}))
        return rewritten

    @property
    def _settings_bytes(self) -> bytes:
        return _json(self._settings)

    def _storing(self) -> Any:
        return storing(f"writing lists to {self.path}")

    def _claim(self) -> None:
        """Leave the settings behind, or compare them with those that are there; parts never come before them."""
        with self._storing():
            empty = not any(self.path.glob("part-*"))
        if empty:
            self._write(SETTINGS, self._settings_bytes, _link_new)
        with self._storing():
            path = self.path / SETTINGS
            found = path.read_bytes() if path.exists() else b""
        if found != self._settings_bytes:
            raise ConflictError(
                f"{self.path} holds other lists: {_difference(found, self._settings)}. "
                "Choose another --output, or remove that folder"
            )

    def _checked(self, path: Path) -> Part | None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        match = _PART.fullmatch(path.name)
        if match is None or match[2] != digest[:16]:
            return None
        footer = pq.read_metadata(path)
        if (footer.metadata or {}).get(_METADATA) != self._settings_bytes:
            return None
        return Part(path.name, footer.num_rows, path.stat().st_size, digest)

    def _write(self, name: str, data: bytes, place: Callable[[Path, Path], None]) -> None:
        """Put a file in its place whole, so that it survives a power cut."""
        draft = self.path / f".draft-{uuid.uuid4().hex}"
        try:
            with self._storing():
                with draft.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                place(draft, self.path / name)
                sync_folder(self.path)
        finally:
            draft.unlink(missing_ok=True)


def id_column(ids: IdMap) -> pa.Array:
    """Return external ids by row as a column over the same memory."""
    return pa.LargeStringArray.from_buffers(len(ids), pa.py_buffer(ids.offsets), pa.py_buffer(ids.text))


def table_of(lists: Lists, users: pa.Array, items: pa.Array) -> pa.Table:
    """Write lists of users, whose ids are given, as rows of `SCHEMA`."""
    there = lists.rows >= 0
    user, rank = np.nonzero(there)
    columns = [
        users.take(pa.array(user)),
        pa.array((rank + 1).astype(np.int16)),
        items.take(pa.array(lists.rows[there])),
        pa.array(lists.scores[there]),
        pa.array(lists.strategies).take(pa.array(user)),
    ]
    return pa.table([column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


def _link_new(draft: Path, final: Path) -> None:
    """Give a file its name unless another one has it."""
    with suppress(FileExistsError):
        os.link(draft, final)


def _encoded(tables: Iterable[pa.Table], settings: bytes) -> tuple[bytes, int]:
    """Write a Parquet file in memory, a table to a row group; return it and the number of its rows."""
    sink, rows = pa.BufferOutputStream(), 0
    schema = SCHEMA.with_metadata({_METADATA: settings})
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table)
            rows += len(table)
    return sink.getvalue().to_pybytes(), rows


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def _difference(found: bytes, settings: Mapping[str, Any]) -> str:
    try:
        there: dict[str, Any] = json.loads(found)
        other = [name for name, value in settings.items() if there.get(name) != value]
    except (ValueError, AttributeError, RecursionError):
        return f"its {SETTINGS} cannot be read"
    return (
        "; ".join(f"{name} is {there.get(name)} there, not {settings[name]}" for name in other) or "more is set there"
    )
