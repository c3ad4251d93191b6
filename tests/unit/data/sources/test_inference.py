import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.sources.inference import infer_delimiter, infer_format
from recsys.errors import DataError


def put(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("a.csv", "user;item\n", "csv"),
        ("a.TSV", "user\titem\n", "csv"),
        ("a.parquet", "whatever", "parquet"),
        ("train.txt", "0 1 2\n1 5\n", "lists"),
        ("train.txt", "0 1 2 3 4 5\n", "lists"),
        ("train.txt", "0 1\n5 6\n", "lists"),
        ("events.txt", "1,2,3\n", "csv"),
        ("events", "1|2\n", "csv"),
        ("user_artists.dat", "userID\tartistID\tweight\n", "csv"),
        ("ratings.dat", "1::2::3::4\n", "csv"),
    ],
)
def test_formats(tmp_path, name, text, format):
    assert infer_format(put(tmp_path, name, text)) == format


def test_a_parquet_file_is_known_under_any_name(tmp_path):
    pq.write_table(pa.table({"user": ["a"]}), tmp_path / "data.txt")
    assert infer_format(tmp_path / "data.txt") == "parquet"
    assert infer_format(tmp_path) == "movielens"


@pytest.mark.parametrize("text", ["196 242 3 881250949\n22 377 1 878887116\n", "1 2 3\n", "abc\ndef\n"])
def test_what_could_be_either_is_asked_for(tmp_path, text):
    with pytest.raises(
        DataError, match=r"cannot tell its format; line 1 reads .* Pass --format lists or format='lists'"
    ):
        infer_format(put(tmp_path, "events.txt", text))


@pytest.mark.parametrize(
    ("name", "text", "delimiter"),
    [
        ("a.csv", "user,item", ","),
        ("a.csv", "user;item;a,b,c,d,e", ";"),
        ("a.csv", '"x,y,z"|"b"|"c"|"d"', "|"),
        ("a.txt", "1::2::3", "::"),
        ("a.csv", "a:b,c:d", ","),
        ("a.tsv", "a,b,c\td", "\t"),
        ("a.tsv.gz", "a,b,c\td", "\t"),
    ],
)
def test_delimiters(tmp_path, name, text, delimiter):
    assert infer_delimiter(put(tmp_path, name, text)) == delimiter


def test_no_delimiter_and_no_lines(tmp_path):
    with pytest.raises(
        DataError, match=r"found no delimiter in line 1, which reads 'user item'. Pass --delimiter or delimiter="
    ):
        infer_delimiter(put(tmp_path, "a.csv", "user item\n"))
    with pytest.raises(DataError, match="holds nothing but blank lines"):
        infer_delimiter(put(tmp_path, "a.csv", "\n \n"))
