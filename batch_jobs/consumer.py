"""Events from the queue into the log: a message that is none of ours fails alone and ends in the dead-letter queue.

Written as lines of JSON and packed into Parquet by the nightly job: a function that only moves events need not load
Arrow, which with numpy fills 243 of the 250 MB a zipped function may have.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, cast

import msgspec

from batch_jobs.log_files import LogFiles, today
from recsys.artifacts.manifest import check_name
from recsys.errors import ConfigError, DataError, StorageError
from recsys.events import InteractionEvent, context_text
from recsys.impressions import ImpressionEvent
from recsys.serving.online import POSITIONS_A_SECOND, OnlineStore

_MOST_CHARACTERS = 1 << 20  # as many bytes as SQS takes
_AHEAD_S = 3600  # by which the clock of a server may be wrong

Row = dict[str, object]
Position = Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    position: Position
    event_id: str
    user: str
    item: str
    timestamp: float
    event: str
    value: float
    context: dict[str, Any] | None

    def row(self) -> Row:
        """Columns of the log; `DataError` names the field that cannot be used."""
        if self.position > (time.time() + _AHEAD_S) * POSITIONS_A_SECOND:  # no event before it would be recent again
            raise DataError("lies in the future", field="position")
        one = InteractionEvent(
            self.event_id, self.user, self.item, self.timestamp, self.event, self.value, self.context
        )
        return {
            "user_id": one.user,
            "item_id": one.item,
            "event": one.event,
            "value": one.value,
            "ts": round(one.timestamp_s * 1e6),
            "event_id": one.event_id,
            "context": None if one.context is None else context_text(one.context),
            "position": self.position,
        }


class _Shown(msgspec.Struct, forbid_unknown_fields=True):
    item_id: str
    propensity: float | None


class _Impression(msgspec.Struct, forbid_unknown_fields=True):
    event_id: str
    user_id: str
    ts: int
    request_id: str
    model_version: str
    variant: str | None
    strategy: str | None
    items: list[_Shown]

    def row(self) -> Row:
        """Columns of the log; `DataError` names the field that cannot be used."""
        return ImpressionEvent.of_row(msgspec.to_builtins(self)).row()


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    namespace: str
    events: list[_Event] = []
    impressions: list[_Impression] = []


def take_in(files: LogFiles, online: OnlineStore, records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Add the messages of a batch to the log; return the ids of those that failed, to be delivered again.

    What is not returned is in the log, but for events older than the erasure of their user. A message that comes again,
    alone or among others, is a file more and no event more: the log counts an event once.
    """
    failed: list[str] = []
    batches: dict[tuple[str, bool], list[tuple[str, list[Row]]]] = defaultdict(list)
    for record in records:
        try:
            namespace, rows, shown = parse(record["body"])
            batches[namespace, shown].append((record["messageId"], rows))
        except DataError as error:
            failed.append(record["messageId"])
            # A field of a context is named by the message: what follows the dot could be a forged line, or a person.
            field = error.field and error.field.partition(".")[0]
            _warn(record["messageId"], f"cannot be read, {field or error.reason}")
    for (namespace, shown), messages in batches.items():
        try:
            rows = _left(online, namespace, [row for _, rows in messages for row in rows])
            _add(files.table("impressions") if shown else files, namespace, rows)
        except StorageError as error:
            failed += [message for message, _ in messages]
            _warn(f"{len(messages)} messages", f"of {namespace} not added: {error}")
    return failed


def parse(body: str) -> tuple[str, list[Row], bool]:
    """Return namespace and rows of a message, and whether they are impressions.

    Raises `DataError` if `SqsEventQueue` never wrote it.
    """
    if len(body) > _MOST_CHARACTERS:
        raise DataError(f"has {len(body):,} characters; {_MOST_CHARACTERS:,} are the most")
    try:
        message = msgspec.json.decode(body, type=_Message)
        if bool(message.events) == bool(message.impressions):
            raise DataError("holds events or impressions, one of them")
        rows = [one.row() for one in message.events or message.impressions]
        return check_name("namespace", message.namespace), rows, bool(message.impressions)
    except ConfigError:
        raise DataError("is no name", field="namespace") from None
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise DataError(f"is no message of this release: {type(error).__name__}") from None


def _left(online: OnlineStore, namespace: str, rows: list[Row]) -> list[Row]:
    erased = online.erasures_of(namespace, {str(row["user_id"]) for row in rows})

    def is_older(row: Row) -> bool:
        erasure, position, ts = erased.get(str(row["user_id"])), row.get("position"), cast(int, row["ts"])
        return erasure is not None and erasure.covers(cast("int | None", position), ts / 1e6)

    return [row for row in rows if not is_older(row)] if erased else rows


def _add(files: LogFiles, namespace: str, rows: list[Row]) -> None:
    """Create a file whose name is its digest: the same messages delivered again, in any order, are the same file."""
    if not rows:
        return
    lines = sorted({json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows})
    content = "".join(f"{line}\n" for line in lines).encode()
    name = f"queue-{hashlib.sha256(content).hexdigest()[:32]}.jsonl"
    with files.locked(namespace):
        files.create(namespace, today(name), lambda file: file.write(content))


def _warn(what: str, reason: str) -> None:
    logging.getLogger(__name__).warning("%s %s", what, reason)
