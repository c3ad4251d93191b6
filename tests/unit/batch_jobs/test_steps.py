"""A step as a Batch job calls it: what it refuses, what it keeps, what it does not do twice."""

import json

import pytest

from batch_jobs import cli, nightly

SETTINGS = json.dumps({"namespace": "shop", "model": {"kind": "popularity"}})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ARTIFACTS", "REGISTRY", "ONLINE", "EVENTS"):
        monkeypatch.delenv(f"RECSYS_{name}", raising=False)


def told(capsys, *arguments, status=0):
    assert cli.run(["step", *arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("ingest", "r1", SETTINGS), 2, "no step 'ingest' for a Batch job; there are judge, train, publish"),
        (("train", "r1", SETTINGS), 5, "step 'judge' left no answer"),
    ],
)
def test_what_no_machine_asks_for_is_refused(capsys, arguments, status, words):
    assert words in told(capsys, *arguments, status=status)["error"]


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ("{", "ConfigError", "the settings are not JSON"),
        ("[]", "ConfigError", "the event has no settings"),
        ('{"aws_secret_access_key": "x"}', "ConfigError", "unknown field"),
        (SETTINGS, "InsufficientDataError", ""),
    ],
)
def test_a_refusal_is_an_answer_and_ends_what_comes_after(capsys, settings, kind, words):
    answer = told(capsys, "judge", "r1", settings)
    assert (answer["error"], words in answer["reason"]) == (kind, True)
    assert answer["reason"] in told(capsys, "train", "r1", SETTINGS, status=2 if kind == "ConfigError" else 3)["error"]


def test_what_is_answered_is_not_worked_out_again(capsys, monkeypatch):
    done = []
    monkeypatch.setitem(nightly.STEPS, "judge", lambda *_: done.append(1) or {"split": "time"})
    first, second = (told(capsys, "judge", "r1", SETTINGS) for _ in range(2))
    assert (first["split"], second["split"], len(done)) == ("time", "time", 1)
    told(capsys, "judge", "r2", SETTINGS)
    assert len(done) == 2
