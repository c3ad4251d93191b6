"""Datasets with what is known of users, items and contexts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import Dataset, Encoders, Interactions, interactions_from_tuples
from recsys.data.described import context_records
from recsys.encoding import TIME_FIELDS, time_context
from recsys.errors import ConfigError, DataError

ROWS = [("anna", "tea", 1.0), ("bo", "tea", 2.0), ("bo", "rice", 1.0)]
USERS = {"bo": {"age": 30, "country": "NL"}, "dora": {"age": 50, "country": "BE"}}
ITEMS = {"rice": {"tags": ["dry"]}, "tea": {"tags": ["hot", "dry"]}, "cola": {"tags": ["cold"]}}
FIELDS = {"users": USERS, "user_fields": ["country", "age:number"], "items": ITEMS, "item_fields": ["tags"]}


def timed(rows, seconds):
    plain = interactions_from_tuples(rows)
    return Interactions(plain.users, plain.items, plain.user, plain.item, plain.weight, np.array(seconds, np.int64))


def told(features):
    """Rows of features as words."""
    matrix, name = features.matrix, features.encoder.feature_name
    return [[name(j) for j in matrix.features[a:b]] for a, b in zip(matrix.indptr, matrix.indptr[1:], strict=False)]


def test_tables_become_rows_and_those_nobody_met_are_appended():
    raw = interactions_from_tuples(ROWS)
    dataset = Dataset.from_interactions(raw, raw).with_features(**FIELDS)

    assert dataset.users.ids() == ["anna", "bo", "dora"]
    assert dataset.items.ids() == ["tea", "rice", "cola"]
    assert told(dataset.user_features) == [[], ["country=NL", "age"], ["country=BE", "age"]]
    assert [sorted(row) for row in told(dataset.item_features)] == [
        ["tags=dry", "tags=hot"],
        ["tags=dry"],
        ["tags=cold"],
    ]
    assert dataset.user_items.shape == dataset.seen_items.shape == (3, 3)
    assert dataset.user_items.toarray().tolist() == [[1, 0, 0], [2, 1, 0], [0, 0, 0]]
    assert dataset.context is None


def test_the_order_of_a_table_does_not_matter():
    more = ITEMS | {name: {"tags": ["cold"]} for name in ("mate", "ale", "gin")}
    datasets = [
        Dataset.from_interactions(interactions_from_tuples(ROWS)).with_features(items=table, item_fields=["tags"])
        for table in (more, dict(reversed(more.items())))
    ]
    assert datasets[0].items.ids() == datasets[1].items.ids() == ["tea", "rice", "ale", "cola", "gin", "mate"]
    assert told(datasets[0].item_features) == told(datasets[1].item_features)


def test_a_side_without_fields_stays_as_it_was():
    dataset = Dataset.from_interactions(interactions_from_tuples(ROWS)).with_features(users=USERS, items=ITEMS)

    assert (dataset.user_features, dataset.item_features) == (None, None)
    assert len(dataset.users) == len(dataset.items) == 2


def test_contexts_are_told_by_events_and_their_times():
    interactions = timed(ROWS, [0, 3_600, 3_700]).with_contexts([{"device": "tv"}, {"hour": 9}, None])
    dataset = Dataset.from_interactions(interactions).with_features(context_fields=["device", "hour"])

    rows = told(dataset.context)
    assert [rows[row] for row in dataset.context_rows] == [["device=tv", "hour=0"], ["hour=9"], ["hour=1"]]


@given(
    st.lists(
        st.tuples(st.integers(0, 4_102_444_799), st.sampled_from([None, {"hour": "7"}, {"n": 1}, {"n": 2}])), min_size=1
    ),
    st.lists(st.sampled_from([*TIME_FIELDS, "n"]), unique=True),
)
def test_every_event_has_the_record_its_time_and_context_make(events, names):
    interactions = timed([("a", "x", 1.0)] * len(events), [second for second, _ in events])
    records, rows = context_records(interactions.with_contexts([context for _, context in events]), names)

    for (second, context), row in zip(events, rows, strict=True):
        moment = {name: value for name, value in time_context(second).items() if name in names}
        assert records[row] == moment | (context or {})
    assert sorted(set(rows.tolist())) == list(range(len(records)))


def test_contexts_that_differ_only_in_what_nobody_asked_for_are_one():
    contexts = [{"device": "tv", "session": str(n)} for n in range(3)]
    interactions = interactions_from_tuples(ROWS).with_contexts(contexts)

    dataset = Dataset.from_interactions(interactions).with_features(context_fields=["device"])

    assert dataset.context_rows.tolist() == [0, 0, 0]
    assert told(dataset.context) == [["device=tv"]]


def test_later_events_join_with_the_features_there_are():
    interactions = timed(ROWS, [0, 1, 2]).with_contexts([{"device": "tv"}, {"device": "phone"}, None])
    dataset = Dataset.from_interactions(interactions, interactions)
    dataset = dataset.with_features(**FIELDS, context_fields=["device", "hour"])
    later = timed([("eva", "tea", 1.0), ("dora", "ice", 1.0)], [5, 3_600])

    joined = dataset.join(later.with_contexts([{"device": "tv"}, {"device": "watch"}]))

    assert joined.users.ids() == ["anna", "bo", "dora", "eva"]
    assert told(joined.user_features) == [*told(dataset.user_features), []]
    assert told(joined.item_features) == [*told(dataset.item_features), []]
    rows = told(joined.context)
    before = told(dataset.context)
    assert [rows[row] for row in joined.context_rows] == [
        *(before[row] for row in dataset.context_rows),
        ["device=tv", "hour=0"],
        [],
    ]
    assert joined.encoders.context is dataset.encoders.context


def test_a_later_fit_keeps_known_features_in_place():
    first = Dataset.from_interactions(interactions_from_tuples(ROWS)).with_features(**FIELDS)
    table = {"new": {"tags": ["warm", "dry"]}, **ITEMS}

    again = Dataset.from_interactions(interactions_from_tuples(ROWS)).with_features(
        users=USERS, user_fields=FIELDS["user_fields"], items=table, item_fields=["tags"], known=first.encoders
    )

    vocabulary = again.encoders.item.fields[0].vocabulary.ids()
    assert vocabulary == [*first.encoders.item.fields[0].vocabulary.ids(), "warm"]
    assert again.encoders.user.fields[1].mean == first.encoders.user.fields[1].mean


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"users": USERS, "user_fields": ["agee"]}, "no user has a field 'agee'; fields are age, country"),
        ({"item_fields": ["tags"]}, "the fields tags of items need a table of items"),
        ({"context_fields": ["hour"]}, "the context field 'hour' comes from the times of events, but these have none"),
        ({"context_fields": ["device"]}, "no context has a field 'device'; fields are none"),
    ],
)
def test_fields_that_nothing_tells_are_refused_in_words(settings, message):
    with pytest.raises(ConfigError) as refused:
        Dataset.from_interactions(interactions_from_tuples(ROWS)).with_features(**settings)
    assert message in str(refused.value)


def test_other_fields_than_before_are_refused():
    first = Dataset.from_interactions(interactions_from_tuples(ROWS)).with_features(**FIELDS)
    with pytest.raises(ConfigError, match="the fields of a user are age, but were country, age before"):
        Dataset.from_interactions(interactions_from_tuples(ROWS)).with_features(
            users=USERS, user_fields=["age"], known=Encoders(user=first.encoders.user)
        )


def test_a_value_of_a_wrong_type_is_named():
    with pytest.raises(DataError, match="column 'age': 'old' is no number"):
        Dataset.from_interactions(interactions_from_tuples(ROWS)).with_features(
            users={"bo": {"age": "old"}}, user_fields=["age:number"]
        )
