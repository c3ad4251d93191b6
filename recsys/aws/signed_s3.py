"""S3 as a container that starts needs it: signed downloads by the standard library, the rest by boto3."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from typing import Any
from urllib.parse import quote

from recsys.aws.client import UNREACHABLE, AwsError, BotoClient, repeated
from recsys.aws.signed import SignedClient
from recsys.aws.sigv4 import Keys

_NOTHING = hashlib.sha256(b"").hexdigest()


class SignedS3Client(SignedClient):
    """See `Client`. GetObject of a Range is signed here; any other call loads boto3.

    Parameters
    ----------
    keys : Keys
    region : str
    """

    def __init__(self, keys: Keys, region: str) -> None:
        super().__init__("s3", keys, region)

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """See `Client.call`."""
        if operation != "GetObject":
            return self._boto.call(operation, **parameters)
        return repeated("s3", lambda: self._part(**parameters))

    def close(self) -> None:
        """See `Client.close`."""
        super().close()
        if "_boto" in vars(self):
            self._boto.close()

    @cached_property
    def _boto(self) -> BotoClient:
        return BotoClient("s3")

    def _part(self, Bucket: str, Key: str, Range: str) -> dict[str, Any]:
        # The bucket in the path, not in the host: kept connections and certificates serve any bucket.
        path = f"/{quote(Bucket)}/{quote(Key)}"
        headers = {"range": Range, "x-amz-content-sha256": _NOTHING}
        response, data = self._answer("GetObject", "GET", path, headers, b"")
        if response.status == 206:
            span = response.headers.get("content-range", "")
            if not span.rpartition("/")[2].isdecimal():
                raise AwsError("GetObject", UNREACHABLE, "the answer cannot be read: it does not say which part it is")
            return {"Body": data, "ContentRange": span}
        told = {"ResponseMetadata": {"HTTPStatusCode": response.status}}
        code = _told(data, "Code") or f"Http{response.status}"
        raise AwsError("GetObject", code, _told(data, "Message"), told)


def _told(document: bytes, field: str) -> str:
    found = re.search(rf"<{field}>(.*?)</{field}>", document.decode(errors="replace"))
    return found[1] if found else ""
