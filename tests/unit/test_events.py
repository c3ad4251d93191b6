import math

import pytest

from recsys.errors import DataError
from recsys.events import InteractionEvent

GOOD = {"event_id": "e", "user": "u", "item": "i", "timestamp_s": 0.0}


def test_defaults_and_limits_are_accepted():
    event = InteractionEvent(**GOOD)
    assert (event.event, event.value) == ("interaction", 1.0)
    for change in ({"value": 0}, {"value": 1e30}, {"timestamp_s": 4_102_444_799.9}, {"user": "x" * 256}):
        InteractionEvent(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("event_id", "", "event_id"),
        ("user", "\udfff", "user"),
        ("item", "x" * 257, "item"),
        ("event", "", "event"),
        ("value", math.nan, "value"),
        ("value", math.inf, "value"),
        ("value", -0.5, "value"),
        ("value", 1e39, "value"),
        ("timestamp_s", -1, "timestamp"),
        ("timestamp_s", 4_102_444_800, "timestamp"),
        ("timestamp_s", math.nan, "timestamp"),
    ],
)
def test_the_field_at_fault_is_named(field, value, named):
    with pytest.raises(DataError) as caught:
        InteractionEvent(**{**GOOD, field: value})
    assert caught.value.field == named
