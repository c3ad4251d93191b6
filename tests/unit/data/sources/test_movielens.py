import gzip

import pytest

from recsys.data.sources import ReadSpec, Rejected, read_events, read_interactions
from recsys.errors import DataError

FORMS = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n7,31,3.0,1260759179\n",
    "ratings.dat": "1::31::2.5::1260759144\n7::31::3::1260759179\n",
    "u.data": "1\t31\t2.5\t1260759144\n7\t31\t3\t1260759179\n",
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("format", [None, "movielens"])
@pytest.mark.parametrize("as_directory", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_the_three_forms(tmp_path, name, format, as_directory, packed):
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(FORMS[name].encode()) if packed else FORMS[name].encode())
    found = read_interactions(tmp_path if as_directory else path, format=format)
    assert (found.users.ids(), found.items.ids()) == (["1", "7"], ["31"])
    assert found.weight.tolist() == [2.5, 3.0]
    assert found.timestamp is not None
    assert found.timestamp.tolist() == [1260759144, 1260759179]


def test_bad_lines_have_their_number(tmp_path):
    (tmp_path / "ratings.dat").write_text(FORMS["ratings.dat"] + "7::32::x::5\n")
    with pytest.raises(DataError, match=r"ratings.dat:3: column 'weight': 'x' is not a number"):
        list(read_events(tmp_path, ReadSpec("movielens"), Rejected()))


def test_another_directory_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"is a directory without ratings.csv, ratings.dat or u.data. Name a file"):
        read_interactions(tmp_path)
