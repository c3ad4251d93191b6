"""DynamoDB and SQS by the standard library: signed JSON over kept connections, loaded in a fraction of boto3's time."""

from __future__ import annotations

import json
import os
import re
import time
import weakref
import zlib
from base64 import b64decode, b64encode
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Any

from recsys.aws.client import CONNECT_S, READ_S, UNREACHABLE, AwsError, repeated
from recsys.aws.sigv4 import Keys, signed
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext

_TARGETS = {"dynamodb": "DynamoDB_20120810", "sqs": "AmazonSQS"}
_Request = tuple[str, str, bytes, dict[str, str]]


class SignedClient:
    """See `Client`.

    Parameters
    ----------
    service : str
        ``dynamodb`` or ``sqs``; AWS_ENDPOINT_URL_DYNAMODB (or _SQS) and AWS_ENDPOINT_URL lead elsewhere.
    keys : Keys
    region : str
    """

    def __init__(self, service: str, keys: Keys, region: str) -> None:
        self._service, self._keys, self._region = service, keys, region
        url = os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or os.environ.get("AWS_ENDPOINT_URL")
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        self._scheme, self._host = _endpoint(url or f"https://{service}.{region}.{suffix}")
        self._idle: list[HTTPConnection] = []
        weakref.finalize(self, _close_all, self._idle)

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """See `Client.call`."""
        body = json.dumps(parameters, default=_text_of).encode()
        return repeated(self._service, lambda: self._once(operation, body))

    def close(self) -> None:
        """See `Client.close`."""
        _close_all(self._idle)

    def _once(self, operation: str, body: bytes) -> dict[str, Any]:
        target = f"{_TARGETS[self._service]}.{operation}"
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": target}
        response, data = self._answer(operation, "POST", "/", headers, body)
        if response.status != 200:
            raise _refused(operation, response, data)
        try:
            return _object(response, data)
        except (ValueError, RecursionError) as error:
            raise AwsError(operation, UNREACHABLE, f"the answer cannot be read: {error}") from error

    def _answer(
        self, operation: str, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[HTTPResponse, bytes]:
        told = {**headers, "host": self._host}
        keys, region, service = self._keys, self._region, self._service
        told = signed(keys, region, service, told, body, at_s=time.time(), method=method, path=path)
        try:
            return self._exchanged((method, path, body, told))
        except (OSError, HTTPException) as error:
            raise AwsError(operation, UNREACHABLE, str(error) or type(error).__name__) from error

    def _exchanged(self, request: _Request) -> tuple[HTTPResponse, bytes]:
        """Send and receive; at once again on a new connection where a kept one turns out to be closed."""
        kept = _popped(self._idle)
        if kept is not None:
            try:
                return self._exchanged_over(kept, request)
            except (OSError, HTTPException) as error:
                self.close()  # what happened to one kept connection has happened to its like
                if isinstance(error, TimeoutError):
                    raise
        connection = self._new()
        connection.connect()
        connection.sock.settimeout(READ_S)
        return self._exchanged_over(connection, request)

    def _exchanged_over(self, connection: HTTPConnection, request: _Request) -> tuple[HTTPResponse, bytes]:
        try:
            connection.request(*request)
            response = connection.getresponse()
            data = response.read()
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:  # the server keeps it too
            self._idle.append(connection)
        return response, data

    def _new(self) -> HTTPConnection:
        if self._scheme == "http":
            return HTTPConnection(self._host, timeout=CONNECT_S)
        return HTTPSConnection(self._host, timeout=CONNECT_S, context=self._certificates)

    @cached_property
    def _certificates(self) -> SSLContext:
        """Read once: it takes longer than a call."""
        from ssl import create_default_context

        bundle = os.environ.get("AWS_CA_BUNDLE")
        try:
            return create_default_context(cafile=bundle or None)
        except OSError as error:
            raise ConfigError(f"AWS_CA_BUNDLE={bundle!r} cannot be used: {error.strerror or error}") from None


def _popped(idle: list[HTTPConnection]) -> HTTPConnection | None:
    try:
        return idle.pop()
    except IndexError:  # never asked first: another thread may take the last one
        return None


def _close_all(idle: list[HTTPConnection]) -> None:
    while (connection := _popped(idle)) is not None:
        connection.close()


def _endpoint(url: str) -> tuple[str, str]:
    found = re.fullmatch(r"(https?)://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?", url, re.ASCII | re.IGNORECASE)
    if not found:  # it is not quoted, for people write passwords before the host
        raise ConfigError("AWS_ENDPOINT_URL cannot be used: it is http(s)://HOST[:PORT], and nothing else")
    return found[1].lower(), f"{found[2]}{found[3] or ''}"


def _object(response: HTTPResponse, data: bytes) -> dict[str, Any]:
    """Return the object of an answer, `ValueError` if it is none or not what was sent."""
    checksum = response.headers.get("x-amz-crc32")
    if checksum is not None and int(checksum) != zlib.crc32(data):
        raise ValueError("its checksum differs")
    answer = json.loads(data, object_hook=_bytes_of)
    if not isinstance(answer, dict):
        raise ValueError("it is no object")
    return answer


def _refused(operation: str, response: HTTPResponse, data: bytes) -> AwsError:
    try:
        answer = _object(response, data)
    except (ValueError, RecursionError):  # not from the service itself, but from something before it
        answer = {}
    named = response.headers.get("x-amzn-query-error") or answer.get("__type") or f"Http{response.status}"
    code = str(named).partition(";")[0].rpartition("#")[2]
    message = answer.get("message") or answer.get("Message") or ""
    return AwsError(operation, code, str(message), {**answer, "ResponseMetadata": {"HTTPStatusCode": response.status}})


def _text_of(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is not a parameter")


def _bytes_of(value: dict[str, Any]) -> dict[str, Any]:
    """Decode DynamoDB's binary, the only object with the one key B and text below it."""
    if value.keys() == {"B"} and isinstance(value["B"], str):
        return {"B": b64decode(value["B"])}
    return value
