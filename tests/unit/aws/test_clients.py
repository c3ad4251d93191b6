"""Clients against a server that fails: what passes is tried again, what does not is told at once, and nothing hangs."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from subprocess import run
from threading import Event

import pytest
from clouds import KEYS
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from faulty import THROTTLED, server

from recsys.aws import client, signed
from recsys.aws.client import AwsError, BotoClient, connect
from recsys.aws.signed import SignedClient
from recsys.errors import ConfigError

KEY = {"pk": {"S": "a"}, "sk": {"S": "b"}}
FAULTS = {
    "throttled": lambda exchange: exchange.reply(THROTTLED, 400),
    "internal error": lambda exchange: exchange.reply(b'{"__type": "x#InternalServerError"}', 500),
    "reset": lambda exchange: exchange.reset(),
}
GARBLED = {
    "a page": lambda exchange: exchange.reply(b"<html>busy</html>", 503),
    "a page that says OK": lambda exchange: exchange.reply(b"<html>"),
    "no object": lambda exchange: exchange.reply(b"[]"),
    "nothing": lambda exchange: exchange.reply(b""),
    "endless brackets": lambda exchange: exchange.reply(b"[" * 100_000),
    "broken text": lambda exchange: exchange.reply(b'{"a": "\xff"}'),
    "another checksum": lambda exchange: exchange.reply(b"{}", x_amz_crc32=1),
    "no checksum": lambda exchange: exchange.reply(b"{}", x_amz_crc32="x"),
    "cut": lambda exchange: (exchange.reply(b'{"Item"', content_length=100), exchange.hang_up()),
    "no HTTP": lambda exchange: (exchange.wfile.write(b"hello\r\n\r\n"), exchange.hang_up()),
}
EMPTY_TO_BOTO = {"a page that says OK", "no object", "nothing"}  # which takes them for an empty answer
CASES = [
    pytest.param(kind, fault, id=f"{kind.__name__}-{fault}")
    for kind in (SignedClient, BotoClient)
    for fault in FAULTS | GARBLED
    if kind is SignedClient or fault not in EMPTY_TO_BOTO
]


@pytest.fixture
def start(monkeypatch):
    """Start a server that answers with a function's doing, and a client of it, whose tries are what ends it."""
    opened = []
    for service in ("dynamodb", "sqs"):
        monkeypatch.setitem(client._PATIENCE_S, service, 60.0)

    def begin(answer, kind=connect, service="dynamodb"):
        opened.append(server(answer))
        for variable, value in {**KEYS, "AWS_ENDPOINT_URL": opened[-1].__enter__(), "AWS_SESSION_TOKEN": "T"}.items():
            monkeypatch.setenv(variable, value)
        opened.append(closing(kind(service)))
        return opened[-1].__enter__()

    yield begin
    for one in reversed(opened):
        one.__exit__(None, None, None)


class Failing:
    """Fails some times, then says what it was asked."""

    def __init__(self, fault, times):
        self.fault, self.times, self.asked = fault, times, 0

    def __call__(self, exchange, body):
        self.asked += 1
        if self.asked <= self.times:
            return self.fault(exchange)
        return exchange.reply(json.dumps({"Item": {"asked": {"S": body.decode()}}}).encode())


@pytest.mark.parametrize(("kind", "fault"), CASES)
def test_what_may_pass_is_tried_again(start, kind, fault):
    failing = Failing((FAULTS | GARBLED)[fault], 2)
    client = start(failing, connect if kind is SignedClient else kind)
    assert isinstance(client, kind)
    (asked,) = client.call("GetItem", TableName="t", Key=KEY)["Item"].values()
    assert json.loads(asked["S"]) == {"TableName": "t", "Key": KEY}
    assert failing.asked == 3


@pytest.mark.parametrize(("kind", "fault"), CASES)
def test_what_does_not_pass_ends(start, kind, fault):
    failing = Failing((FAULTS | GARBLED)[fault], 100)
    client = start(failing, connect if kind is SignedClient else kind)
    with pytest.raises(AwsError, match=r"^GetItem failed: ") as caught:
        client.call("GetItem", TableName="t", Key=KEY)
    assert caught.value.transient
    assert failing.asked == 4


