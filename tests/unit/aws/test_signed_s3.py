"""Downloads by the light client: signed as botocore signs them, tried again when they break, refused by their name."""

import os
import sys
from collections import Counter
from contextlib import closing
from subprocess import run

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from clouds import KEYS
from faulty import server

from recsys.artifacts import describe
from recsys.aws.client import AwsError, BotoClient, connect
from recsys.aws.signed_s3 import SignedS3Client
from recsys.stores import artifact_store

REFUSAL = b"<?xml version='1.0'?>\n<Error><Code>%s</Code><Message>as it is said</Message></Error>"
BREAKS = {
    "internal error": lambda exchange: exchange.reply(REFUSAL % b"InternalError", 500),
    "slow down": lambda exchange: exchange.reply(REFUSAL % b"SlowDown", 503),
    "a page": lambda exchange: exchange.reply(b"<html>busy</html>", 502),
    "part of what": lambda exchange: exchange.reply(b"part", 206),
    "part of a page": lambda exchange: exchange.reply(b"part", 206, content_range="<html>"),
    "reset": lambda exchange: exchange.reset(),
    "cut": lambda exchange: (exchange.reply(b"par", 206, content_length=4), exchange.hang_up()),
}


@pytest.fixture
def ask(monkeypatch):
    """Ask for a part of an object, from a server that answers with a function's doing."""

    def download(answer, kind=connect):
        with server(answer) as url:
            for variable, value in {**KEYS, "AWS_ENDPOINT_URL": url, "AWS_SESSION_TOKEN": "T/+="}.items():
                monkeypatch.setenv(variable, value)
            with closing(kind("s3")) as client:
                assert isinstance(client, SignedS3Client if kind is connect else BotoClient)
                return client.call("GetObject", Bucket="models", Key="a prefix/ü+~.npy", Range="bytes=0-3")

    return download


def part(exchange, _=None):
    exchange.reply(b"part", 206, content_range="bytes 0-3/99")


def test_a_part_comes_with_the_length_of_the_whole_and_is_asked_for_as_boto3_does(ask):
    asked = []
    assert ask(lambda exchange, _: (asked.append(exchange), part(exchange))) == {
        "Body": b"part",
        "ContentRange": "bytes 0-3/99",
    }
    (exchange,) = asked
    headers = {name.lower(): value for name, value in exchange.headers.items()}
    signature = headers.pop("authorization")
    signed = {name: headers[name] for name in signature.partition("SignedHeaders=")[2].partition(",")[0].split(";")}
    request = AWSRequest("GET", f"http://{headers['host']}{exchange.path}", headers=signed)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = botocore.auth.S3SigV4Auth(Credentials("testing", "testing", "T/+="), "s3", KEYS["AWS_REGION"])
    assert signature.endswith(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
    assert {"host", "range", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"} == set(signed)
    assert exchange.path == "/models/a%20prefix/%C3%BC%2B~.npy"


@pytest.mark.parametrize("fault", BREAKS)
def test_a_part_that_breaks_is_asked_for_again(ask, fault):
    answers = [lambda exchange, _: BREAKS[fault](exchange)] * 2 + [part]
    assert ask(lambda exchange, body: answers.pop(0)(exchange, body))["Body"] == b"part"
    assert not answers


@pytest.mark.parametrize("fault", ["internal error", "cut"])
def test_boto3_asks_again_too(ask, fault):
    answers = [lambda exchange, _: BREAKS[fault](exchange), part]
    assert ask(lambda exchange, body: answers.pop(0)(exchange, body), BotoClient)["Body"] == b"part"
    assert not answers


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchKey"), (403, "AccessDenied"), (416, "InvalidRange")])
def test_a_refusal_is_told_at_once(ask, status, code):
    asked = []
    with pytest.raises(AwsError, match=f"GetObject failed: {code}: as it is said") as caught:
        ask(lambda exchange, _: (asked.append(1), exchange.reply(REFUSAL % code.encode(), status)))
    assert caught.value.code == code
    assert len(asked) == 1


def test_a_server_that_does_not_know_ranges_is_refused(ask):
    with pytest.raises(AwsError, match="Http200"):
        ask(lambda exchange, _: exchange.reply(b"all of it"))


def test_connections_of_either_kind_are_kept_until_they_are_given_back(monkeypatch):
    asked = []

    def answer(exchange, _):
        asked.append(exchange.client_address)
        part(exchange) if "range" in exchange.headers else exchange.reply(b"<ListBucketResult/>")

    with server(answer) as url:
        for variable, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(variable, value)
        client = connect("s3")
        for _ in range(2):
            for _ in range(3):
                client.call("ListObjectsV2", Bucket="models")
                client.call("GetObject", Bucket="models", Key="k", Range="bytes=0-3")
            client.close()
    assert sorted(Counter(asked).values()) == [3, 3, 3, 3]


def test_a_container_opens_a_version_without_boto3(aws, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_ARTIFACTS", f"s3://{aws('moto').bucket()}/models")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    described = describe("shop", "als", {}, config={}, data={}, metrics={})
    artifact_store(os.environ["RECSYS_ARTIFACTS"]).put(described, {})
    program = f"""
import os
import sys
from recsys.stores import artifact_store, setting
artifact_store(setting("RECSYS_ARTIFACTS")).open("shop", {described.version!r})
print({{"boto3", "botocore", "shutil"}} & set(sys.modules))
"""
    done = run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("set()\n", "")
