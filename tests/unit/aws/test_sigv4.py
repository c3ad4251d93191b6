"""Signatures equal those of botocore, and one that AWS publishes."""

from datetime import UTC, datetime

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from recsys.aws.sigv4 import Keys, signed

AT_S = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
WORD = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789/+=", min_size=1, max_size=40)
NAME = st.from_regex(r"\Ax-[a-z]([a-z0-9-]{0,9}[a-z0-9])?\Z")


def test_the_signature_of_the_published_example():
    """post-vanilla of AWS's test suite for Signature Version 4."""
    keys = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    told = signed(keys, "us-east-1", "service", {"host": "example.amazonaws.com"}, b"", at_s=AT_S)
    assert told["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    )


@given(
    keys=st.builds(Keys, WORD, WORD, st.none() | WORD),
    region=st.sampled_from(["eu-central-1", "us-gov-west-1"]),
    service=st.sampled_from(["dynamodb", "sqs"]),
    more=st.dictionaries(NAME, WORD, max_size=3),
    body=st.binary(max_size=300),
    at_s=st.integers(0, 4_000_000_000),
)
def test_any_request_is_signed_as_botocore_signs_it(keys, region, service, more, body, at_s):
    headers = {"host": "some.example:8000", "content-type": "application/x-amz-json-1.0", **more}
    told = signed(keys, region, service, headers, body, at_s=at_s)
    request = AWSRequest("POST", "http://some.example:8000/", headers=headers, data=body)
    credentials = Credentials(keys.access_key, keys.secret_key, keys.session_token)
    auth = botocore.auth.SigV4Auth(credentials, service, region)
    stamp = told["x-amz-date"]
    request.context["timestamp"] = stamp
    request.headers["X-Amz-Date"] = stamp
    if keys.session_token:
        request.headers["X-Amz-Security-Token"] = keys.session_token
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() == at_s
    assert told["authorization"].endswith(
        f"SignedHeaders={auth.signed_headers(auth.headers_to_sign(request))}, Signature={signature}"
    )


def test_keys_do_not_show_their_secrets():
    assert "hidden" not in repr(Keys("id", "hidden", "hidden"))
