"""Objects of S3 whose answers cannot be believed."""

import pytest

from recsys.aws.client import AwsError
from recsys.aws.objects import Objects
from recsys.errors import ConfigError, StorageError


class Empty:
    """Answers with parts that have nothing in them, of an object that is said to be long."""

    def call(self, operation, **_):
        assert operation == "GetObject"
        return {"Body": b"", "ContentRange": "bytes 0-1/100"}


def test_a_part_without_bytes_is_no_part_of_an_object():
    with pytest.raises(AwsError, match="none of the bytes of s3://bucket/models/key") as caught:
        Objects("bucket/models", Empty()).sha256("key")
    assert caught.value.transient


class Refusing:
    """Removes all but one object, and has nothing where somebody reads on."""

    def call(self, operation, **_):
        if operation == "GetObject":
            raise AwsError(operation, "InvalidRange", "there is less")
        return {"Errors": [{"Key": "models/kept", "Code": "AccessDenied"}]}


def test_an_object_that_stays_is_named_and_one_that_ends_before_is_empty():
    objects = Objects("bucket/models", Refusing())
    with pytest.raises(StorageError, match="s3://bucket/models/kept was not removed: AccessDenied"):
        objects.remove(["gone", "kept"])
    assert objects.read("key", 10, 20) == (b"", 0)


def test_a_place_without_a_bucket_is_refused():
    with pytest.raises(ConfigError, match="names no bucket"):
        Objects("/models", Empty())
