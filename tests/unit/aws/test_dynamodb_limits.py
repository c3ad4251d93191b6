"""Sizes and counts as DynamoDB limits them: dynalite, where npm can install it, and moto for transactions.

moto counts binary as base64, takes batches of 26 and never leaves an item undone. dynalite knows no transactions, and
counts characters where DynamoDB counts bytes of UTF-8.
"""

import json
import os
import shutil
import subprocess
import time
from contextlib import closing

import numpy as np
import pytest
from clouds import CLOUDS, KEYS, serving
from faulty import THROTTLED, Upstream, server

from recsys.aws import batches, event_items
from recsys.aws.batches import LARGEST_ITEM_BYTES, delete, item_size, put, query, write_items
from recsys.aws.client import AwsError, connect
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.errors import ArtifactError, DataError, StorageError
from recsys.events import InteractionEvent
from recsys.serving import StoredList, UserState

LONGEST_ID = "\U0001f600" * 256
KEYS_OF_TABLE = {
    "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
}


@pytest.fixture(scope="module")
def dynalite(tmp_path_factory):
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no node and npm to run dynalite with")
    folder = tmp_path_factory.mktemp("dynalite")
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0"]
    install = ["npm", "install", "--prefix", str(folder), *quiet, "dynalite@4.0.0"]
    try:
        subprocess.run(install, check=True, capture_output=True, timeout=60)
    except subprocess.SubprocessError as error:
        pytest.skip(f"npm cannot install dynalite: {error}")
    command = ["node", str(folder / "node_modules/dynalite/cli.js"), "--host", "127.0.0.1", "--createTableMs", "0"]
    with serving(lambda port: ([*command, "--port", port], {})) as url:
        yield url


@pytest.fixture
def client(dynalite, monkeypatch):
    for variable, value in (KEYS | {"AWS_ENDPOINT_URL": dynalite}).items():
        monkeypatch.setenv(variable, value)
    with closing(connect("dynamodb")) as opened:
        yield opened


@pytest.fixture
def table(client):
    name = f"table-{time.time_ns()}"
    client.call("CreateTable", TableName=name, BillingMode="PAY_PER_REQUEST", **KEYS_OF_TABLE)
    while client.call("DescribeTable", TableName=name)["Table"]["TableStatus"] != "ACTIVE":
        time.sleep(0.01)
    return name


def key(number):
    return {"pk": {"S": "k"}, "sk": {"S": f"{number:03}"}}


def state(n_items):
    return UserState(np.ones(4, np.float32), np.arange(n_items, dtype=np.int32), np.ones(n_items, np.float32))


@pytest.mark.parametrize("filled", [{"B": b"\xff"}, {"S": "x"}])
@pytest.mark.parametrize("beside", [{}, {"title": {"S": "abc"}, "b": {"B": b"\0\0"}, "n": {"N": "7"}}])
def test_an_item_is_as_large_as_dynamodb_counts_it(client, table, filled, beside):
    item = key(1) | beside
    ((kind, sign),) = filled.items()
    room = LARGEST_ITEM_BYTES - item_size(item | {"filled": {kind: sign[:0]}})
    fits, too_large = (item | {"filled": {kind: sign * size}} for size in (room, room + 1))
    write_items(client, table, [put(fits)])
    assert client.call("GetItem", TableName=table, Key=key(1))["Item"] == fits
    with pytest.raises(AwsError, match="Item size has exceeded"):
        client.call("BatchWriteItem", RequestItems={table: [put(too_large)]})
    with pytest.raises(StorageError, match="409,601 bytes is more than the 409,600 of DynamoDB"):
        write_items(client, table, [put(too_large)])


def test_text_counts_by_its_bytes():
    """As https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html has it."""
    assert item_size({"é": {"S": "ü\U0001f600"}, "b": {"B": b"\xff" * 9}, "n": {"N": "1" * 19}}) == 2 + 6 + 10 + 1 + 11


def test_more_items_than_a_batch_takes(client, table):
    with pytest.raises(AwsError, match="less than or equal to 25"):
        client.call("BatchWriteItem", RequestItems={table: [put(key(n)) for n in range(26)]})
    write_items(client, table, (put(key(n % 300) | {"n": {"N": str(n)}}) for n in range(700)))
    found = {int(item["sk"]["S"]): int(item["n"]["N"]) for item in query(client, table, "pk = :pk", {":pk": "k"})}
    assert found == {n: n + 600 if n < 100 else n + 300 for n in range(300)}  # the last of all writes to a key


