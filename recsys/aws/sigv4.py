"""AWS Signature Version 4 of a request without a query, by the standard library.

`botocore.auth` gives the same bytes, and is what the tests hold this against; but it cannot be imported without
urllib3, dateutil and most of botocore, which takes longer than everything else a first call does.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys.errors import ConfigError


@dataclass(frozen=True)
class Keys:
    """What a caller proves itself with: `session_token` belongs to the keys of a role."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls) -> Keys | None:
        """Return the keys Lambda and a shell have as variables, None where there are none.

        Raises `ConfigError` where one would break a header: the error of the standard library quotes it.
        """
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        access, secret, token = (os.environ.get(name) for name in names)
        for name, value in zip(names, (access, secret, token), strict=True):
            if value and not re.fullmatch("[!-~]+", value):
                raise ConfigError(f"{name} holds a space, a line end or a sign beyond ASCII. Export it as it was given")
        return Keys(access, secret, token or None) if access and secret else None


def signed(
    keys: Keys,
    region: str,
    service: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    at_s: float,
    method: str = "POST",
    path: str = "/",
) -> dict[str, str]:
    """Return the headers, names in lower case and `host` among them, with date, token and signature.

    The path is encoded as it is sent.
    See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_s))
    told = {**headers, "x-amz-date": stamp}
    if keys.session_token:
        told["x-amz-security-token"] = keys.session_token
    names = sorted(told)
    lines = "".join(f"{name}:{told[name]}\n" for name in names)
    request = "\n".join([method, path, "", lines, ";".join(names), hashlib.sha256(body).hexdigest()])
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = b"AWS4" + keys.secret_key.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    told["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return told
