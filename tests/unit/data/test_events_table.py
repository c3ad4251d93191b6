from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.events_table import EVENT_SCHEMA, to_interactions
from recsys.errors import DataError

MOMENT = datetime(2009, 12, 14, 2, 52, 24, 999_999, tzinfo=UTC)


def events(*rows: tuple[str, str, float, datetime | None]) -> pa.Table:
    users, items, values, times = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.Table.from_arrays(
        [
            pa.array(users, pa.string()),
            pa.array(items, pa.string()),
            pa.array(["view"] * len(rows), pa.string()),
            pa.array(values, pa.float32()),
            pa.array(times, pa.timestamp("us", "UTC")),
            pa.nulls(len(rows), pa.string()),
            pa.nulls(len(rows), pa.string()),
        ],
        schema=EVENT_SCHEMA,
    )


def test_ids_are_numbered_in_order_of_first_appearance():
    found = to_interactions(events(("z", "9", 1, None), ("a", "10", 2, None), ("z", "10", 3, None)))
    assert found.users.ids() == ["z", "a"]
    assert found.items.ids() == ["9", "10"]
    assert found.user.tolist() == [0, 1, 0]
    assert found.item.tolist() == [0, 1, 1]
    assert found.weight.tolist() == [1, 2, 3]
    assert found.timestamp is None


def test_times_are_cut_to_whole_seconds():
    found = to_interactions(events(("a", "b", 1, MOMENT)))
    assert found.timestamp is not None
    assert found.timestamp.tolist() == [1260759144]


@pytest.mark.parametrize("table", [EVENT_SCHEMA.empty_table(), pa.Table.from_batches([], EVENT_SCHEMA)])
def test_an_empty_table_gives_no_interactions(table):
    found = to_interactions(table)
    assert (len(found), found.shape, found.timestamp) == (0, (0, 0), None)


def test_times_for_some_events_only_are_refused_with_the_first_row():
    table = events(("a", "b", 1, MOMENT), ("a", "c", 1, None), ("a", "d", 1, None))
    with pytest.raises(DataError, match=r"2 of 3 events have no time, first row 2\. .*columns="):
        to_interactions(table)


def test_a_null_id_is_refused():
    table = events(("a", "b", 1, None))
    column = pa.array([None], pa.string())
    table = table.set_column(0, "user_id", column)
    with pytest.raises(DataError, match="column 'user_id': 1 events have none"):
        to_interactions(table)


def test_a_wrong_or_missing_column_is_refused():
    table = events(("a", "b", 1, None))
    with pytest.raises(DataError, match="no column 'value' of type float"):
        to_interactions(table.drop_columns(["value"]))
    with pytest.raises(DataError, match="no column 'value' of type float"):
        to_interactions(table.set_column(3, "value", pa.array([1.0], pa.float64())))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz"), st.integers(0, 9)), min_size=1),
    st.integers(1, 5),
)
def test_chunking_changes_nothing(rows, chunk_rows):
    table = events(*((user, item, value, MOMENT) for user, item, value in rows))
    chunked = pa.concat_tables([table.slice(k, chunk_rows) for k in range(0, len(rows), chunk_rows)])
    found = to_interactions(chunked)
    pairs = zip(found.users.ids(found.user), found.items.ids(found.item), found.weight.tolist(), strict=True)
    assert list(pairs) == rows
    assert found.users.ids() == list(dict.fromkeys(user for user, _, _ in rows))
    assert found.weight.dtype == np.float32


def with_contexts(*texts):
    table = events(*[("u", "i", 1.0, None)] * len(texts))
    return table.set_column(table.column_names.index("context"), "context", pa.chunked_array([texts], pa.string()))


def test_contexts_are_told_once_whatever_their_spelling():
    table = with_contexts('{"a": 1, "b": "x"}', None, '{"b":"x","a":1}', '{"a":2}')
    doubled = pa.concat_tables([table, with_contexts(None, '{"a":3}')])  # chunks of their own

    found = to_interactions(doubled)

    assert found.contexts == ('{"a":1,"b":"x"}', '{"a":2}', '{"a":3}')
    assert found.context.tolist() == [0, -1, 0, 1, -1, 2]


def test_a_table_of_an_earlier_release_has_no_context():
    table = events(("u", "i", 1.0, None)).drop_columns("context")
    assert to_interactions(table).context is None
    assert to_interactions(with_contexts(None)).context is None


@pytest.mark.parametrize("text", ["tv", "[1]", '{"a":null}', '{"a":NaN}'])
def test_a_context_that_is_none_is_refused(text):
    with pytest.raises(DataError, match="context"):
        to_interactions(with_contexts(text))
