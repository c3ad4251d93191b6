"""What becomes of an event when its answer is lost, its place is taken, its id is known or the queue refuses."""

import json
import os
from contextlib import closing

import pytest
from clouds import CLOUDS
from faulty import Upstream, server

from recsys.aws import batches, event_items
from recsys.aws.client import AwsError, connect
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.errors import ArtifactError, StorageError
from recsys.events import InteractionEvent
from recsys.serving.online.erasures import Erased


def event(number, **changes):
    return InteractionEvent(
        **{"event_id": f"e{number}", "user": "u", "item": f"i{number}", "timestamp_s": 1e9} | changes
    )


class Queue(list):
    refusing = False

    def send(self, namespace, events):
        if self.refusing:
            raise StorageError("the queue refuses")
        self.extend(events)

    def close(self):
        pass


@pytest.fixture(params=CLOUDS)
def store(request, aws):
    with closing(DynamoOnlineStore(aws(request.param).table(), connect("dynamodb"), Queue())) as opened:
        yield opened


def test_events_whose_answer_is_lost_are_new_and_stored_once(store, monkeypatch):
    lost = []

    def answer(exchange, body):
        status, told = upstream.post(exchange.headers, body)
        if exchange.operation == "TransactWriteItems" and not lost:
            lost.append(status)
            return exchange.reset()
        return exchange.reply(told, status)

    with closing(Upstream(os.environ["AWS_ENDPOINT_URL"])) as upstream, server(answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with closing(DynamoOnlineStore(store.table, connect("dynamodb"), store.queue)) as unlucky:
            assert unlucky.append_events("shop", [event(n) for n in range(3)]) == 3
    assert lost == [200]
    assert store.recent_events("shop", "u", after=0, limit=9) == store.queue
    assert len({one.position for one in store.queue}) == 3


def test_a_place_that_another_process_took_is_left_to_it(store, monkeypatch):
    store.append_events("shop", [event(1)])
    (first,) = store.queue
    drawn = [first.position, first.position + 1, first.position + 2]
    monkeypatch.setattr(event_items._positions, "next", lambda: drawn.pop(0))
    assert store.append_events("shop", [event(2), event(3)]) == 2
    assert sorted(one.position - first.position for one in store.queue) == [0, 1, 2]
    assert {one.event.event_id for one in store.recent_events("shop", "u", after=0, limit=9)} == {"e1", "e2", "e3"}


def test_what_the_queue_refused_reaches_it_when_it_is_sent_again(store):
    store.queue.refusing = True
    with pytest.raises(StorageError, match="the queue refuses"):
        store.append_events("shop", [event(1), event(2)])
    store.queue.refusing = False
    assert store.append_events("shop", [event(1, item="another"), event(2), event(3)]) == 1
    assert sorted(one.event.item for one in store.queue) == ["i1", "i2", "i3"]  # as it was first sent
    assert len({one.position for one in store.queue}) == 3


def test_positions_are_microseconds_and_rise_even_when_the_clock_does_not(monkeypatch):
    monkeypatch.setattr(event_items.time, "time_ns", lambda: 1_800_000_000_123_456_789)
    positions = event_items._Positions()
    drawn = [positions.next() for _ in range(5_000)]
    assert drawn == sorted(set(drawn))
    assert drawn[0] >> 11 == 1_800_000_000_123_456


def test_events_leave_after_thirty_days(store, monkeypatch):
    monkeypatch.setattr(event_items.time, "time", lambda: 1_800_000_000.5)
    store.append_events("shop", [event(1)])
    with closing(connect("dynamodb")) as client:
        found = client.call("Scan", TableName=store.table)["Items"]
    assert [one["expires"]["N"] for one in found] == [str(1_800_000_000 + 30 * 86_400)] * 3


@pytest.fixture
def cancelled(store, monkeypatch):
    """Cancel the first transactions of the store for given reasons, and let the others pass."""
    reasons = []

    def answer(exchange, body):
        if exchange.operation == "TransactWriteItems" and reasons:
            codes = [{"Code": code} for code in reasons.pop(0)]
            told = {"__type": "x#TransactionCanceledException", "CancellationReasons": codes}
            return exchange.reply(json.dumps(told).encode(), 400)
        return exchange.reply(upstream.post(exchange.headers, body)[1])

    with closing(Upstream(os.environ["AWS_ENDPOINT_URL"])) as upstream, server(answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with closing(DynamoOnlineStore(store.table, connect("dynamodb"), store.queue)) as opened:
            opened.reasons = reasons
            yield opened


def test_conflicts_and_throttling_inside_a_transaction_pass(cancelled):
    cancelled.reasons += [
        ["TransactionConflict", "None", "None"],
        ["None", "ThrottlingError", "None"],
        ["None", "None", "ThrottlingError"],
    ]
    assert cancelled.append_events("shop", [event(1)]) == 1
    assert cancelled.recent_items("shop", "u", after=0) == ["i1"]


def test_what_stays_cancelled_is_refused_and_not_queued(cancelled, monkeypatch):
    monkeypatch.setattr(event_items, "_PATIENCE_S", 0.2)
    cancelled.reasons += [["TransactionConflict", "None", "None"]] * 99
    with pytest.raises(StorageError, match="still refuses 1 events"):
        cancelled.append_events("shop", [event(1)])
    for codes in (["ValidationError", "None", "None"], ["None", "None", "ValidationError"]):
        cancelled.reasons[:] = [codes]
        with pytest.raises(AwsError, match="TransactionCanceledException"):
            cancelled.append_events("shop", [event(1)])
    assert cancelled.queue == cancelled.recent_items("shop", "u", after=0) == []


def test_a_change_of_the_catalogue_that_stays_cancelled_is_refused(cancelled, monkeypatch):
    cancelled.reasons += [["TransactionConflict", "None"], ["ConditionalCheckFailed"]]
    cancelled.put_items("shop", {"a": {"n": 1}})
    monkeypatch.setattr(batches, "_OVERTAKEN_S", 0.2)
    cancelled.reasons += [["TransactionConflict"]] * 99
    with pytest.raises(StorageError, match=r"still refuses a change of the catalogue .* Send it again"):
        cancelled.put_items("shop", {"a": {"n": 2}})
    cancelled.reasons[:] = [["ValidationError", "None"]]
    with pytest.raises(AwsError, match="TransactionCanceledException"):
        cancelled.put_items("shop", {"a": {"n": 3}})
    assert (cancelled.all_items("shop"), cancelled.reasons) == ({"a": {"n": 1}}, [])


def test_an_erasure_that_stays_cancelled_is_refused_and_done_when_it_is_sent_again(cancelled, monkeypatch):
    cancelled.append_events("shop", [event(1)])
    monkeypatch.setattr(batches, "_OVERTAKEN_S", 0.2)
    cancelled.reasons += [["TransactionConflict", "None"]] * 99
    with pytest.raises(StorageError, match=r"still refuses to erase a user .* Send it again"):
        cancelled.erase_user("shop", "u", versions=())
    cancelled.reasons[:] = [["ValidationError", "None"]]
    with pytest.raises(AwsError, match="TransactionCanceledException"):
        cancelled.erase_user("shop", "u", versions=())
    assert (cancelled.recent_items("shop", "u", after=0), cancelled.erasures("shop")) == (["i1"], [])
    cancelled.reasons += [["ConditionalCheckFailed", "None"], ["None", "ThrottlingError"]]
    assert cancelled.erase_user("shop", "u", versions=()) == Erased(1, 0, False)
    assert (cancelled.recent_items("shop", "u", after=0), len(cancelled.erasures("shop"))) == ([], 1)


def test_an_erasure_that_is_not_allowed_says_so_at_once(monkeypatch):
    denied = json.dumps({"__type": "x#AccessDeniedException"}).encode()
    nothing = json.dumps({"Items": [], "Responses": {}}).encode()

    def answer(exchange, _):
        exchange.reply(*((denied, 400) if exchange.operation == "TransactWriteItems" else (nothing,)))

    with server(answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "testing")
        with closing(connect("dynamodb")) as client, pytest.raises(AwsError, match="AccessDeniedException"):
            DynamoOnlineStore("t", client).erase_user("shop", "u", versions=())


def test_a_table_that_is_not_there_is_told_at_once(store):
    with closing(DynamoOnlineStore("nothing", connect("dynamodb"))) as missing:
        for ask in (missing.check, lambda: missing.put_items("shop", {"a": {}})):
            with pytest.raises(AwsError, match="ResourceNotFoundException"):
                ask()
    with closing(DynamoOnlineStore(store.table, connect("dynamodb"))) as without_queue:
        without_queue.check()


@pytest.mark.parametrize("told", [{}, {"CancellationReasons": [{"Code": "ConditionalCheckFailed"}]}])
def test_a_cancellation_without_reasons_is_an_error(monkeypatch, told):
    refusal = json.dumps({"__type": "x#TransactionCanceledException", **told}).encode()
    with server(lambda exchange, _: exchange.reply(refusal, 400)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "testing")
        with closing(connect("dynamodb")) as client, pytest.raises(AwsError, match="TransactionCanceledException"):
            DynamoOnlineStore("t", client).append_events("shop", [event(1)])


@pytest.mark.parametrize("item", ["text", {}, {"packed": 1}, {"parts": {"S": "x"}}, {"packed": {"B": "AAAA"}}])
def test_an_item_of_another_form_is_an_artefact_that_is_damaged(monkeypatch, item):
    answer = json.dumps({"Item": item, "Items": [item], "Responses": []}).encode()
    with server(lambda exchange, _: exchange.reply(answer)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "testing")
        with closing(DynamoOnlineStore("t", connect("dynamodb"))) as store:
            for read in (
                lambda: store.user_state("shop", "v", "u"),
                lambda: store.recent_events("shop", "u", after=0, limit=1),
                lambda: store.recent_items("shop", "u", after=0),
                lambda: store.all_items("shop"),
            ):
                with pytest.raises(ArtifactError, match=r"a stored .* is (damaged|truncated)"):
                    read()
