"""POST events: what is stored and seen at once, and every body that cannot be one."""

import base64
import json

import pytest
from api_client import body_of, check_problem, event, user_path

STRINGS = ("event_id", "user", "item", "event")
LIMIT = 256 * 1024


def padded(n_bytes):
    """Make a valid body of so many bytes."""
    body = body_of(event())
    return body + " " * (n_bytes - len(body))


def nested(depth):
    return '{"events": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def test_events_are_stored_counted_once_and_change_the_next_list(api, shop):
    before = api.get(user_path("u4") + "?k=5")
    new = [item for item, _ in before.items[:2]]
    answer = api.post(body_of(event("a", "u4", new[0]), event("b", "u4", new[1]), event("a", "u4", "i9")))
    assert answer.status == 202
    assert (answer.json["accepted"], answer.json["duplicates"]) == (2, 1)
    again = api.post(body_of(event("b", "u4", "i5"), event("c", "u5")))
    assert (again.json["accepted"], again.json["duplicates"]) == (1, 1)
    after = api.get(user_path("u4") + "?k=500")
    assert after.json["strategy"] == "fold_in"
    assert not {item for item, _ in after.items} & set(new)
    assert after.items != before.items
    assert [one.event.event_id for one in shop.online.events_after("shop", 0, limit=10)] == ["a", "b", "c"]


def test_a_stranger_with_an_event_is_no_stranger(api):
    assert api.get(user_path("new")).json["strategy"] == "popular"
    api.post(body_of(event(user="new", item="i3")))
    answer = api.get(user_path("new") + "?k=500")
    assert answer.json["strategy"] == "fold_in"
    assert "i3" not in dict(answer.items)


def test_what_is_stored_is_what_was_sent(api, shop):
    sent = event("é😀", "a\0b", "'; DROP TABLE events;--", event="rate\n", value=2.5) | {"timestamp": 1.25}
    assert api.post(body_of(sent)).status == 202
    (stored,) = shop.online.events_after("shop", 0, limit=10)
    assert (stored.event.event_id, stored.event.user, stored.event.item) == ("é😀", "a\0b", "'; DROP TABLE events;--")
    assert (stored.event.timestamp_s, stored.event.event, stored.event.value) == (1.25, "rate\n", 2.5)


def test_an_event_carries_its_context(api, monkeypatch):
    from chalicelib import wiring

    sent = []
    monkeypatch.setattr(wiring.service(), "record_events", lambda _, events: sent.extend(events) or len(events))
    context = {"device": "phone", "hour": 9, "tags": ["a", "b"], "new": True}
    assert api.post(body_of(event("a", context=context), event("b"), event("c", context={}))).status == 202
    assert [one.context for one in sent] == [context, None, None]


@pytest.mark.parametrize(
    ("context", "field"),
    [
        (None, "events[0].context"),
        ([], "events[0].context"),
        ({"device": None}, "events[0].context.device"),
        ({"device": {}}, "events[0].context.device"),
        ({"n" * 5000: {}}, f"events[0].context.{'n' * 182}"),
        ({"device": "x" * 5000}, "events[0].context"),
        ({"device": "\ud800"}, "events[0].context"),
    ],
)
def test_a_context_no_event_can_have_is_refused(api, shop, context, field):
    check_problem(api.post(body_of(event(context=context))), 422, field)
    assert shop.online.events_after("shop", 0, limit=10) == []


