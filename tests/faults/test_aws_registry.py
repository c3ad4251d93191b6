"""The registry in DynamoDB: races of processes, lost answers, damaged items."""

import json
import multiprocessing
import random
import time
from datetime import UTC, datetime
from io import BytesIO

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session
from clouds import CLOUDS

from recsys.artifacts import ArtifactManifest, Pointer
from recsys.aws.breaker import Breaker
from recsys.aws.client import AwsError, BotoClient, connect
from recsys.aws.registry import DynamoModelRegistry
from recsys.errors import ArtifactError, ConflictError, StorageError

PROCESSES, PROMOTIONS = 8, 25


def manifest(version, namespace="shop"):
    now = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    return ArtifactManifest(namespace, version, "als", now, {}, {}, {}, ())


ON_ONE = pytest.mark.parametrize("dynamodb", ["ministack"], indirect=True)


@pytest.fixture(params=CLOUDS)
def dynamodb(request, aws):
    return DynamoDB(aws(request.param))


class DynamoDB:
    """A table, and a registry over it whose requests can go wrong."""

    def __init__(self, aws):
        self.table = aws.table()
        self.boto = aws.client("dynamodb")  # whose requests cannot
        self.client = BotoClient("dynamodb")
        self.before = lambda request: None
        self.client._client.meta.events.register("before-send.dynamodb.TransactWriteItems", self._send)
        self.registry = DynamoModelRegistry(self.table, self.client)

    def _send(self, request, **_):
        return self.before(request)

    def change(self, key, damage):
        keys = {"pk": {"S": "M#shop"}, "sk": {"S": key}}
        item = self.boto.get_item(TableName=self.table, Key=keys)["Item"]
        self.boto.put_item(TableName=self.table, Item=item | damage(item))

    def remove(self, key):
        self.boto.delete_item(TableName=self.table, Key={"pk": {"S": "M#shop"}, "sk": {"S": key}})


def lost_answer(times):
    """The table does as it is told, and the connection breaks before it can say so."""
    left = [times]

    def before(request):
        if left[0]:
            left[0] -= 1
            URLLib3Session().send(request)
            raise ConnectionClosedError(endpoint_url=request.url)

    return before


def promote_often(kind, table, worker, promotions):
    """Promote until all are in; return the entries won."""
    registry, won = kind(table, connect("dynamodb")), []
    for n in range(promotions):
        while True:
            now = registry.current("shop")
            try:
                won.append(registry.promote(manifest(f"v{worker}-{n}"), expected=now.sequence if now else 0))
                break
            except ConflictError:
                time.sleep(random.random() / 20)
    return won


class Careless(DynamoModelRegistry):
    """A planted bug: it looks before it moves, and then moves whatever happened meanwhile."""

    def _actions(self, *arguments):
        actions = super()._actions(*arguments)
        for action in actions:
            for condition in ("ConditionExpression", "ExpressionAttributeValues"):
                action["Put"].pop(condition, None)
        return actions


@ON_ONE
@pytest.mark.parametrize(("kind", "faultless"), [(DynamoModelRegistry, True), (Careless, False)])
def test_racing_processes_get_one_number_each_and_none_is_lost(dynamodb, kind, faultless):
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        work = [(kind, dynamodb.table, worker, PROMOTIONS if faultless else 2) for worker in range(PROCESSES)]
        won = [pointer for each in pool.starmap(promote_often, work) for pointer in each]
    won.sort(key=lambda pointer: pointer.sequence)
    each_number_once = [pointer.sequence for pointer in won] == list(range(1, PROCESSES * work[0][-1] + 1))
    assert (each_number_once and won == dynamodb.registry.history("shop")) is faultless


@pytest.mark.parametrize("times", [1, 4])
def test_a_promotion_whose_answers_are_lost_is_made_once(dynamodb, times):
    registry = dynamodb.registry
    registry.promote(manifest("v1"), expected=0)
    dynamodb.before = lost_answer(times)
    second = registry.promote(manifest("v2"), expected=1)
    assert [one.version for one in registry.history("shop")] == ["v1", "v2"]
    assert registry.current("shop") == second


@ON_ONE
def test_a_lost_answer_that_trips_the_breaker_is_waited_out(dynamodb, monkeypatch):
    for name, seconds in (("_LONG_S", 0.0), ("_PAUSE_S", 0.5)):
        monkeypatch.setattr(f"recsys.aws.breaker.{name}", seconds)
    registry = DynamoModelRegistry(dynamodb.table, Breaker(dynamodb.client))
    dynamodb.before = lost_answer(4)  # all the tries
    assert registry.promote(manifest("v1"), expected=0).version == "v1"


@ON_ONE
def test_a_registry_that_does_not_look_whether_it_moved_is_caught(dynamodb, monkeypatch):
    monkeypatch.setattr(DynamoModelRegistry, "_has_moved", lambda *_: False)
    dynamodb.before = lost_answer(4)
    with pytest.raises(StorageError, match="TransactWriteItems failed"):
        dynamodb.registry.promote(manifest("v1"), expected=0)
    assert dynamodb.registry.current("shop").version == "v1"


@ON_ONE
def test_a_promotion_that_arrives_while_it_is_looked_for_is_found(dynamodb, monkeypatch):
    late, get = [], dynamodb.registry._get

    def hold(request):
        late.append(request)
        raise ConnectionClosedError(endpoint_url=request.url)

    def read(*key):
        item = get(*key)
        if late:
            URLLib3Session().send(late[0])
            late.clear()
        return item

    dynamodb.before = hold
    monkeypatch.setattr(dynamodb.registry, "_get", read)
    assert dynamodb.registry.promote(manifest("v1"), expected=0).sequence == 1


