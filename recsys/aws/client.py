"""One way to call AWS: an operation by its name, parameters and answer as boto3 has them, typed errors."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from recsys.errors import ConfigError, StorageError

UNREACHABLE = "Unreachable"
_TRANSIENT = {
    UNREACHABLE,
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "ThrottlingException",
    "TransactionInProgressException",
}
_REMEDIES = {
    "ResourceNotFoundException": "Create the table as the deployment's template does, or correct its name",
    # DynamoDB and SQS say it one way, S3 another.
    **dict.fromkeys(
        ("AccessDeniedException", "AccessDenied"), "Give this role the right to it, as the deployment's policies do"
    ),
    **dict.fromkeys(("ExpiredTokenException", "ExpiredToken"), "Renew the credentials, and start again with them"),
    **dict.fromkeys(("UnrecognizedClientException", "InvalidAccessKeyId"), "Correct the credentials"),
    **dict.fromkeys(
        ("InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed"),
        "Correct the credentials, or the clock of this machine",
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed"), "Set AWS_REGION to the region of the bucket"
    ),
}
_ASKS_FOR_BOTO = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "HTTPS_PROXY", "https_proxy")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
CONNECT_S, READ_S = 1.0, 2.0
_MOST_TRIES = 4
_PATIENCE_S = {"dynamodb": 2.0, "sqs": 2.0, "s3": 20.0}  # a part takes its time


class AwsError(StorageError):
    """AWS refused, or could not be reached.

    Parameters
    ----------
    operation : str
    code : str
        As the service names it: ``ConditionalCheckFailedException``; ``Unreachable`` where no answer came.
    message : str
    answer : dict
        What the service said besides, such as CancellationReasons.
    """

    def __init__(self, operation: str, code: str, message: str, answer: dict[str, Any] | None = None) -> None:
        self.operation = operation
        self.code = code
        self.answer = answer or {}
        remedy = f". {_REMEDIES[code]}" if code in _REMEDIES else ""
        super().__init__(f"{operation} failed: {code}: {message}{remedy}")

    @property
    def transient(self) -> bool:
        """The same call may succeed a little later: throttled, out of reach, or the service's own fault."""
        status: int = self.answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return self.code in _TRANSIENT or status >= 500


class Client(Protocol):
    """Calls one service; any number of threads may share it."""

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation by its API name (``PutItem``); a Body comes as bytes. Raises `AwsError`.

        What is `AwsError.transient` has been tried again, at most three times and for 2 s, of S3 20 s: a call may have
        been applied more than once. A try waits 1 s to connect and 2 s for an answer.
        """

    def close(self) -> None:
        """Give connections back; the next call opens them again."""


def connect(service: str) -> Client:
    """Return a client for dynamodb, s3 or sqs: a light one where the environment holds keys and a region.

    Not where it asks for endpoints or a proxy, which only boto3 knows. Both trust AWS_CA_BUNDLE where it names a file.
    """
    from recsys.aws.signed import SignedClient
    from recsys.aws.signed_s3 import SignedS3Client
    from recsys.aws.sigv4 import Keys

    keys, region = Keys.from_environment(), _region()
    if not (keys and region) or any(os.environ.get(name) for name in _ASKS_FOR_BOTO):
        return BotoClient(service)
    return SignedS3Client(keys, region) if service == "s3" else SignedClient(service, keys, region)


def tries(seconds: float) -> Iterator[int]:
    """Yield 0, 1, ...: at once, then after pauses that double, with full jitter; none begins after `seconds`."""
    until = time.monotonic() + seconds
    number = 0
    while True:
        yield number
        pause = random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**number))
        if time.monotonic() + pause > until:
            return
        time.sleep(pause)
        number += 1


def repeated(service: str, once: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Call again what is refused for a while, as `Client.call` says."""
    for number in tries(_PATIENCE_S[service]):
        try:
            return once()
        except AwsError as error:
            refusal = error
        if not refusal.transient or number + 1 == _MOST_TRIES:
            break
    raise refusal


class BotoClient:
    """Calls through boto3: knows every source of credentials, and takes half a second to load.

    S3 has 5 s for an answer: it stores what it was sent before it gives one.

    Parameters
    ----------
    service : str
        ``dynamodb``, ``s3`` or ``sqs``; region, endpoint and credentials come from the environment as boto3 reads it.

    Raises
    ------
    ConfigError
        If there is no region, or half a key.
    """

    def __init__(self, service: str) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        wait_s = 5.0 if service == "s3" else READ_S
        config = Config(connect_timeout=CONNECT_S, read_timeout=wait_s, retries={"total_max_attempts": 1})
        self._service = service
        try:
            self._client = boto3.client(service, region_name=_region(), config=config)
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(
                f"AWS cannot be called: {error}. Set AWS_REGION, or correct AWS_ENDPOINT_URL, AWS_PROFILE or the keys"
            ) from error

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """See `Client.call`."""
        return repeated(self._service, lambda: self._once(operation, parameters))

    def close(self) -> None:
        """See `Client.close`."""
        self._client.close()

    def _once(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        from botocore import exceptions as boto
        from botocore import xform_name
        from botocore.parsers import ResponseParserError

        try:
            answer: dict[str, Any] = getattr(self._client, xform_name(operation))(**parameters)
            return answer | {"Body": answer["Body"].read()} if "Body" in answer else answer
        except boto.ClientError as error:
            told: dict[str, Any] = error.response
            raise AwsError(operation, told["Error"]["Code"], told["Error"].get("Message", ""), told) from error
        except (boto.ConnectionError, boto.HTTPClientError) as error:
            raise AwsError(operation, UNREACHABLE, str(error)) from error
        except (boto.ChecksumError, boto.IncompleteReadError, ResponseParserError, ValueError, RecursionError) as error:
            raise AwsError(operation, UNREACHABLE, f"the answer cannot be read: {error}") from error
        except boto.BotoCoreError as error:
            raise AwsError(operation, type(error).__name__, str(error)) from error


def _region() -> str | None:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region and not re.fullmatch("[a-z0-9-]+", region):  # it becomes part of a host's name, and of a header
        raise ConfigError(f"AWS_REGION={region!r} is no region, such as eu-central-1")
    return region
