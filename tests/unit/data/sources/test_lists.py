import pytest

from recsys.data.sources import ReadSpec, Rejected, read_events
from recsys.errors import DataError


def read(path, on_error="raise"):
    rejected = Rejected(on_error)
    rows = [row for table in read_events(path, ReadSpec("lists"), rejected) for row in table.to_pylist()]
    return [(row["user_id"], row["item_id"]) for row in rows], rejected


def test_one_event_per_user_and_item(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes(b"0 5 3\r\n1\t7 \n\n2\n3  5\n")
    assert read(path)[0] == [("0", "5"), ("0", "3"), ("1", "7"), ("3", "5")]


def test_a_user_without_items_holds_no_event_but_a_file_of_them_is_wrong(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("0\n1 2\n")
    assert read(path)[0] == [("1", "2")]
    path.write_text("1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match=r"no line names an item. .* pass --format csv or format='csv'"):
        read(path)


def test_a_bad_id_is_named_with_its_line(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes(b"0 1\n1 2 " + b"x" * 257 + b" 3\n\xff 4 5\n")
    with pytest.raises(DataError, match=r":2: column 'item': has 257 characters"):
        read(path)
    found, rejected = read(path, "skip")
    assert found == [("0", "1"), ("1", "2"), ("1", "3")]
    assert rejected.rows == 3
    assert rejected.messages[1].startswith(f"{path}:3: column 'user': is not UTF-8 text")


def test_lines_are_counted_over_blocks(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("".join(f"{k} {k} {k + 1}\n" for k in range(150_000)) + f"7 {'x' * 300}\n")
    with pytest.raises(DataError, match=":150001: column 'item'"):
        read(path)
    assert len(read(path, "skip")[0]) == 300_000
