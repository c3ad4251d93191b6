"""What every online store promises; those on AWS against both stand-ins, by either client."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from records import ranked, state

from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.events import InteractionEvent
from recsys.serving import StoredList, UserState

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20)


def rows_at_once(store):
    """Rows of a transaction, or of what goes to a server together: where a stream is cut."""
    return 200 if isinstance(store, DynamoOnlineStore) else 10_000


def same(left, right):
    return left.to_bytes() == right.to_bytes()


def test_a_state_belongs_to_one_namespace_one_version_one_user(store):
    store.put_users("shop", "v1", [("anna", state(1.0, items=[3, 1, 3], weights=[1, 2, 3])), ("bo", state(2.0))])
    store.put_users("shop", "v2", [("anna", state(9.0))])
    assert same(store.user_state("shop", "v1", "anna"), state(1.0, items=[3, 1, 3], weights=[1, 2, 3]))
    assert same(store.user_state("shop", "v2", "anna"), state(9.0))
    for where in (("shop", "v2", "bo"), ("other", "v1", "anna"), ("shop", "v1", "cleo")):
        assert store.user_state(*where) is None


def test_writing_a_state_again_replaces_it_and_dropping_a_version_leaves_the_others(store):
    for value in (1.0, 2.0):
        store.put_users("shop", "v1", [("anna", state(value))])
    store.put_users("shop", "v2", [("anna", state(3.0))])
    store.put_users("other", "v1", [("anna", state(4.0))])
    assert same(store.user_state("shop", "v1", "anna"), state(2.0))
    for _ in range(2):
        store.drop_version("shop", "v1")
    assert store.user_state("shop", "v1", "anna") is None
    assert same(store.user_state("shop", "v2", "anna"), state(3.0))
    assert same(store.user_state("other", "v1", "anna"), state(4.0))


def test_a_list_belongs_to_one_namespace_one_version_one_user(store):
    store.put_lists("shop", "v1", [("anna", ranked(3, 1, 2)), ("bo", ranked(strategy="popular"))])
    store.put_lists("shop", "v2", [("anna", ranked(9))])
    found = store.user_list("shop", "v1", "anna")
    assert (found.items.tolist(), found.scores.tolist(), found.strategy) == ([3, 1, 2], [0.0, -1.0, -2.0], "als")
    assert same(store.user_list("shop", "v1", "bo"), ranked(strategy="popular"))
    assert same(store.user_list("shop", "v2", "anna"), ranked(9))
    for where in (("shop", "v2", "bo"), ("other", "v1", "anna"), ("shop", "v1", "cleo")):
        assert store.user_list(*where) is None
    assert store.user_state("shop", "v1", "anna") is None


def test_writing_a_list_again_replaces_it_and_dropping_a_version_takes_its_lists_along(store):
    store.put_users("shop", "v1", [("anna", state(1.0))])
    for item in (1, 2):
        store.put_lists("shop", "v1", [("anna", ranked(item))])
    store.put_lists("shop", "v2", [("anna", ranked(3))])
    store.put_lists("other", "v1", [("anna", ranked(4))])
    assert same(store.user_list("shop", "v1", "anna"), ranked(2))
    assert same(store.user_state("shop", "v1", "anna"), state(1.0))
    for _ in range(2):
        store.drop_version("shop", "v1")
    assert store.user_list("shop", "v1", "anna") is None
    assert same(store.user_list("shop", "v2", "anna"), ranked(3))
    assert same(store.user_list("other", "v1", "anna"), ranked(4))


@pytest.mark.parametrize(("times", "more"), [(1, -1), (1, 0), (1, 1), (2.5, 0)])
def test_lists_are_taken_from_a_stream_longer_than_a_transaction(store, times, more):
    count = int(times * rows_at_once(store)) + more
    store.put_lists("shop", "v1", ((f"u{n}", ranked(n, n + 1)) for n in range(count)))
    for n in (0, rows_at_once(store) - 2, count - 1):
        assert same(store.user_list("shop", "v1", f"u{n}"), ranked(n, n + 1))
    assert store.user_list("shop", "v1", f"u{count}") is None


def test_a_stream_that_breaks_leaves_whole_lists_and_can_be_written_again(store):
    count = rows_at_once(store) * 6 // 5

    def lists(until):
        for n in range(count):
            if n == until:
                raise OSError
            yield f"u{n}", ranked(n)

    store.put_lists("shop", "v1", [(f"u{n}", ranked(5, 5, 5)) for n in range(count)])
    with pytest.raises(OSError, match=r"^$"):
        store.put_lists("shop", "v1", lists(count * 11 // 12))
    found = {n: store.user_list("shop", "v1", f"u{n}").items.tolist() for n in range(0, count, 7)}
    assert all(one in ([n], [5, 5, 5]) for n, one in found.items())
    store.put_lists("shop", "v1", lists(None))
    assert all(store.user_list("shop", "v1", f"u{n}").items.tolist() == [n] for n in range(0, count, 97))


def test_item_metadata_is_replaced_whole_and_unknown_items_are_left_out(store):
    store.put_items("shop", {"i1": {"title": "One", "genres": ["a", "b"]}, "i2": {"title": "Two"}})
    store.put_items("shop", {"i2": {"year": 2020}})
    known = store.item_metadata("shop", ["i2", "i9", "i1"])
    assert known == {"i2": {"year": 2020}, "i1": {"title": "One", "genres": ["a", "b"]}}
    assert store.item_metadata("other", ["i1"]) == {}


def test_all_items_and_all_profiles_are_those_of_one_namespace_in_order(store):
    for put, read in (
        (store.put_items, store.all_items),
        (store.put_user_profiles, store.all_user_profiles),
    ):
        put("shop", {"é": {"n": 1, "tags": ["x"]}, "a": {"n": None}})
        put("shop", {"b": {}, "a": {"n": True}})
        put("other", {"c": {"n": 3}})
        assert list(read("shop").items()) == [("a", {"n": True}), ("b", {}), ("é", {"n": 1, "tags": ["x"]})]
        assert read("other") == {"c": {"n": 3}}
        assert read("nowhere") == {}


def test_items_and_profiles_are_kept_apart(store):
    store.put_items("shop", {"x": {"title": "X"}})
    store.put_user_profiles("shop", {"x": {"age": 3}})
    assert store.all_items("shop") == store.item_metadata("shop", ["x"]) == {"x": {"title": "X"}}
    assert store.all_user_profiles("shop") == {"x": {"age": 3}}


def test_check_passes_on_a_fresh_store(store):
    store.check()


def rounds(store):
    """A quarter of the profile's examples where each takes a few calls to a server."""
    return settings(max_examples=settings.default.max_examples // (4 if isinstance(store, DynamoOnlineStore) else 1))


def test_any_text_and_any_numbers_come_back_as_they_went(store):
    @given(
        user=TEXT,
        vector=hnp.arrays(np.float32, st.integers(0, 9), elements=st.floats(width=32)),
        items=hnp.arrays(np.int32, 4),
        bias=st.floats(width=32),
        value=st.floats(0, 1e30),
        timestamp_s=st.floats(0, 4e9),
        item=TEXT,
    )
    @rounds(store)
    def check(user, vector, items, bias, value, timestamp_s, item):
        weights = np.arange(4, dtype=np.float32)
        store.put_users(user[:9], item[:9], [(user, UserState(vector, items, weights, bias))])
        assert same(store.user_state(user[:9], item[:9], user), UserState(vector, items, weights, bias))
        sent = InteractionEvent(f"{user}-{item}-{value}"[:250], user, item, timestamp_s, "view", value)
        if store.append_events("any", [sent]):
            assert [one.event for one in store.recent_events("any", user, after=0, limit=1)] == [sent]

    check()


def test_any_list_comes_back_as_it_went(store):
    @given(
        user=TEXT,
        items=hnp.arrays(np.int32, st.integers(0, 500)),
        strategy=st.text(st.characters(blacklist_categories=["Cs"]), max_size=20),
        data=st.data(),
    )
    @rounds(store)
    def check(user, items, strategy, data):
        scores = data.draw(hnp.arrays(np.float32, len(items), elements=st.floats(width=32)))
        store.put_lists("any", "v", [(user, StoredList(items, scores, strategy))])
        found = store.user_list("any", "v", user)
        assert found.items.tobytes() == items.tobytes()
        assert found.scores.tobytes() == scores.tobytes()
        assert found.strategy == strategy

    check()
