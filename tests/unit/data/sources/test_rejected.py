import pytest

from recsys.data.sources.rejected import KEPT_MESSAGES, Rejected
from recsys.errors import ConfigError, DataError


def test_raise_mode_raises_with_the_place_and_the_remedy():
    rejected = Rejected()
    with pytest.raises(DataError) as caught:
        rejected.add("a.csv", 3, "rating", "is empty", remedy="Fill it")
    assert str(caught.value) == "a.csv:3: column 'rating': is empty. Fill it"
    assert (caught.value.path, caught.value.line, caught.value.field) == ("a.csv", 3, "rating")
    assert rejected.rows == 0


def test_skip_mode_counts_all_and_keeps_the_first_messages():
    rejected = Rejected("skip")
    for line in range(1, 31):
        rejected.add("a.csv", line, None, "is broken", rows=2)
    assert rejected.rows == 60
    assert rejected.messages == [f"a.csv:{line}: is broken" for line in range(1, KEPT_MESSAGES + 1)]


def test_the_summary_is_one_line():
    rejected = Rejected("skip")
    assert rejected.summary() == ""
    rejected.add("a.csv", 1, None, "is broken")
    assert rejected.summary() == "1 row was rejected: a.csv:1: is broken"
    for line in range(2, 6):
        rejected.add("a.csv", line, None, "no")
    assert rejected.summary(2) == "5 rows were rejected: a.csv:1: is broken; a.csv:2: no; ..."


def test_another_mode_is_a_config_error():
    with pytest.raises(ConfigError, match="on_error is 'raise' or 'skip', not 'ignore'"):
        Rejected("ignore")
