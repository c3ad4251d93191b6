"""S3, DynamoDB or SQS is lost in every way while clients load a server: lists go on, events are answered honestly."""

import itertools
import os
import time
from collections import Counter, defaultdict
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest
from api_client import user_path
from aws_shop import aws_shop
from conftest import fitted, server_over
from load import CLIENTS, PERSONAL, SEED, USERS, Load
from plugs import FAULTS, plugs

REQUESTS = int(os.environ.get("OUTAGE_REQUESTS", "1400"))  # of 10,000: most of the time is waiting, but not all
OUTAGES = list(itertools.product(("s3", "dynamodb", "sqs"), FAULTS))
BOUNDS = {"threads": 2, "files": 4 * CLIENTS, "kib": 4096}  # of four stores each may keep a connection a client
PATIENCE_S = 60


@contextmanager
def loaded(aws, folder, monkeypatch, model, planted=""):
    """Give a shop on a stand-in, a warm server over it and clients of that."""
    with (
        plugs(os.environ["AWS_ENDPOINT_URL"], ("s3", "dynamodb", "sqs")) as plugged,
        aws_shop(aws, folder, monkeypatch) as shop,
    ):
        shop.publish(model)
        shop.plugs = plugged
        shop.environment |= {f"AWS_ENDPOINT_URL_{name.upper()}": plug.url for name, plug in plugged.items()}
        with server_over(shop, folder / "server.log", planted) as wire, closing(Load(wire)) as load:
            await_recovery(shop, wire)
            yield shop, wire, load


def await_recovery(shop, wire):
    """Wait until the server is ready and answers in full from the model that is in service."""
    until = time.monotonic() + PATIENCE_S
    whole = (200, False, shop.version())
    while True:
        lists = [wire.get(path) for path in (user_path("u1"), "/v1/shop/popular")]
        told = [(one.status, one.json["degraded"], one.json["model_version"]) for one in lists]
        if told == [whole, whole] and wire.get("/health/ready").status == 200:
            return
        assert time.monotonic() < until, told
        time.sleep(0.05)


def outage(shop, wire, load, service, fault, requests, next_model=None):
    """Pull a plug under load and put it in again; return what was answered as it must not be, and how often."""
    plug, version = shop.plugs[service], shop.version()
    plug.pull(fault)
    if next_model is not None:
        shop.publish(next_model)
    seen, ready = load.run(requests), wire.get("/health/ready").status
    asked = plug.asked
    plug.pull(None)
    wrong = Counter({one: count for one, count in seen.items() if not right(service, version, *one)})
    if ready != (200 if service == "s3" else 503):  # without S3 all there is goes on, but for what is new there
        wrong["ready", ready] += 1
    concerned = sum(count for (kind, _), count in seen.items() if kind in PERSONAL or kind == "events")
    if fault == "hanging" and asked > concerned / 2:  # each of them costs somebody the time-out
        wrong["asked a service that hangs"] += asked
    return wrong


def right(service, version, kind, told):
    if kind == "events":
        return told == (202 if service == "s3" else 503)
    whole, degraded = (200, False, version), (200, True, version)
    if service == "dynamodb" and kind in PERSONAL:
        return told == degraded
    return told == whole or (told == degraded and service != "sqs")


def misplaced(shop, load):
    """Send what was refused once more; return what is then not in its one place in the online store and the log."""
    wrong = Counter()
    if load.send_again() - {202}:
        wrong["refused again"] += 1
    sent = defaultdict(list)
    for one in load.events.values():
        sent[one["user"]].append(one["event_id"])
    wrong["not once in the online store"] = sum(sorted(shop.stored(user)) != sorted(sent[user]) for user in USERS)
    wrong["not once in the log"] = int(sorted(shop.logged()) != sorted(load.events))
    return +wrong


def resources(process):
    """Return what a process uses."""
    folder = Path(f"/proc/{process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    files = len(list((folder / "fd").iterdir()))
    return {"threads": int(status["Threads"]), "files": files, "kib": int(status["VmRSS"].split()[0])}


def test_every_outage_of_every_service_under_load(aws, tmp_path, monkeypatch, model):
    models, wrong, used = itertools.cycle([fitted(seed=1), model]), {}, []
    with loaded(aws("ministack"), tmp_path, monkeypatch, model) as (shop, wire, load):
        for service, fault in Random(SEED).sample(OUTAGES, len(OUTAGES)):
            next_model = next(models) if service == "s3" else None
            found = outage(shop, wire, load, service, fault, -(-REQUESTS // len(OUTAGES)), next_model)
            await_recovery(shop, wire)
            used.append(resources(wire.process))
            if found:
                wrong[service, fault] = found
        assert wrong == {}
        assert misplaced(shop, load) == {}
    print(used)
    assert growth(used[len(OUTAGES) // 3], used[-1]) == {}


def growth(before, after):
    """Return what a process uses more of than clients and connections that come and go explain."""
    grown = {name: after[name] - before[name] for name in before}
    return {name: by for name, by in grown.items() if by > BOUNDS[name]}


PLANTED = {
    "an error nobody catches": "import recsys.serving.knowledge as one; one.StorageError = ZeroDivisionError",
    "everybody waits": "from recsys.aws.breaker import Breaker; Breaker._enter = lambda *_: None",
    "202 before the queue has it": "from recsys.aws.sqs import SqsEventQueue as one; from contextlib import suppress\n"
    "from recsys.errors import StorageError; send = one.send\n"
    "def quiet(*told):\n    with suppress(StorageError):\n        send(*told)\none.send = quiet",
}


@pytest.mark.parametrize(
    ("planted", "service", "fault", "symptom"),
    [
        ("an error nobody catches", "dynamodb", "refused", ("list", 503)),
        ("everybody waits", "dynamodb", "hanging", "asked a service that hangs"),
        ("202 before the queue has it", "sqs", "refused", ("events", 202)),
    ],
)
def test_planted_bugs_are_found(aws, tmp_path, monkeypatch, model, planted, service, fault, symptom):
    with loaded(aws("ministack"), tmp_path, monkeypatch, model, PLANTED[planted]) as (shop, wire, load):
        load.run(16)
        assert symptom in outage(shop, wire, load, service, fault, 64)
        await_recovery(shop, wire)
        lost = misplaced(shop, load)
        assert ("not once in the log" in lost) == planted.startswith("202")


def test_a_planted_leak_is_found(aws, tmp_path, monkeypatch, model):
    leak = """
import socket
from recsys.serving.knowledge import Knowledge
kept, nothing = [], Knowledge.nothing
def leaky(**told):
    kept.append((socket.socket(), socket.socket(), bytes(range(256)) * 400))
    return nothing(**told)
Knowledge.nothing = leaky
"""
    with loaded(aws("ministack"), tmp_path, monkeypatch, model, leak) as (shop, wire, load):
        used = []
        for _ in range(2):
            outage(shop, wire, load, "dynamodb", "refused", 160)
            used.append(resources(wire.process))
        assert growth(*used).keys() == {"files", "kib"}
