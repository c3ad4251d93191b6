"""The consumer of the queue: what is no message of ours fails alone, and what the log refuses is not lost."""

import json
import random
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from messages import records, stored

from batch_jobs import consumer
from batch_jobs.consumer import parse, take_in
from batch_jobs.event_log import EventLog
from batch_jobs.handlers import take_in_events
from batch_jobs.log_files import LocalLogFiles
from recsys.aws.client import AwsError
from recsys.aws.log_files import S3LogFiles
from recsys.errors import DataError
from recsys.serving import MemoryOnlineStore
from recsys.serving.online import POSITIONS_A_SECOND

GOOD = json.loads(records("shop", stored("u", "i", context={"device": "tv", "n": 1}))[0]["body"])
DEEP = "[" * 100_000


def with_event(**changes):
    return json.dumps({**GOOD, "events": [{**GOOD["events"][0], **changes}]})


def without(field):
    return json.dumps({**GOOD, "events": [{k: v for k, v in GOOD["events"][0].items() if k != field}]})


POISON = {
    "empty": "",
    "no JSON": "hello",
    "cut": json.dumps(GOOD)[:-7],
    "two": json.dumps(GOOD) * 2,
    "null": "null",
    "a list": json.dumps([GOOD]),
    "no events": json.dumps({"namespace": "shop"}),
    "without events": json.dumps({"namespace": "shop", "events": []}),
    "no namespace": json.dumps({"events": GOOD["events"]}),
    "another schema": json.dumps({**GOOD, "schema": 2}),
    "a path for a namespace": json.dumps({**GOOD, "namespace": "../../etc"}),
    "a number for a namespace": json.dumps({**GOOD, "namespace": 7}),
    "another field": with_event(price=1),
    **{f"no {field}": without(field) for field in GOOD["events"][0]},
    "text for a position": with_event(position="7"),
    "a fraction for a position": with_event(position=7.5),
    "position 0": with_event(position=0),
    "position 2^63": with_event(position=1 << 63),
    "position of 5,000 digits": with_event(position=7).replace(": 7,", f": {'7' * 5000},"),
    "from the future": with_event(position=round((time.time() + 7200) * POSITIONS_A_SECOND)),
    "an empty id": with_event(user=""),
    "a long id": with_event(item="i" * 257),
    "a number for an id": with_event(user=7),
    "a lone surrogate": with_event(user="\ud800"),
    "a raw lone surrogate": '{"namespace": "\ud800"}',
    "NaN": with_event(value=float("nan")),
    "infinite": with_event(value=float("inf")),
    "too large a number": with_event(value=1).replace('"value": 1', '"value": 1e999'),
    "a negative value": with_event(value=-1),
    "a value beyond float32": with_event(value=1e31),
    "true for a value": with_event(value=True),
    "text for a value": with_event(value="1"),
    "a time after 2100": with_event(timestamp=4_102_444_800),
    "a time before 1970": with_event(timestamp=-1),
    "NaN in a context": with_event(context={"x": float("nan")}),
    "null in a context": with_event(context={"x": None}),
    "an object in a context": with_event(context={"x": {}}),
    "a long context": with_event(context={"x": "x" * 4096}),
    "a forged line in a context": with_event(context={"x\nERROR all is lost": None}),
    "a list for a context": with_event(context=[]),
    "deep": DEEP,
    "deep in a context": with_event(context={"x": 7}).replace("7", DEEP + "]" * len(DEEP)),
    "too large": json.dumps(GOOD) + " " * (1 << 20),
}


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_EVENTS", f"file:{tmp_path}/events")
    return EventLog(LocalLogFiles(tmp_path / "events"))


def failed(*batch):
    return [one["itemIdentifier"] for one in take_in_events({"Records": list(batch)}, None)["batchItemFailures"]]


def poisoned():
    return [{"messageId": name, "body": body} for name, body in POISON.items()]


def test_poison_alone_fails(log, caplog):
    good = [records("shop", stored("u", f"i{n}", n))[0] for n in range(len(POISON))]
    batch = [one for pair in zip(good, poisoned(), strict=True) for one in pair]
    assert failed(*batch) == list(POISON)
    assert sorted(log.read("shop").events["item_id"].to_pylist()) == sorted(f"i{n}" for n in range(len(good)))
    assert len(caplog.messages) == len(POISON)
    assert not [text for text in caplog.messages if GOOD["events"][0]["event_id"] in text or "ud800" in text]
    assert not [text for text in caplog.messages if "\n" in text or "all is lost" in text]


PLANTED = {
    "JSON is all it looks at": lambda body: (json.loads(body)["namespace"], json.loads(body)["events"], False),
    "everything is a message": lambda body: ("shop", [], False),
    "nothing is": lambda body: parse(""),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_consumer_that_tells_poison_wrongly_would_be_found(log, caplog, monkeypatch, planted):
    monkeypatch.setattr(consumer, "parse", PLANTED[planted])
    with pytest.raises((AssertionError, ValueError, KeyError, TypeError)):
        test_poison_alone_fails(log, caplog)


def test_a_message_changed_anywhere_is_refused_or_still_one(log):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance, text, passed = random.Random(seed), json.dumps(GOOD), []
    for _ in range(3000):
        body = list(text)
        for _ in range(chance.choice([1, 1, 2, 5])):
            at = chance.randrange(len(body))
            body[at : at + chance.randrange(2)] = chance.choice(
                ['"', "{", "}", "[", "]", ",", ":", "\\", "9", "\0", ""]
            )
        with suppress(DataError):
            passed.append((*parse("".join(body)), "".join(body)))
    assert 30 < len(passed) < 1500
    assert failed(*({"messageId": "m", "body": body} for *_, body in passed)) == []
    for namespace in {namespace for namespace, *_ in passed}:
        expected = {row["event_id"] for name, rows, *_ in passed if name == namespace for row in rows}
        assert set(log.read(namespace).events["event_id"].to_pylist()) == expected


def test_several_namespaces_in_a_batch_fail_apart(log, tmp_path):
    (tmp_path / "events").mkdir()
    (tmp_path / "events/ns=broken").write_text("a file where a folder must be")
    batches = {name: records(name, stored("u", f"i-{name}")) for name in ("shop", "broken", "other")}
    again = records("broken", stored("u", "j"))
    expected = [one["messageId"] for one in batches["broken"] + again]
    assert failed(*batches["shop"], *batches["broken"], *poisoned()[:1], *batches["other"], *again) == [
        "empty",
        *expected,
    ]
    for name in ("shop", "other"):
        assert log.read(name).events["item_id"].to_pylist() == [f"i-{name}"]
    (tmp_path / "events/ns=broken").unlink()
    assert failed(*batches["broken"], *again) == []
    assert sorted(log.read("broken").events["item_id"].to_pylist()) == ["i-broken", "j"]


class Refusing:
    def call(self, operation, **_):
        raise AwsError(operation, "SlowDown", "reduce your request rate")

    def close(self):
        pass


def test_storage_that_refuses_fails_every_message(log):
    batch = [records("shop", stored("u", f"i{n}"))[0] for n in range(5)]
    assert take_in(S3LogFiles("bucket", Refusing()), MemoryOnlineStore(), batch) == [one["messageId"] for one in batch]


def test_the_consumer_needs_neither_arrow_nor_the_models():
    code = "import sys, batch_jobs.consumer, batch_jobs.handlers, recsys.aws.log_files; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"pyarrow", "scipy", "implicit", "typer", "chalice", "boto3"} & set(loaded) == set()
    assert "msgspec" in loaded
