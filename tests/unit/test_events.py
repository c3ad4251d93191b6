import math

import pytest

from recsys.errors import DataError
from recsys.events import InteractionEvent, context_text

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


def test_equal_contexts_are_equal_text():
    assert context_text({"b": [], "a": "é", "c": True}) == context_text({"c": True, "a": "é", "b": ()})
    assert context_text({"b": ["x", "y"], "a": 1.5}) == '{"a":1.5,"b":["x","y"]}'
    assert InteractionEvent(**GOOD, context={}).context is None
    assert hash(InteractionEvent(**GOOD, context={"a": []})) == hash(InteractionEvent(**GOOD, context={"a": []}))
    assert len(context_text({"a": "x" * 4088})) == 4096


@pytest.mark.parametrize(
    ("context", "named"),
    [
        ("tv", "context"),
        ({"device": None}, "context.device"),
        ({"device": {"name": "tv"}}, "context.device"),
        ({"hour": math.nan}, "context.hour"),
        ({"hour": -math.inf}, "context.hour"),
        ({"hour": 10**400}, "context.hour"),
        ({"tags": ["a", 1]}, "context.tags"),
        ({"": 1}, "context."),
        ({1: 1}, "context.1"),
        ({"a": "\ud800"}, "context"),
        ({"a": "x" * 4089}, "context"),
    ],
)
def test_a_context_that_cannot_be_stored_is_refused(context, named):
    with pytest.raises(DataError) as caught:
        InteractionEvent(**GOOD, context=context)
    assert caught.value.field == named
