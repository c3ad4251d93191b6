"""What is signed with: the same for every process, nobody else's, and long enough."""

import multiprocessing

import pytest

from recsys.errors import ConfigError, StorageError
from recsys.secret import key_of
from recsys.stores import signing_key


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("RECSYS_SECRET", raising=False)


def test_processes_that_make_it_at_once_have_the_same(tmp_path):
    fork = multiprocessing.get_context("fork")
    for n in range(10):
        place, barrier, keys = tmp_path / f"{n}" / "online.db", fork.Barrier(4), fork.SimpleQueue()

        def make(place=place, barrier=barrier, keys=keys):
            barrier.wait(10)
            keys.put(key_of("x", beside=place))

        processes = [fork.Process(target=make) for _ in range(4)]
        for one in processes:
            one.start()
        assert len({keys.get() for _ in processes}) == 1
        for one in processes:
            one.join()
        assert [one.name for one in place.parent.iterdir()] == ["online.db.secret"]
        assert (place.parent / "online.db.secret").stat().st_mode & 0o777 == 0o600


def test_the_setting_comes_before_the_file_and_purposes_and_shops_have_keys_of_their_own(tmp_path, monkeypatch):
    keys = [key_of(purpose, beside=tmp_path / name) for purpose in "xy" for name in "ab"]
    assert keys == [key_of(purpose, beside=tmp_path / name) for purpose in "xy" for name in "ab"]
    monkeypatch.setenv("RECSYS_SECRET", "é" * 16)
    monkeypatch.setenv("RECSYS_ONLINE", f"sqlite:{tmp_path}/a")
    keys += [signing_key(purpose) for purpose in "xy"]
    assert len(set(keys)) == 6
    assert {len(key) for key in keys} == {32}


def test_a_short_one_and_none_where_there_are_many_servers_are_refused_with_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_ONLINE", "dynamodb://table")
    with pytest.raises(ConfigError, match=r"every server must have the same\. Make one: python -c"):
        signing_key("x")
    monkeypatch.setenv("RECSYS_SECRET", "x" * 31)
    with pytest.raises(ConfigError, match=r"has 31 bytes.* Make one: python -c"):
        signing_key("x")
    monkeypatch.delenv("RECSYS_SECRET")
    monkeypatch.setenv("RECSYS_ONLINE", f"sqlite:{tmp_path}/online.db")
    (tmp_path / "online.db.secret").write_bytes(b"cut")
    with pytest.raises(ConfigError, match=r"has 3 bytes.* Remove it"):
        signing_key("x")
    (tmp_path / "a file").touch()
    with pytest.raises(StorageError, match="keeping a secret in"):
        key_of("x", beside=tmp_path / "a file" / "online.db")
