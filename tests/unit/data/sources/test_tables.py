import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.sources import Rejected, read_table
from recsys.errors import DataError


def put(folder, text, name="movies.csv"):
    path = folder / name
    data = text.encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["movies.csv", "movies.csv.gz"])
def test_text_stays_text_and_genres_are_lists(tmp_path, name):
    path = put(
        tmp_path,
        'movieId,title,genres,year\n1,"Toy Story, the",Adventure|Animation,1995\n2,"a\nb",,007\n3,,x,\n',
        name,
    )
    assert read_table(path, Rejected()) == {
        "1": {"title": "Toy Story, the", "genres": ["Adventure", "Animation"], "year": "1995"},
        "2": {"title": "a\nb", "genres": [], "year": "007"},
        "3": {"title": None, "genres": ["x"], "year": None},
    }


def test_tabs_and_an_id_wherever_it_stands(tmp_path):
    path = put(tmp_path, "title\tITEM_ID\tid\nTea\t7\tx\n", "items.tsv")
    assert read_table(path, Rejected()) == {"7": {"title": "Tea", "id": "x"}}
    assert read_table(path, Rejected(), id_column="id") == {"x": {"title": "Tea", "ITEM_ID": "7"}}
    assert read_table(put(tmp_path, "id,title\n1,Tea\n"), Rejected()) == {"1": {"title": "Tea"}}


def test_parquet_keeps_its_types(tmp_path):
    path = tmp_path / "items.parquet"
    columns = {
        "price": [1.5, float("nan")],
        "stock": [3, None],
        "new": [True, False],
        "tags": ["a|b", None],
        "labels": [["x"], []],
        "item_id": [1, 2],
        "kind": pa.array(["k", "l"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), path)
    assert read_table(path, Rejected()) == {
        "1": {"price": 1.5, "stock": 3, "new": True, "tags": ["a", "b"], "labels": ["x"], "kind": "k"},
        "2": {"price": None, "stock": None, "new": False, "tags": [], "labels": [], "kind": "l"},
    }


def test_bad_rows_are_rejected_and_the_first_of_equal_ids_stays(tmp_path):
    path = put(tmp_path, "item,title\n1,a\n,b\n1,c\n2,d,e\n3,\udcff\n4,f\n")
    rejected = Rejected("skip")
    assert read_table(path, rejected) == {"1": {"title": "a"}, "4": {"title": "f"}}
    assert rejected.messages == [
        f"{path}:3: column 'item': is empty",
        f"{path}:4: column 'item': the item '1' stands already in line 2",
        f"{path}:5: has 3 fields where 2 are expected",
        f"{path}:6: column 'title': is not UTF-8 text. Convert the file to UTF-8",
    ]
    with pytest.raises(DataError, match=":3: column 'item': is empty"):
        read_table(path, Rejected())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name,title\na,b\n",
            "found no item column; the columns are 'name', 'title'. Call it item_id, or pass id_column=",
        ),
        ("item,movie\na,b\n", "more than one column could be the item column"),
        ("item,x,x\na,b,c\n", "two columns are called 'x'. Rename one"),
        ("item,title\n", "has a header but no rows"),
        ("", "is empty"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(DataError) as caught:
        read_table(put(tmp_path, text), Rejected("skip"))
    assert message in str(caught.value)


def test_a_parquet_type_that_is_no_metadata(tmp_path):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item": ["a"], "x": [{"y": 1}]}), path)
    with pytest.raises(DataError, match="column 'x': the type struct<y: int64> is no metadata"):
        read_table(path, Rejected())


def test_a_table_of_users_is_read_like_one_of_items(tmp_path):
    path = put(tmp_path, "id,userId,age\nx,anna,30\ny,bo,\ny,bo,3\n", "users.csv")
    rejected = Rejected("skip")

    assert read_table(path, rejected, of="user") == {"anna": {"id": "x", "age": "30"}, "bo": {"id": "y", "age": None}}
    assert "the user 'bo' stands already in line 3" in rejected.messages[0]
    with pytest.raises(DataError, match=r"found no user column.*Call it user_id"):
        read_table(put(tmp_path, "movieId,age\n1,2\n"), Rejected(), of="user")
