"""Headers by who asks from where: cross-origin requests (CORS) of the origins RECSYS_CORS lists, and HTTPS (HSTS)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

HSTS = {"Strict-Transport-Security": "max-age=31536000"}
_EXPOSED = "ETag, Retry-After"
_SENT = "authorization, content-type, if-none-match, x-api-key"
_REMEMBERED_S = "600"


def of_origin(event: Mapping[str, Any], response: dict[str, Any]) -> dict[str, str]:
    """Return the headers an answer has beyond its own; the question whether a request may be sent becomes a 204.

    No answer allows credentials that a browser adds by itself, as there are none.
    """
    sent = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    https = "AWS_LAMBDA_FUNCTION_NAME" in os.environ or sent.get("x-forwarded-proto") == "https"
    headers, listed = dict(HSTS) if https else {}, listed_origins()
    if not listed:
        return headers
    headers["Vary"] = "Origin"
    if sent.get("origin") not in listed:
        return headers
    headers |= {"Access-Control-Allow-Origin": sent["origin"], "Access-Control-Expose-Headers": _EXPOSED}
    if event["requestContext"]["httpMethod"] == "OPTIONS" and response["statusCode"] == 405:
        response["statusCode"], response["body"] = 204, ""
        headers |= {"Access-Control-Allow-Methods": response["headers"]["Allow"]}
        headers |= {"Access-Control-Allow-Headers": _SENT, "Access-Control-Max-Age": _REMEMBERED_S}
    return headers


def listed_origins() -> list[str]:
    """Return the origins whose pages may ask."""
    return [name for one in os.environ.get("RECSYS_CORS", "").split(",") if (name := one.strip())]
