"""Objects of S3 whose answers cannot be believed."""

import pytest

from recsys.aws.client import AwsError
from recsys.aws.objects import Objects


class Empty:
    """Answers with parts that have nothing in them, of an object that is said to be long."""

    def call(self, operation, **_):
        assert operation == "GetObject"
        return {"Body": b"", "ContentRange": "bytes 0-1/100"}


def test_a_part_without_bytes_is_no_part_of_an_object():
    with pytest.raises(AwsError, match="none of the bytes of s3://bucket/models/key") as caught:
        Objects("bucket/models", Empty()).sha256("key")
    assert caught.value.transient