def test_users_of_any_size_and_ids_of_any_length(client, table):
    store = DynamoOnlineStore(table, client)
    sizes = {"light": 3, "full": 37_494, "over": 37_500, "heavy": 200_000, LONGEST_ID: 40_000}
    store.put_users("shop", "v1", ((user, state(size)) for user, size in sizes.items()))
    lists = StoredList(np.arange(60_000, dtype=np.int32), np.ones(60_000, np.float32), "als")
    store.put_lists("shop", "v1", [(LONGEST_ID, lists)])
    store.put_user_profiles("shop", {LONGEST_ID: {"title": "x" * 300_000}})
    for user, size in sizes.items():
        assert store.user_state("shop", "v1", user).to_bytes() == state(size).to_bytes()
    assert store.user_list("shop", "v1", LONGEST_ID).to_bytes() == lists.to_bytes()
    assert store.all_user_profiles("shop") == {LONGEST_ID: {"title": "x" * 300_000}}
    store.drop_version("shop", "v1")
    assert client.call("Scan", TableName=table)["Count"] == 1


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_description_that_does_not_fit_is_named_before_anything_is_written(aws, cloud):
    with closing(DynamoOnlineStore(aws(cloud).table(), connect("dynamodb"))) as store:
        for put_all, read_all in (
            (store.put_items, store.all_items),
            (store.put_user_profiles, store.all_user_profiles),
        ):
            put_all("shop", {LONGEST_ID: {"t": "x" * 399_990}})
            with pytest.raises(DataError, match="what is told of 'large' has 400,001 bytes"):
                put_all("shop", {"small": {}, "large": {"t": "x" * 399_992}})
            assert read_all("shop") == {LONGEST_ID: {"t": "x" * 399_990}}
        store.put_items("shop", {f"i{n}": {"t": "x" * 300_000} for n in range(14)})  # more than a transaction takes
        assert store.catalogue_head("shop").revision == len(store.all_items("shop")) == 15


def test_a_part_that_is_missing_is_noticed(client, table):
    store = DynamoOnlineStore(table, client)
    store.put_users("shop", "v1", [("heavy", state(100_000))])
    (part, *_) = [one for one in client.call("Scan", TableName=table)["Items"] if one["pk"]["S"].startswith("X#")]
    write_items(client, table, [delete({"pk": part["pk"], "sk": part["sk"]})])
    with pytest.raises(ArtifactError, match="a stored user state or list is damaged"):
        store.user_state("shop", "v1", "heavy")


@pytest.mark.parametrize("refusal", ["undone", "throttled"])
def test_what_stays_refused_is_counted_and_the_rest_is_written(client, table, monkeypatch, refusal):
    monkeypatch.setattr(batches, "_PATIENCE_S", 0.3)

    def answer(exchange, body):
        if b'"013"' not in body:
            exchange.reply(upstream.post(exchange.headers, body)[1])
        elif refusal == "throttled":
            exchange.reply(THROTTLED, 400)
        else:
            exchange.reply(b'{"UnprocessedItems": {"%s": [{"PutRequest": {"Item": {"sk": {"S": "013"}}}}]}}' % name)

    name = table.encode()
    with closing(Upstream(os.environ["AWS_ENDPOINT_URL"])) as upstream, server(answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        left = {"undone": 1, "throttled": 25}[refusal]
        with (
            closing(connect("dynamodb")) as refused,
            pytest.raises(StorageError, match=f"still refuses {left} of 100 items"),
        ):
            write_items(refused, table, (put(key(n)) for n in range(100)))
    assert client.call("Scan", TableName=table)["Count"] == 75


def test_a_refusal_for_good_is_told_at_once(client):
    with pytest.raises(AwsError, match="ResourceNotFoundException"):
        write_items(client, "no-such-table", [put(key(1))])


@pytest.mark.parametrize("passes", [True, False])
def test_keys_that_stay_unread_are_asked_for_again(aws, monkeypatch, passes):
    table = aws("ministack").table()
    monkeypatch.setattr(batches, "_PATIENCE_S", 5 if passes else 0.2)

    def answer(exchange, body):
        asked = json.loads(body).get("RequestItems", {}).get(table, {})
        if exchange.operation != "BatchGetItem" or (passes and len(asked["Keys"]) == 1):
            return exchange.reply(upstream.post(exchange.headers, body)[1])
        left = {"Keys": asked["Keys"][1:] or asked["Keys"], "ConsistentRead": True}
        some = json.dumps({"RequestItems": {table: {"Keys": asked["Keys"][:1]}}}).encode()
        told = json.loads(upstream.post(exchange.headers, some)[1])
        return exchange.reply(json.dumps(told | {"UnprocessedKeys": {table: left}}).encode())

    with closing(Upstream(os.environ["AWS_ENDPOINT_URL"])) as upstream, server(answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with closing(DynamoOnlineStore(table, connect("dynamodb"))) as store:
            store.put_items("shop", {f"i{n}": {"n": n} for n in range(5)})
            if passes:
                assert store.item_metadata("shop", [f"i{n}" for n in range(6)]) == store.all_items("shop")
            else:
                with pytest.raises(StorageError, match="unread for 0 s"):
                    store.item_metadata("shop", ["i1", "i2"])


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_query_of_many_pages_is_read_to_its_end(aws, cloud):
    """DynamoDB ends a page after 1 MB, and less where it is asked to: here three items."""
    table = aws(cloud).table()
    with closing(connect("dynamodb")) as client:
        write_items(client, table, [put(key(n)) for n in range(8)])
        assert [*query(client, table, "pk = :pk", {":pk": "k"}, Limit=3)] == [key(n) for n in range(8)]


def test_a_transaction_is_as_large_as_dynamodb_takes(aws, monkeypatch):
    table = aws("moto").table()
    events = [InteractionEvent(f"e{n}", LONGEST_ID, LONGEST_ID, 1e9) for n in range(51)]
    with closing(connect("dynamodb")) as client:
        assert DynamoOnlineStore(table, client).append_events("shop", events) == 51
        monkeypatch.setattr(event_items, "_EVENTS", 51)
        with pytest.raises(AwsError, match="100"):
            DynamoOnlineStore(table, client).append_events("other", events)
