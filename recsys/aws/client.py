"""One way to call AWS: an operation by its name, parameters and answer as boto3 has them, typed errors."""

from __future__ import annotations

from typing import Any, Protocol

from recsys.errors import StorageError


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
        super().__init__(f"{operation} failed: {code}: {message}")


class Client(Protocol):
    """Calls one service."""

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation by its API name (``PutItem``); a Body comes as bytes. Raises `AwsError`."""


class BotoClient:
    """Calls through boto3: knows every service and every source of credentials, and takes half a second to load.

    Parameters
    ----------
    service : str
        ``dynamodb``, ``sqs``, ...; region, endpoint and credentials come from the environment as boto3 reads it.
    """

    def __init__(self, service: str) -> None:
        import boto3
        from botocore.config import Config

        config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
        self._client = boto3.client(service, config=config)

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """See `Client.call`."""
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = getattr(self._client, xform_name(operation))(**parameters)
            return answer | {"Body": answer["Body"].read()} if "Body" in answer else answer
        except ClientError as error:
            told: dict[str, Any] = error.response
            raise AwsError(operation, told["Error"]["Code"], told["Error"].get("Message", ""), told) from error
        except BotoCoreError as error:
            raise AwsError(operation, "Unreachable", str(error)) from error
