import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import DataError
from recsys.ids import IdMap, encode_id

IDS = st.lists(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12), unique=True, max_size=40)


@given(IDS, IDS)
def test_every_id_is_found_in_its_row_and_no_other_is(known, others):
    ids = IdMap.from_ids(known)
    assert len(ids) == len(known)
    assert ids.ids() == known
    for row, one in enumerate(known):
        assert ids.row(one) == row
        assert ids.id(row) == one
    for one in set(others) - set(known):
        assert ids.row(one) == -1
    expected = [known.index(one) if one in known else -1 for one in others]
    assert ids.encode(others).tolist() == expected
    assert ids.encode(others).dtype == np.int32


@given(IDS, IDS)
def test_extending_keeps_the_rows_there_are(known, more):
    longer = IdMap.from_ids(known).extend(more)
    assert longer.ids() == known + [one for one in more if one not in known]


@given(IDS)
def test_the_arrays_are_all_there_is(known):
    ids = IdMap.from_ids(known)
    again = IdMap(ids.text.copy(), ids.offsets.copy(), ids.order.copy())
    assert again.ids() == known
    assert again.fingerprint == ids.fingerprint
    assert (IdMap.from_ids(known[::-1]).fingerprint == ids.fingerprint) == (known == known[::-1])


def test_boundaries_between_ids_are_part_of_the_fingerprint():
    assert IdMap.from_ids(["ab", "c"]).fingerprint != IdMap.from_ids(["a", "bc"]).fingerprint


def test_a_repeated_id_is_named_with_both_rows():
    with pytest.raises(DataError, match="'b' stands twice, in rows 1 and 3"):
        IdMap.from_ids(["a", "b", "c", "b"])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("", "1 to 256"), ("x" * 257, "257"), ("\ud800", "surrogate"), (42, "text, not int"), (None, "NoneType")],
)
def test_what_is_no_id_is_refused(bad, reason):
    with pytest.raises(DataError, match=reason):
        encode_id(bad)
    with pytest.raises(DataError, match=reason):
        IdMap.from_ids(["good", bad])


def test_the_longest_id_and_rows_beyond_the_end():
    ids = IdMap.from_ids(["\U0001f600" * 256])
    assert ids.row("\U0001f600" * 256) == 0
    for row in (-1, 1):
        with pytest.raises(IndexError):
            ids.id(row)
