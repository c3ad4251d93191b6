"""Which version is in service, in a DynamoDB table: the pointer and its history move in one transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from recsys.artifacts.manifest import ArtifactManifest, check_name
from recsys.artifacts.registry import Pointer, read_experiment
from recsys.aws.batches import Item, query
from recsys.aws.client import AwsError, Client, tries
from recsys.aws.packed_items import get_item
from recsys.errors import ArtifactError, ConflictError, NoModelError, StorageError

CURRENT = "current"
EXPERIMENT = "experiment"
_MEND = "Restore the table to a point in time, or remove the items of the namespace and publish again"
_PATIENCE_S = 2.0  # while transactions of others hold the same items
_LOOKING_S = 5.0  # after a lost answer: a breaker lets nothing through for the first 3 s


class DynamoModelRegistry:
    """Pointers as items: partition ``M#namespace``, sort keys ``current``, ``00000001``, ... and ``experiment``.

    Each carries a hash of itself, and the mark of the call that wrote it: a call whose answer is lost finds out by it
    whether it moved the pointer. Every read is strongly consistent.

    IAM actions on the table: dynamodb:GetItem and dynamodb:Query to read, dynamodb:PutItem besides to move the pointer.

    Parameters
    ----------
    table : str
        With hash key ``pk`` and range key ``sk``, both strings.
    client : Client
        Of DynamoDB.
    """

    def __init__(self, table: str, client: Client) -> None:
        self.table = table
        self._client = client

    def current(self, namespace: str) -> Pointer | None:
        """See `ModelRegistry.current`."""
        item = self._get(namespace, CURRENT)
        return self._pointer(item) if item else None

    def namespaces(self) -> list[str]:
        """See `ModelRegistry.namespaces`."""
        return [item["sk"]["S"] for item in self._query("pk = :pk", {":pk": "namespaces"})]

    def promote(self, manifest: ArtifactManifest, *, expected: int) -> Pointer:
        """See `ModelRegistry.promote`."""
        self._require(manifest.namespace, expected)
        return self._move(manifest.namespace, manifest.version, manifest.sha256, expected, expected)

    def rollback(self, namespace: str, *, expected: int) -> Pointer:
        """See `ModelRegistry.rollback`."""
        now = self._require(namespace, expected)
        if now is None or now.previous == 0:
            raise NoModelError(f"namespace {namespace!r} has no earlier model to go back to")
        target = self._entry(namespace, now.previous, self._get(namespace, _key(now.previous)))
        return self._move(namespace, target.version, target.manifest_sha256, expected, target.previous)

    def history(self, namespace: str) -> list[Pointer]:
        """See `ModelRegistry.history`."""
        now = self.current(namespace)
        if now is None:
            return []
        values = {":pk": _partition(namespace), ":first": _key(1), ":last": _key(now.sequence)}
        found = {item["sk"]["S"]: item for item in self._query("pk = :pk AND sk BETWEEN :first AND :last", values)}
        return [self._entry(namespace, n, found.get(_key(n))) for n in range(1, now.sequence + 1)]

    def experiment(self, namespace: str) -> dict[str, Any] | None:
        """See `ModelRegistry.experiment`."""
        item = self._get(namespace, EXPERIMENT)
        place = f"item {EXPERIMENT} of {_partition(namespace)} in table {self.table}"
        return None if item is None else read_experiment(item.get("document", {}).get("S", "").encode(), place)

    def put_experiment(self, namespace: str, document: Mapping[str, Any]) -> None:
        """See `ModelRegistry.put_experiment`."""
        item = {"pk": {"S": _partition(namespace)}, "sk": {"S": EXPERIMENT}}
        with self._explained():
            text = json.dumps(dict(document))
            self._client.call("PutItem", TableName=self.table, Item=item | {"document": {"S": text}})

    def _require(self, namespace: str, expected: int) -> Pointer | None:
        now = self.current(namespace)
        _check_unmoved(namespace, now, expected)
        return now

    def _move(self, namespace: str, version: str, manifest_sha256: str, sequence: int, previous: int) -> Pointer:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        pointer = Pointer(sequence + 1, version, manifest_sha256, previous, now)
        mark = uuid.uuid4().hex
        actions = self._actions(namespace, pointer, mark)
        for _ in tries(_PATIENCE_S):
            try:
                with self._explained():
                    self._client.call("TransactWriteItems", TransactItems=actions, ClientRequestToken=mark)
                return pointer
            except AwsError as error:
                # Refused, or no answer: an earlier try may have moved it, and its answer was lost.
                if self._has_moved(namespace, pointer, mark):
                    return pointer
                if "TransactionConflict" not in _reasons(error):
                    raise
        raise ConflictError(f"others keep moving the pointer of {namespace!r}. Run it again")

    def _has_moved(self, namespace: str, pointer: Pointer, mark: str) -> bool:
        """Whether the history holds what this very call wrote; others may have moved the pointer on since.

        Raises `ConflictError` if somebody else was first.
        """
        expected = pointer.sequence - 1
        try:
            now, entry = self._look(namespace, pointer.sequence)
        except AwsError as error:
            raise StorageError(
                f"it is not known whether the pointer of {namespace!r} moved to version {pointer.version}: {error}. "
                "Look at what is in service once the table can be read"
            ) from error
        if entry is not None and entry.get("mark") == {"S": mark}:
            return True
        _check_unmoved(namespace, now, expected)
        if entry is not None:
            self._require(namespace, expected)
            raise ArtifactError(
                f"the history of {namespace!r} in table {self.table} holds entry {pointer.sequence} already, "
                f"but its pointer is at {expected}. {_MEND}"
            )
        return False

    def _look(self, namespace: str, sequence: int) -> tuple[Pointer | None, Item | None]:
        """Read the pointer, then an entry: if an earlier call moves the pointer in between, the entry tells."""
        for _ in tries(_LOOKING_S):
            try:
                return self.current(namespace), self._get(namespace, _key(sequence))
            except AwsError as error:
                refusal = error
            if not refusal.transient:
                break
        raise refusal

    def _actions(self, namespace: str, pointer: Pointer, mark: str) -> list[dict[str, Any]]:
        entry = {
            "pk": {"S": _partition(namespace)},
            "entry_number": {"N": str(pointer.sequence)},
            "entry": {"S": pointer.to_bytes().decode()},
            "mark": {"S": mark},
        }
        unmoved: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if pointer.sequence > 1:
            values = {":expected": {"N": str(pointer.sequence - 1)}}
            unmoved = {"ConditionExpression": "entry_number = :expected", "ExpressionAttributeValues": values}
        puts: list[dict[str, Any]] = [
            {"Item": entry | {"sk": {"S": CURRENT}}, **unmoved},
            {"Item": entry | {"sk": {"S": _key(pointer.sequence)}}, "ConditionExpression": "attribute_not_exists(pk)"},
            {"Item": {"pk": {"S": "namespaces"}, "sk": {"S": namespace}}},
        ]
        return [{"Put": {"TableName": self.table, **put}} for put in puts]

    def _entry(self, namespace: str, sequence: int, item: Item | None) -> Pointer:
        if item is None:
            raise ArtifactError(
                f"entry {sequence} of the history of {namespace!r} in table {self.table} is missing. {_MEND}"
            )
        return self._pointer(item)

    def _pointer(self, item: Item) -> Pointer:
        place = f"item {item['sk']['S']} of {item['pk']['S']} in table {self.table}"
        pointer = Pointer.from_bytes(item.get("entry", {}).get("S", "").encode(), place)
        # The number stands in two more places: one is compared by conditions, the other found by.
        if item.get("entry_number") != {"N": str(pointer.sequence)} or item["sk"]["S"] not in (
            CURRENT,
            _key(pointer.sequence),
        ):
            raise ArtifactError(f"{place} is damaged: it holds entry {pointer.sequence}")
        return pointer

    def _get(self, namespace: str, key: str) -> Item | None:
        with self._explained():
            return get_item(self._client, self.table, {"pk": {"S": _partition(namespace)}, "sk": {"S": key}})

    def _query(self, condition: str, values: dict[str, str]) -> list[Item]:
        with self._explained():
            return list(query(self._client, self.table, condition, values))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise
            raise StorageError(
                f"there is no table {self.table!r} in this region and account. "
                "Create it as the deployment's template does, or correct RECSYS_REGISTRY"
            ) from error


def _check_unmoved(namespace: str, now: Pointer | None, expected: int) -> None:
    found = now.sequence if now else 0
    if found != expected:
        raise ConflictError(
            f"the pointer of {namespace!r} moved meanwhile: expected entry {expected}, found {found}. "
            "Look at what is in service now and run it again"
        )


def _partition(namespace: str) -> str:
    return f"M#{check_name('namespace', namespace)}"


def _key(sequence: int) -> str:
    return f"{sequence:08d}"


def _reasons(error: AwsError) -> set[str]:
    return {reason.get("Code", "") for reason in error.answer.get("CancellationReasons", ())}
