"""AWS stand-ins on loopback: moto's server and ministack, each a process of its own on a free port."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

CLOUDS = ("moto", "ministack")
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
# moto looks, then writes, without a lock, and undoes a refused transaction by putting back a copy of the whole table:
# of two at once one is lost, which DynamoDB never does. So it serves one request at a time. It copies every item for
# each action, seconds for a thousand events; items are replaced, never changed, so one copy of their places will do.
_MOTO = """
import copy, threading, moto.server as server
from moto.dynamodb.models.table import Table
serve, turn, copies = server.DomainDispatcherApplication.__call__, threading.Lock(), {}
def one_at_a_time(*request):
    with turn:
        copies.clear()
        return serve(*request)
def copy_of_places(table, memo):
    if id(table) not in copies:
        copies[id(table)] = twin = copy.copy(table)
        twin.items = copy.copy(table.items)
        twin.items.update((key, copy.copy(items)) for key, items in table.items.items())
    return copies[id(table)]
server.DomainDispatcherApplication.__call__ = one_at_a_time
Table.__deepcopy__ = copy_of_places
server.main()
"""
# With AUTH, ministack holds every call against signature and policies, as AWS does; what it decided is written down. It
# runs Lambda functions in Python by the interpreter it takes for its own.
_ACCOUNT = """
import sys
from ministack import app
from ministack.core import iam_evaluator
sys.executable, decisions, evaluate = sys.argv.pop(1), open(sys.argv.pop(1), "a", buffering=1), iam_evaluator.evaluate
def told(context, *policies):
    found = evaluate(context, *policies)
    print(context.principal_arn.split("/")[1], context.action, context.resource_arn, found.decision, file=decisions)
    return found
iam_evaluator.evaluate = told
app.main()
"""
_BIN = Path(sys.executable).parent
_PATIENCE_S = 60


class Aws:
    """Makes what a test needs, each time a new one."""

    def bucket(self):
        name = f"bucket-{uuid.uuid4().hex}"
        place = {"LocationConstraint": os.environ["AWS_REGION"]}
        self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=place)
        return name

    def table(self):
        name = f"table-{uuid.uuid4().hex}"
        client = self.client("dynamodb")
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        expiry = {"Enabled": True, "AttributeName": "expires"}
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=expiry)
        return name

    def client(self, service):
        import boto3

        return boto3.client(service)


@contextmanager
def cloud(name):
    """Start a stand-in; gives the environment a client needs to reach it."""
    with serving(_moto if name == "moto" else _ministack) as url:
        yield KEYS | {"AWS_ENDPOINT_URL": url}


@contextmanager
def account(python, decisions):
    """Start ministack with rights, told one a line to a file, and an interpreter for Lambda functions."""

    def command(port):
        _, environment = _ministack(port)
        return [sys.executable, "-c", _ACCOUNT, python, decisions], environment | {"AUTH": "true"}

    with serving(command) as url:
        yield KEYS | {"AWS_ENDPOINT_URL": url}


@contextmanager
def serving(command_of):
    """Start a server by the command and environment `command_of` gives for a port; gives its URL once it answers."""
    port = _free_port()
    command, extra = command_of(str(port))
    url = f"http://127.0.0.1:{port}"
    with TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | KEYS | extra)
        try:
            _await_answer(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)


def _moto(port):
    return [sys.executable, "-c", _MOTO, "-H", "127.0.0.1", "-p", port], {}


def _ministack(port):
    # Its broker for devices would listen at a fixed port of every address.
    return [_BIN / "ministack"], {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": port, "IOT_MTLS_ENABLED": "0"}


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_answer(url, process):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with direct.open(url, timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, "the stand-in ended"
            assert time.monotonic() < until, "the stand-in does not answer"
            time.sleep(0.05)
