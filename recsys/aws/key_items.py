"""API keys in DynamoDB: one partition of keys, the item of their revision, one a bucket, one partition of counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from recsys.aws.batches import Item, query
from recsys.aws.client import AwsError, Client, tries
from recsys.aws.packed_items import get_item
from recsys.errors import ArtifactError, StorageError
from recsys.serving.online.keys import ApiKey, Usage, summed, taken

_HEAD: Item = {"pk": {"S": "KEYS#head"}, "sk": {"S": "head"}}
_KEPT_S = 400 * 86_400
_PATIENCE_S = 0.5  # a request waits for its turn at a bucket
_REFUSED, _OVERTAKEN = "ConditionalCheckFailed", "TransactionConflict"


class DynamoKeys:
    """See `KeyStore`. IAM actions: GetItem, Query and PutItem to serve; UpdateItem besides, for who revokes keys.

    Counts are kept for 400 days.

    Parameters
    ----------
    client : Client
    table : str
    """

    def __init__(self, client: Client, table: str) -> None:
        self._client, self._table = client, table

    def revision(self) -> str:
        """See `KeyStore.revision`."""
        head = get_item(self._client, self._table, _HEAD)
        with _reading("revision of keys"):
            return "" if head is None else str(head["revision"]["S"])

    def all(self) -> list[ApiKey]:
        """See `KeyStore.all`."""
        with _reading("key"):
            found = query(self._client, self._table, "pk = :pk", {":pk": "KEYS"})
            return [
                ApiKey.from_record(json.loads(one["record"]["S"]) | {"revoked": one["revoked"]["BOOL"]})
                for one in found
            ]

    def add(self, key: ApiKey) -> None:
        """See `KeyStore.add`."""
        item = _place(key.key_id) | {"record": {"S": json.dumps(key.to_record())}, "revoked": {"BOOL": key.revoked}}
        if not self._changed({"Put": {"Item": item, "ConditionExpression": "attribute_not_exists(pk)"}}):
            raise taken(key)

    def revoke(self, key_id: str) -> bool:
        """See `KeyStore.revoke`."""
        update = {"UpdateExpression": "SET revoked = :yes", "ExpressionAttributeValues": {":yes": {"BOOL": True}}}
        return self._changed(
            {"Update": {"Key": _place(key_id), "ConditionExpression": "attribute_exists(pk)", **update}}
        )

    def change_bucket(self, key_id: str, change: Callable[[float], float]) -> None:
        """See `KeyStore.change_bucket`; an answer that is lost may have changed it, and it is changed once more."""
        place: Item = {"pk": {"S": f"BUCKET#{key_id}"}, "sk": {"S": "level"}}
        for _ in tries(_PATIENCE_S):
            before = get_item(self._client, self._table, place)
            with _reading("bucket"):
                level = 0.0 if before is None else float(before["level"]["S"])
            asked: dict[str, Any] = {"Item": place | {"level": {"S": repr(change(level))}}}
            asked["ConditionExpression"] = "attribute_not_exists(pk)"
            if before is not None:
                asked["ConditionExpression"] = "#level = :before"
                asked["ExpressionAttributeNames"] = {"#level": "level"}
                asked["ExpressionAttributeValues"] = {":before": before["level"]}
            try:
                self._client.call("PutItem", TableName=self._table, **asked)
                return
            except AwsError as error:
                if error.code != "ConditionalCheckFailedException":
                    raise
        raise StorageError(f"others were first at the bucket of key {key_id} for {_PATIENCE_S} s")

    def put_usage(self, process: str, rows: Iterable[Usage]) -> None:
        """See `KeyStore.put_usage`."""
        for one in rows:
            item: Item = {"pk": {"S": "USAGE"}, "sk": {"S": f"{one.day}#{one.key_id}#{process}"}}
            item |= {"counts": {"S": json.dumps(dict(one.counts))}, "expires": {"N": str(int(time.time()) + _KEPT_S)}}
            self._client.call("PutItem", TableName=self._table, Item=item)

    def usage(self, since: str) -> list[Usage]:
        """See `KeyStore.usage`."""
        found = query(self._client, self._table, "pk = :pk AND sk >= :since", {":pk": "USAGE", ":since": since})
        with _reading("count"):
            places = ((*one["sk"]["S"].split("#"), json.loads(one["counts"]["S"])) for one in found)
            return summed(Usage(day, key_id, counts) for day, key_id, _, counts in places)

    def _changed(self, action: dict[str, dict[str, Any]]) -> bool:
        """Change a key and the revision at once; False where the key is not as the condition says."""
        ((kind, what),) = action.items()
        head = {"Item": _HEAD | {"revision": {"S": os.urandom(8).hex()}}}
        actions = [{kind: {"TableName": self._table, **what}}, {"Put": {"TableName": self._table, **head}}]
        refusal = StorageError("others change keys all the time. Try again")
        for _ in tries(10 * _PATIENCE_S):
            try:
                token = os.urandom(16).hex()
                self._client.call("TransactWriteItems", TransactItems=actions, ClientRequestToken=token)
                return True
            except AwsError as error:
                reasons = {one["Code"] for one in error.answer.get("CancellationReasons", ())}
                if _REFUSED in reasons:
                    return False
                if _OVERTAKEN not in reasons:
                    raise
                refusal = error
        raise refusal


def _place(key_id: str) -> Item:
    return {"pk": {"S": "KEYS"}, "sk": {"S": key_id}}


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"a stored {what} is damaged: {error}") from error
