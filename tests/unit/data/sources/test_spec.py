import pytest

from recsys.data.sources.spec import ReadSpec
from recsys.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "json"}, "format 'json' is not known; choose one of csv, parquet, lists, movielens"),
        ({"timestamp_unit": "ns"}, "timestamp_unit is one of s, ms, us, not 'ns'"),
        ({"columns": {"rating": "stars"}}, "columns has the key 'rating'; the keys are user, item, weight"),
        ({"columns": {"user": 1.5}}, "is a header name or a 0-based position, not 1.5"),
        ({"columns": {"user": True}}, "is a header name or a 0-based position, not True"),
        ({"columns": {"user": -1}}, "is -1; positions count from 0"),
        ({"columns": {"user": None}}, "every event has a user and an item"),
        ({"columns": {"user": "cust"}, "header": False}, "without a header columns are positions"),
        ({"delimiter": ""}, "cannot separate columns"),
        ({"delimiter": '"'}, "cannot separate columns"),
        ({"delimiter": "\n"}, "cannot separate columns"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        ReadSpec(**options)


def test_a_tab_may_be_spelled_out():
    assert ReadSpec(delimiter="\\t").delimiter == "\t"
