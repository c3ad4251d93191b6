"""Where what is downloaded is kept: never where others can put links to files of ours."""

import os

import pytest

from recsys.errors import ConfigError
from recsys.stores import cache_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("RECSYS_CACHE", raising=False)
    return tmp_path / f"recsys-{os.getuid()}"


def test_it_is_for_this_user_alone(folder):
    assert cache_folder() == cache_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def somebody_elses(folder, monkeypatch):
    folder.mkdir()
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    folder.rename(folder.with_name(f"recsys-{os.getuid()}"))


PLANTED = {
    "a link": lambda folder, _: (folder.with_name("theirs").mkdir(), folder.symlink_to("theirs")),
    "a link to nothing": lambda folder, _: folder.symlink_to("nowhere"),
    "a file": lambda folder, _: folder.touch(),
    "open to others": lambda folder, _: (folder.mkdir(), folder.chmod(0o777)),
    "somebody else's": somebody_elses,
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_others_made_there_is_refused(folder, monkeypatch, planted):
    PLANTED[planted](folder, monkeypatch)
    with pytest.raises(ConfigError, match="RECSYS_CACHE"):
        cache_folder()


def test_the_folder_the_operator_names_is_the_operators_affair(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