@ON_ONE
@pytest.mark.parametrize(("code", "asked_again"), [("Unreachable", True), ("AccessDeniedException", False)])
def test_what_cannot_be_known_is_said_to_be_unknown(dynamodb, monkeypatch, code, asked_again):
    asked = []

    def unplug(request):
        monkeypatch.setattr(dynamodb.registry, "_get", refuse)
        raise ConnectionClosedError(endpoint_url=request.url)

    def refuse(*_):
        asked.append(1)
        raise AwsError("GetItem", code, "closed")

    monkeypatch.setattr("recsys.aws.registry._LOOKING_S", 0.1)
    dynamodb.before = unplug
    with pytest.raises(StorageError, match="not known whether the pointer of 'shop' moved to version v1"):
        dynamodb.registry.promote(manifest("v1"), expected=0)
    assert (len(asked) > 1) is asked_again


def conflicting(times):
    """Others hold the items for a while: DynamoDB cancels, and nothing moves."""
    left = [times]

    def before(request):
        if left[0]:
            left[0] -= 1
            reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}, {"Code": "None"}]
            told = {"__type": "x#TransactionCanceledException", "CancellationReasons": reasons}
            return AWSResponse(request.url, 400, {}, Raw(json.dumps(told).encode()))
        return None

    return before


class Raw(BytesIO):
    def stream(self):
        yield self.read()


@ON_ONE
def test_a_promotion_among_others_is_tried_until_patience_ends(dynamodb, monkeypatch):
    dynamodb.before = conflicting(2)
    assert dynamodb.registry.promote(manifest("v1"), expected=0).sequence == 1
    monkeypatch.setattr("recsys.aws.registry._PATIENCE_S", 0.2)
    dynamodb.before = conflicting(99)
    with pytest.raises(ConflictError, match=r"others keep moving the pointer of 'shop'. Run it again"):
        dynamodb.registry.promote(manifest("v2"), expected=1)
    assert [one.version for one in dynamodb.registry.history("shop")] == ["v1"]


def test_a_promotion_that_somebody_else_overtakes_is_told_from_one_whose_answer_is_lost(dynamodb):
    other = DynamoModelRegistry(dynamodb.table, BotoClient("dynamodb"))
    dynamodb.before = lambda request: other.promote(manifest("v1"), expected=0) and None
    with pytest.raises(ConflictError, match="expected entry 0, found 1"):
        dynamodb.registry.promote(manifest("v1"), expected=0)  # the same version, in the same second
    assert len(dynamodb.registry.history("shop")) == 1


def test_a_promotion_that_never_arrives_is_no_promotion(dynamodb):
    def refuse(request):
        raise ConnectionClosedError(endpoint_url=request.url)

    dynamodb.before = refuse
    with pytest.raises(StorageError, match="TransactWriteItems failed: Unreachable"):
        dynamodb.registry.promote(manifest("v1"), expected=0)
    assert dynamodb.registry.current("shop") is None


DAMAGES = {
    "flipped": lambda item: {"entry": {"S": item["entry"]["S"].replace("v3", "v2")}},
    "another number": lambda item: {"entry_number": {"N": "7"}},
    "another entry": lambda item: {"entry": {"S": Pointer(7, "v", "0" * 64, 6, "").to_bytes().decode()}},
    "no text": lambda item: {"entry": {"N": "3"}},
    "empty": lambda item: {"entry": {"S": ""}},
}


@ON_ONE
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("key", ["current", "00000003"])
def test_a_damaged_entry_is_refused_and_named(dynamodb, key, damage):
    registry = dynamodb.registry
    for n in range(3):
        registry.promote(manifest(f"v{n + 1}"), expected=n)
    dynamodb.change(key, DAMAGES[damage])
    with pytest.raises(ArtifactError, match=f"item {key} of M#shop in table {dynamodb.table} is damaged"):
        registry.current("shop") if key == "current" else registry.history("shop")


@ON_ONE
@pytest.mark.parametrize("document", [{"S": ""}, {"S": "[]"}, {"N": "7"}])
def test_a_damaged_experiment_is_refused_and_named(dynamodb, document):
    dynamodb.registry.put_experiment("shop", {"name": "a"})
    dynamodb.change("experiment", lambda item: {"document": document})
    with pytest.raises(ArtifactError, match=f"item experiment of M#shop in table {dynamodb.table} is damaged"):
        dynamodb.registry.experiment("shop")


@ON_ONE
def test_a_history_with_holes_or_ahead_of_its_pointer_is_refused(dynamodb):
    registry = dynamodb.registry
    for n in range(3):
        registry.promote(manifest(f"v{n + 1}"), expected=n)
    dynamodb.remove("00000002")
    with pytest.raises(ArtifactError, match=r"entry 2 of the history of 'shop' .* is missing. Restore"):
        registry.history("shop")
    with pytest.raises(ArtifactError, match=r"entry 2 of the history of 'shop' .* is missing. Restore"):
        registry.rollback("shop", expected=3)
    dynamodb.remove("current")
    with pytest.raises(ArtifactError, match=r"holds entry 1 already, but its pointer is at 0. Restore"):
        registry.promote(manifest("v4"), expected=0)


@ON_ONE
def test_a_table_that_does_not_exist_is_named_with_what_to_do(dynamodb):
    registry = DynamoModelRegistry("nothing", dynamodb.client)
    for ask in (registry.namespaces, lambda: registry.current("shop")):
        with pytest.raises(StorageError, match=r"no table 'nothing' .* Create it"):
            ask()
