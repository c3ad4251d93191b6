"""Lists for every user of the model in service, as files and, where asked, in the online store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batch_jobs.console import Screen, Step
from batch_jobs.score_files import ListFolder, id_column, table_of
from batch_jobs.score_lists import ListMaker
from batch_jobs.stores import Stores
from recsys.artifacts import Artifact, unpack
from recsys.encoding import TIME_FIELDS
from recsys.errors import ConfigError, NoModelError
from recsys.serving.loader import ServedModel
from recsys.serving.online.erasures import left_out

FORMAT = 1
PART_ROWS = 1_000_000
"""Rows of a file at most; that many are held in memory, encoded."""
BLOCK_ROWS, BLOCK_USERS = 100_000, 8_192
"""Rows of a row group and users searched for at a time, at most."""


@dataclass(frozen=True)
class Shard:
    """One of `count` jobs that share the parts between them."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``I/N``, I from 0; `ConfigError` for anything else."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if match is None or int(match[1]) >= int(match[2]):
            raise ConfigError(f"--shard takes I/N with I from 0 to N - 1, as in 0/4, not {text!r}")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Order:
    """What is asked for: lists of length `k` in one context, where to, and which part of the work on how many cores."""

    k: int
    context: Mapping[str, str]
    output: Path
    to_store: bool
    shard: Shard
    threads: int


def score(stores: Stores, namespace: str, order: Order, screen: Screen) -> dict[str, Any]:
    """Write the list of every user of the version in service, part by part; parts that are there stay.

    A list is what the service answers somebody who has done nothing since the training: newer events are not read.
    """
    model, artifact = _in_service(stores, namespace)
    maker = ListMaker(model, artifact, order.k, order.context, threads=order.threads)
    erasures = stores.online.erasures(namespace)
    is_erased = left_out(namespace, erasures, artifact.manifest.erasures) if erasures else None
    _tell_time_fields(model, order, screen)
    folder = ListFolder(order.output, _settings(artifact, order))
    work = _Work(artifact, maker, folder, order, is_erased)
    with folder.held(), screen.bar("scoring users") as step:
        facts = work.do(stores, step)
        complete = folder.finish(work.n_parts)
    now = stores.registry.current(namespace)
    if now is None or now.version != artifact.manifest.version:
        screen.note(f"version {artifact.manifest.version} is no longer in service. Run it again for the one that is")
    return {
        "namespace": namespace,
        "version": artifact.manifest.version,
        "kind": artifact.manifest.kind,
        "k": order.k,
        **facts,
        "folder": str(folder.path),
        "complete": complete,
    }


def _in_service(stores: Stores, namespace: str) -> tuple[ServedModel, Artifact]:
    """Return the model as the service has it, and the whole of the same version."""
    try:
        model = stores.service().models.current(namespace)
    except NoModelError as error:
        raise NoModelError(f"{error}. Run: recsys nightly") from error
    pointer = model.pointer
    return model, unpack(stores.artifacts.open(namespace, pointer.version, manifest_sha256=pointer.manifest_sha256))


def _tell_time_fields(model: ServedModel, order: Order, screen: Screen) -> None:
    names = model.factors.queries.context_encoder.names
    open_fields = [name for name in TIME_FIELDS if name in names and name not in order.context]
    if open_fields:
        screen.note(
            f"{', '.join(open_fields)}: not given, so that lists are for no time in particular, where the API takes "
            f"that of the request. Name one with --context {open_fields[0]}=..."
        )


def _settings(artifact: Artifact, order: Order) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "namespace": artifact.manifest.namespace,
        "version": artifact.manifest.version,
        "kind": artifact.manifest.kind,
        "k": order.k,
        "context": dict(order.context),
        "users": len(artifact.users),
        "part_rows": PART_ROWS,
        **({"erasures": artifact.manifest.erasures} if artifact.manifest.erasures else {}),
    }


class _Work:
    """The parts of a shard, and how one is made.

    Parameters
    ----------
    artifact : Artifact
    maker : ListMaker
    folder : ListFolder
    order : Order
    is_erased : callable, optional
        Whether a user gets no list, for they were erased since the training; None if nobody was.
    """

    def __init__(
        self,
        artifact: Artifact,
        maker: ListMaker,
        folder: ListFolder,
        order: Order,
        is_erased: Callable[[str], bool] | None,
    ) -> None:
        self._artifact, self._maker, self._folder, self._order = artifact, maker, folder, order
        self._is_erased = is_erased
        self._users, self._items = id_column(artifact.users), id_column(artifact.items)
        n_users, size = len(artifact.users), max(1, PART_ROWS // order.k)
        parts = [slice(first, min(first + size, n_users)) for first in range(0, n_users, size)]
        self.n_parts = len(parts)
        self._own = dict(list(enumerate(parts))[order.shard.index :: order.shard.count])

    def do(self, stores: Stores, step: Step) -> dict[str, int]:
        """Make what is not there yet, and put all lists into the online store where that is asked; return counts."""
        total = sum(users.stop - users.start for users in self._own.values())
        manifest, found, rows, strangers, done = self._artifact.manifest, 0, 0, 0, 0
        for number, users in self._own.items():
            part = self._folder.find(number)
            if part is not None:
                found += 1
            else:
                part = self._folder.add(number, self._tables(users, partial(_from, done, total, step)))
            if self._order.to_store:
                # Once more for parts that are there: the store may have been lost, or written half-way.
                lists = self._folder.read(part, self._items)
                stores.online.put_lists(manifest.namespace, manifest.version, lists, erasures=manifest.erasures)
            rows += part.rows
            strangers += int((~self._maker.known(users)).sum())
            done += users.stop - users.start
            step(done, total)
        counts = {"users": done, "users_without_vector": strangers, "rows": rows}
        return {**counts, "parts": len(self._own), "parts_found": found}

    def _tables(self, users: slice, made: Callable[[int], None]) -> Iterator[pa.Table]:
        block = max(1, min(BLOCK_ROWS // self._order.k, BLOCK_USERS))
        for first in range(users.start, users.stop, block):
            some = slice(first, min(first + block, users.stop))
            yield self._kept(table_of(self._maker.make(some), self._users[some], self._items))
            made(some.stop - users.start)

    def _kept(self, table: pa.Table) -> pa.Table:
        if self._is_erased is None:
            return table
        erased = [user for user in pc.unique(table["user_id"]).to_pylist() if self._is_erased(user)]
        return table.filter(pc.invert(pc.is_in(table["user_id"], pa.array(erased)))) if erased else table


def _from(done: int, total: int, step: Step, more: int) -> None:
    step(done + more, total)