def test_a_refused_batch_stores_nothing(api, shop):
    good = [event(f"e{n}") for n in range(100)]
    check_problem(api.post(body_of(*good, event("bad", value=-1))), 422, "events[100].value")
    assert shop.online.events_after("shop", 0, limit=10) == []


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON",
        "Application/Json; Charset=UTF-8",
        " application/json ;",
        "application/json;x",
    ],
)
def test_the_content_type_may_come_in_any_case(api, content_type):
    assert api.post(body_of(event()), headers={"Content-Type": content_type}).status == 202


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/jsonp", "application", "json", "*/*", "x" * 9999]
)
def test_another_content_type_is_unsupported(api, content_type):
    headers = {} if content_type is None else {"content-type": content_type}
    answer = api.post(body_of(event()), headers=headers)
    check_problem(answer, 415, "content-type")
    assert len(answer.body) < 500


def test_as_many_bytes_and_events_as_fit(api):
    assert api.post(padded(LIMIT)).status == 202
    check_problem(api.post(padded(LIMIT + 1)), 413)
    wide = "é" * (LIMIT // 2)
    check_problem(api.post(wide), 400)
    check_problem(api.post(wide + "é"), 413)
    assert api.post(body_of(*(event(f"e{n}") for n in range(500)))).json["accepted"] == 500
    check_problem(api.post(body_of(*(event(f"e{n}") for n in range(501)))), 422, "events")
    check_problem(api.post(body_of()), 422, "events")


@pytest.mark.parametrize(
    "body",
    [
        *(
            None,
            "",
            " ",
            "null",
            "1",
            '"text"',
            "[]",
            "[{}]",
            "{",
            "{}}",
            "{} {}",
            "{'events': []}",
            '{"events": [],}',
            "\0",
        ),
        *(
            b"\xef\xbb\xbf{}",
            "\ufeff{}",
            b"\xff\xfe{\0}\0",
            b'{"events": "\xff"}',
            b'{"\xed\xa0\x80": 1}',
            '{"a": "\n"}',
        ),
        *("\ud800", '{"events": "\ud800"}', '{"events": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": 1e999}'),
        *(
            '{"a": -1e999}',
            '{"a": ' + "9" * 5000 + "}",
            '{"a": -' + "9" * 309 + "}",
            '{"a": 0x10}',
            '{"a": 01}',
            '{"a": +1}',
        ),
        *('{"a": 1, "a": 1}', '{"a": 1, "\\u0061": 2}', '{"events": [{"user": "a", "user": "b"}]}', '{"\\ud800": 1}'),
        *(nested(33), nested(50_000), "[" * 100_000, '{"a":' * 40_000, "]" * 50_000 + "[" * 50_000, '{"a": "\\"'),
        *(
            '{"events": [{"event_id": "a", "\\udfff": 1}]}',
            "{" * 200_000,
            '{"a": 1e99999999999999999999}',
            '{"a": tru}',
        ),
    ],
    ids=lambda body: repr(body)[:40],
)
@pytest.mark.parametrize("as_base64", [False, True])
def test_what_is_not_one_json_object_is_refused(api, body, as_base64):
    if as_base64:
        try:
            data = body if isinstance(body, bytes) else (body or "").encode()
        except UnicodeEncodeError:
            return  # no bytes can say this
        body = base64.b64encode(data).decode()
    check_problem(api.post(body, base64=as_base64), 400)


def test_a_whole_number_of_many_digits_is_a_number(api):
    assert api.post(json.dumps({"events": [event(value=10**25)]})).status == 202


@pytest.mark.parametrize("events", ["\ud800", [{"value": "\udfff"}], [event(timestamp="\ud800")]])
def test_a_lone_surrogate_of_a_wrong_type_is_refused(api, events):
    check_problem(api.post(json.dumps({"events": events})), 422)


def test_the_gateway_may_send_base64(api):
    packed = base64.b64encode(body_of(event(user="日本")).encode()).decode()
    assert api.post(packed, base64=True).status == 202
    for broken in ("é", "A", "\ud800"):
        check_problem(api.post(broken, base64=True), 400)
    check_problem(api.post(packed), 400)


def test_depth_is_counted_outside_strings(api):
    check_problem(api.post(nested(32)), 422)
    check_problem(api.post(nested(33)), 400)
    assert api.post(body_of(event("[" * 200, '\\"[[[' * 50, '"{' * 100))).status == 202


@pytest.mark.parametrize("field", STRINGS)
@pytest.mark.parametrize("value", ["", "x" * 257, "\ud800", "a\udfffb", 1, True, None, [], {}, ["a"]])
def test_a_text_that_is_none_is_refused_by_name(api, field, value):
    check_problem(api.post(body_of(event("ok"), event() | {field: value})), 422, f"events[1].{field}")


@pytest.mark.parametrize("field", ["timestamp", "value"])
@pytest.mark.parametrize("value", [-1, -1e-300, 1e31, 1e308, -(10**18), "1", True, False, None, [], {}, "NaN"])
def test_a_number_that_is_none_is_refused_by_name(api, field, value):
    check_problem(api.post(body_of(event() | {field: value})), 422, f"events[0].{field}")


def test_the_ends_of_the_numbers(api):
    for n, (field, value) in enumerate(
        [
            ("value", 0),
            ("value", -0.0),
            ("value", 5e-324),
            ("value", 1e30),
            ("value", 99999999999999999999),
            ("timestamp", 0),
            ("timestamp", 4102444799.99),
            ("timestamp", -0.0),
        ]
    ):
        assert api.post(body_of(event(f"n{n}", f"n{n}") | {field: value})).status == 202
        assert api.get(user_path(f"n{n}")).status == 200
    check_problem(api.post(body_of(event() | {"timestamp": 4_102_444_800})), 422, "events[0].timestamp")
    check_problem(api.post(body_of(event() | {"timestamp": 99999999999999999999})), 422, "events[0].timestamp")


@pytest.mark.parametrize("value", [1e-45, 1e-30, 1e10, 1e20, 1e30])
def test_no_weight_a_client_may_send_breaks_the_list_of_its_user(api, model, value):
    """A weight far beyond the model's makes the fold-in system singular in floating point."""
    items = model.dataset.items.ids()
    for sent in (1, 3):
        users = [f"{sent} from {n}" for n in range(len(items))]
        batch = [
            event(f"{user} {n}", user, items[(row + n) % len(items)], value=value)
            for row, user in enumerate(users)
            for n in range(sent)
        ]
        assert api.post(body_of(*batch)).status == 202
        for row, user in enumerate(users):
            answer = api.get(user_path(user) + "?k=500")
            assert answer.status == 200, answer
            assert items[row] not in dict(answer.items)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "events"),
        ({"events": [event()], "extra": 1}, "extra"),
        ({"events": [event() | {"extra": 1}]}, "events[0].extra"),
        ({"events": [event() | {"x` - at `$.y": 1}]}, None),
        ({"events": [{"user": "u"}]}, "events[0].event_id"),
        ({"events": [event(), 5]}, "events[1]"),
        ({"events": None}, "events"),
        ({"events": {"0": event()}}, "events"),
        ({"Events": [event()]}, "Events"),
        ({"__proto__": {}}, "__proto__"),
    ],
)
def test_a_body_of_another_shape_is_refused_by_name(api, body, field):
    check_problem(api.post(json.dumps(body)), 422, field)


def test_a_refusal_is_short_whatever_was_sent(api):
    for body in ({"x" * 200_000: 1}, {"events": [event() | {"y" * 200_000: 1}]}, {"events": ["z" * 200_000]}):
        answer = api.post(json.dumps(body))
        check_problem(answer, 422)
        assert len(answer.body) < 1000
