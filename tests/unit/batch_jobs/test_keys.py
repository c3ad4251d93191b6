"""`recsys keys`: what it prints, what it stores, and what it refuses."""

import json
import re
from contextlib import closing
from hashlib import sha256

import pytest

from batch_jobs import cli
from recsys.serving import SQLiteOnlineStore
from recsys.serving.online.keys import Usage


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_ONLINE", f"sqlite:{tmp_path}/online.db")
    with closing(SQLiteOnlineStore(tmp_path / "online.db")) as opened:
        yield opened.keys


@pytest.fixture
def recsys(capsys):
    def run(*arguments, status=0):
        assert cli.run(["keys", *arguments]) == status
        return capsys.readouterr()

    return run


def test_a_key_is_printed_once_and_only_its_hash_is_stored(store, recsys, tmp_path):
    granted = ("--namespace", "shop", "--namespace", "films", "--scope", "read", "--scope", "write")
    printed = recsys("add", *granted, "--rate", "2.5", "--note", "the web shop").out
    key_id, secret = re.fullmatch("rs_([0-9a-f]{12})_([0-9a-f]{64})\n", printed).groups()
    (stored,) = store.all()
    assert (stored.key_id, stored.sha256) == (key_id, sha256(secret.encode()).hexdigest())
    assert (stored.scopes, stored.namespaces) == (("read", "write"), ("shop", "films"))
    assert (stored.rate, stored.burst, stored.note) == (2.5, 5, "the web shop")
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    told = json.loads(recsys("list", "--json").out)["keys"]
    assert [(one["id"], one["revoked"], one["note"]) for one in told] == [(key_id, False, "the web shop")]
    assert secret not in json.dumps(told)
    assert "2.5/s" in recsys("list").out
    recsys("revoke", key_id)
    assert "revoked" in recsys("list").out
    assert store.all()[0].revoked


def test_a_key_reads_without_a_bound_unless_more_is_said(store, recsys):
    told = json.loads(recsys("add", "--namespace", "*", "--json").out)
    assert (told["scopes"], told["namespaces"], told["rate"], told["burst"]) == (["read"], ["*"], 0.0, 0)
    assert store.all()[0].scopes == ("read",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add"], "--namespace"),
        (["add", "--namespace", "a/b"], "namespace"),
        (["add", "--namespace", "shop", "--scope", "all"], "--scope"),
        (["add", "--namespace", "shop", "--burst", "3"], "--rate"),
        (["add", "--namespace", "shop", "--rate", "0"], "--rate"),
        (["add", "--namespace", "shop", "--note", "a\nb"], "--note"),
        (["revoke", "nobody"], "recsys keys list"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(store, recsys, arguments, said):
    stderr = recsys(*arguments, status=2).err
    assert said in stderr
    assert stderr.count("\n") == 1
    assert store.all() == []


def test_usage_is_shown_by_day_and_key(store, recsys):
    store.put_usage("p", [Usage("2999-01-01", "k", {"2xx": 7, "4xx": 1}), Usage("2000-01-01", "k", {"2xx": 1})])
    told = json.loads(recsys("usage", "--json").out)["usage"]
    assert told == [{"day": "2999-01-01", "key": "k", "requests": {"2xx": 7, "4xx": 1}}]
    assert "2999-01-01" in recsys("usage", "--days", "1").out