@pytest.mark.parametrize("kind", [connect, BotoClient])
def test_a_refusal_is_told_at_once_with_its_reasons(start, kind):
    old = {"Code": "ConditionalCheckFailed", "Item": {"packed": {"B": "AAH/"}}}
    told = {"__type": "a.b#TransactionCanceledException", "Message": "no", "CancellationReasons": [old]}
    failing = Failing(lambda exchange: exchange.reply(json.dumps(told).encode(), 400), 100)
    client = start(failing, kind)
    with pytest.raises(AwsError, match="TransactWriteItems failed: TransactionCanceledException: no") as caught:
        client.call("TransactWriteItems", TransactItems=[{"Delete": {"TableName": "t", "Key": KEY}}])
    assert not caught.value.transient
    assert caught.value.answer["CancellationReasons"][0]["Item"] == {"packed": {"B": b"\0\1\xff"}}
    assert failing.asked == 1


@pytest.mark.parametrize("kind", [connect, BotoClient])
def test_an_error_of_a_queue_has_the_name_boto3_gives_it(start, kind):
    told = json.dumps({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"}).encode()
    name = "AWS.SimpleQueueService.NonExistentQueue"
    client = start(lambda exchange, _: exchange.reply(told, 400, x_amzn_query_error=f"{name};Sender"), kind, "sqs")
    with pytest.raises(AwsError, match=f"GetQueueUrl failed: {name}: gone"):
        client.call("GetQueueUrl", QueueName="q")


@pytest.mark.parametrize("kind", [connect, BotoClient])
def test_nobody_waits_for_a_server_that_hangs(start, monkeypatch, kind):
    over = Event()
    for module in (client, signed):
        monkeypatch.setattr(module, "READ_S", 0.05)
    failing = Failing(lambda exchange: (over.wait(30), exchange.hang_up()), 100)
    with pytest.raises(AwsError, match=r"Unreachable: .*timed? ?out") as caught:
        start(failing, kind).call("GetItem", TableName="t", Key=KEY)
    over.set()
    assert caught.value.transient
    assert failing.asked == 4


@pytest.mark.parametrize("kind", [connect, BotoClient])
def test_patience_ends(start, monkeypatch, kind):
    monkeypatch.setitem(client._PATIENCE_S, "dynamodb", 0.0)
    failing = Failing(FAULTS["internal error"], 100)
    with pytest.raises(AwsError, match="InternalServerError"):
        start(failing, kind).call("GetItem", TableName="t", Key=KEY)
    assert failing.asked == 1


@pytest.mark.parametrize("kind", [connect, BotoClient])
def test_nobody_waits_for_a_server_that_is_not_there(fresh_boto3, monkeypatch, kind):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with closing(kind("dynamodb")) as caller, pytest.raises(AwsError, match="Unreachable") as caught:
        caller.call("GetItem", TableName="t", Key=KEY)
    assert caught.value.transient


def test_a_connection_serves_call_after_call_and_another_after_it_was_closed(start, monkeypatch):
    monkeypatch.setattr("recsys.aws.client._MOST_TRIES", 1)
    ports, hang_up = [], []

    def answer(exchange, _):
        ports.append(exchange.client_address[1])
        if hang_up:  # before the answer: with it the client goes on, and the test with it
            exchange.hang_up()
        exchange.reply(b"{}")

    client = start(answer)
    for _ in range(3):
        client.call("GetItem")
    assert len(set(ports)) == 1
    hang_up.append(True)
    for _ in range(3):
        client.call("GetItem")
    assert len(ports) == 6
    assert len(set(ports)) == 3


def test_a_kept_connection_that_hangs_is_not_asked_again_at_once(start, monkeypatch):
    monkeypatch.setattr("recsys.aws.client._MOST_TRIES", 1)
    over, asked = Event(), []

    def answer(exchange, _):
        asked.append(exchange)
        if len(asked) == 2:
            over.wait(30)
        exchange.reply(b"{}")

    monkeypatch.setattr(signed, "READ_S", 0.5)
    caller = start(answer)
    caller.call("GetItem")
    with pytest.raises(AwsError, match="Unreachable: timed out"):
        caller.call("GetItem")
    over.set()
    assert len(asked) == 2


def test_what_is_no_parameter_is_refused(start):
    with pytest.raises(TypeError, match="object is not a parameter"):
        start(lambda exchange, _: exchange.reply(b"{}")).call("GetItem", Key=object())
    with pytest.raises(AwsError, match="ParamValidationError") as caught:
        start(lambda exchange, _: exchange.reply(b"{}"), BotoClient).call("GetItem", TableName="t", Key=1)
    assert not caught.value.transient


def test_threads_get_the_answers_to_their_own_calls(start):
    failing = Failing(lambda exchange: exchange.reset(), 5)
    client = start(failing)

    def ask(number):
        return json.loads(client.call("GetItem", n=number)["Item"]["asked"]["S"])["n"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(400))) == list(range(400))


def test_the_keys_are_shown_with_their_token_and_binary_goes_as_base64(start):
    seen = []
    client = start(lambda exchange, body: (seen.append((exchange.headers, body)), exchange.reply(b"{}")))
    client.call("PutItem", Item={"packed": {"B": b"\0\1\xff"}})
    ((headers, body),) = seen
    assert headers["x-amz-security-token"] == "T"
    assert headers["x-amz-target"] == "DynamoDB_20120810.PutItem"
    assert json.loads(body) == {"Item": {"packed": {"B": "AAH/"}}}


def certificate(path):
    """Write a key and a certificate of 127.0.0.1 that signs itself; return what a server shows it with."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    signed_by_itself = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + signed_by_itself.public_bytes(Encoding.PEM))
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize("trusted_by", ["SSL_CERT_FILE", "AWS_CA_BUNDLE"])
def test_a_server_is_called_by_https_if_its_certificate_is_trusted(monkeypatch, tmp_path, trusted_by):
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    with server(lambda exchange, _: exchange.reply(b"{}"), tls=certificate(tmp_path / "pem")) as url:
        for variable, value in {**KEYS, "AWS_ENDPOINT_URL": url, trusted_by: str(tmp_path / "pem")}.items():
            monkeypatch.setenv(variable, value)
        with closing(connect("dynamodb")) as client:
            assert client.call("GetItem") == client.call("GetItem") == {}
        monkeypatch.delenv(trusted_by)
        with closing(connect("dynamodb")) as client, pytest.raises(AwsError, match=r"Unreachable: .*CERTIFICATE"):
            client.call("GetItem")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none"))
        with closing(connect("dynamodb")) as client, pytest.raises(ConfigError, match=r"AWS_CA_BUNDLE=.*No such file"):
            client.call("GetItem")


@pytest.fixture
def fresh_boto3(monkeypatch):
    """Without what boto3 keeps for the process: the keys it found first."""
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    for variable, value in KEYS.items():
        monkeypatch.setenv(variable, value)


def test_boto3_is_asked_where_the_environment_holds_no_keys(fresh_boto3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert isinstance(connect("dynamodb"), BotoClient)


@pytest.mark.parametrize("name", client._ASKS_FOR_BOTO)
def test_boto3_is_asked_where_only_it_does_as_it_is_told(fresh_boto3, monkeypatch, name):
    assert isinstance(connect("dynamodb"), SignedClient)
    monkeypatch.setenv(name, "http://127.0.0.1:1" if "PROXY" in name.upper() else "true")
    assert isinstance(connect("dynamodb"), BotoClient)


def test_half_a_key_is_named(fresh_boto3, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="missing: AWS_SECRET_ACCESS_KEY"):
        connect("dynamodb")


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x", "http://", "http://x/path", "http://[x", "http://me:hidden@x", "http://x\n"]
)
def test_an_endpoint_that_is_none_is_named_and_no_password_in_it(monkeypatch, url):
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL") as caught:
        SignedClient("dynamodb", signed.Keys("a", "b"), "eu-central-1")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "HTTPS://some_host/", "http://[::1]:80"])
def test_an_endpoint_that_is_one_is_taken(monkeypatch, url):
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    SignedClient("dynamodb", signed.Keys("a", "b"), "eu-central-1").close()


@pytest.mark.parametrize("kind", [connect, BotoClient])
@pytest.mark.parametrize("region", ["eu central", "x.example/", "eu-central-1\n"])
def test_a_region_that_is_none_is_named(monkeypatch, kind, region):
    for variable, value in {**KEYS, "AWS_REGION": region}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match="AWS_REGION="):
        kind("dynamodb")


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize("sign", ["\n", "\r", " ", "\u00e9"])
def test_a_key_that_breaks_a_header_is_named_and_not_shown(monkeypatch, variable, sign):
    """The standard library quotes it in its error, and that would be in the log."""
    for name, value in {**KEYS, variable: f"hidden{sign}"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=variable) as caught:
        connect("dynamodb")
    assert "hidden" not in str(caught.value)


def test_a_missing_region_is_named(monkeypatch, tmp_path):
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="AWS_REGION"):
        connect("dynamodb")


def test_the_online_store_of_a_container_loads_no_boto3():
    code = (
        "import sys; from recsys.stores import online_store; online_store('dynamodb://t');"
        "sys.exit('botocore' in sys.modules or 'urllib3' in sys.modules)"
    )
    assert run([sys.executable, "-c", code], env=KEYS, timeout=60).returncode == 0
