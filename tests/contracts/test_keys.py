"""What every online store promises of API keys: added and revoked once, buckets lose nothing, counts add up."""

import sqlite3
import threading
from contextlib import closing

import pytest

from recsys.aws.batches import put, write_items
from recsys.aws.client import AwsError, connect
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.errors import ArtifactError, ConflictError, StorageError
from recsys.serving import SQLiteOnlineStore
from recsys.serving.online.keys import ApiKey, Usage

KEY = ApiKey("b", "00" * 32, ("read", "write"), ("shop",), 2.5, 10, "2026-01-01T00:00:00Z", "é")
OTHER = ApiKey("a", "ff" * 32, ("admin",), ("*",))


def test_a_key_is_added_once_and_revoked_and_every_change_is_another_revision(store):
    keys, seen = store.keys, {store.keys.revision()}
    assert seen == {""}
    assert keys.all() == []
    for change in (lambda: keys.add(KEY), lambda: keys.add(OTHER), lambda: keys.revoke("b"), lambda: keys.revoke("a")):
        change()
        seen.add(keys.revision())
    assert len(seen) == 5
    assert keys.all() == [OTHER._replace(revoked=True), KEY._replace(revoked=True)]
    with pytest.raises(ConflictError):
        keys.add(OTHER)
    assert keys.revoke("nobody") is False
    assert keys.revoke("a") is True  # once more changes nothing
    assert keys.all()[0].revoked


def test_buckets_lose_nothing_to_others(store):
    """Each of three threads adds one, ten times."""

    def add():
        for _ in range(10):
            while True:
                try:
                    store.keys.change_bucket("k", lambda before: before + 1.0)
                    break
                except StorageError:  # all others were first for as long as it waits
                    continue

    threads = [threading.Thread(target=add) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = []
    store.keys.change_bucket("k", lambda before: found.append(before) or before)
    store.keys.change_bucket("other", lambda before: found.append(before) or 0.25)
    store.keys.change_bucket("other", lambda before: found.append(before) or before)
    assert found == [30.0, 0.0, 0.25]


def test_counts_of_processes_add_up_and_are_stored_again_without_harm(store):
    day = Usage("2026-01-02", "b", {"2xx": 3})
    for _ in range(2):
        store.keys.put_usage("p", [day, Usage("2026-01-01", "b", {"4xx": 1})])
    store.keys.put_usage("q", [day._replace(counts={"2xx": 4, "5xx": 1})])
    store.keys.put_usage("q", [])
    assert store.keys.usage("2026-01-02") == [Usage("2026-01-02", "b", {"2xx": 7, "5xx": 1})]
    assert [one.day for one in store.keys.usage("2026-01-01")] == ["2026-01-01", "2026-01-02"]
    assert store.keys.usage("2026-01-03") == []


def test_damaged_records_in_sqlite_are_said_to_be(tmp_path):
    with closing(SQLiteOnlineStore(tmp_path / "online.db")) as store:
        store.keys.add(KEY)
        for record in ("{", "[]", "{}", '{"scopes": 3, "namespaces": []}'):
            with closing(sqlite3.connect(store.path)) as db, db:
                db.execute("UPDATE api_keys SET record = ?", (record,))
            with pytest.raises(ArtifactError):
                store.keys.all()


def test_damaged_records_in_dynamodb_are_said_to_be(aws):
    table = aws("ministack").table()
    with closing(DynamoOnlineStore(table, connect("dynamodb"))) as store:
        for pk, sk, what in (
            ("KEYS", "b", store.keys.all),
            ("KEYS#head", "head", store.keys.revision),
            ("BUCKET#b", "level", lambda: store.keys.change_bucket("b", float)),
            ("USAGE", "2026", lambda: store.keys.usage("2026")),
        ):
            write_items(store._client, table, [put({"pk": {"S": pk}, "sk": {"S": sk}})])
            with pytest.raises(ArtifactError):
                what()


class Refusing:
    """A client all of whose writes are refused, as DynamoDB says it."""

    def __init__(self, code, *reasons):
        self.refusal = AwsError("Put", code, "", {"CancellationReasons": [{"Code": one} for one in reasons]})

    def call(self, operation, **_):
        if operation == "GetItem":
            return {}
        raise self.refusal


@pytest.mark.parametrize(
    ("code", "reasons", "work"),
    [
        ("TransactionCanceledException", ["TransactionConflict"], lambda keys: keys.add(KEY)),
        ("AccessDeniedException", [], lambda keys: keys.revoke("b")),
        ("AccessDeniedException", [], lambda keys: keys.change_bucket("b", float)),
        ("ConditionalCheckFailedException", [], lambda keys: keys.change_bucket("b", float)),
    ],
)
def test_what_dynamodb_goes_on_refusing_is_an_error(code, reasons, work, monkeypatch):
    monkeypatch.setattr("recsys.aws.key_items._PATIENCE_S", 0.01)
    with pytest.raises(StorageError):
        work(DynamoOnlineStore("table", Refusing(code, *reasons)).keys)
