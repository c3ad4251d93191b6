"""The line of a job; those of requests are in tests/api/test_log.py."""

import json
import threading
import time
from types import SimpleNamespace

import pytest

from recsys import telemetry
from recsys.errors import StorageError
from recsys.telemetry import is_cold, observed

CONTEXT = SimpleNamespace(aws_request_id="1")


@observed
def job(event, context):
    if isinstance(event, Exception):
        raise event
    return {"done": event}


def test_a_job_has_one_line_and_keeps_its_result(capsys):
    assert job(3, CONTEXT) == {"done": 3}
    line = json.loads(capsys.readouterr().err)
    assert (line["request_id"], line["level"]) == ("1", "INFO")
    assert line["Latency"] >= 0
    assert "error" not in line


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (StorageError("reading the\nlog"), "StorageError: reading the\nlog"),
        (KeyError("u1"), "KeyError at telemetry.py:"),
    ],
)
def test_a_job_that_fails_says_why_and_fails(capsys, error, logged):
    with pytest.raises(type(error)):
        job(error, CONTEXT)
    (text,) = capsys.readouterr().err.splitlines()
    line = json.loads(text)
    assert line["error"].startswith(logged)
    assert line["level"] == "ERROR"
    assert "u1" not in text


def test_a_metric_is_of_the_function_it_runs_in(capsys, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "recsys-dev")
    job(None, CONTEXT)
    line = json.loads(capsys.readouterr().err)
    (told,) = line["_aws"]["CloudWatchMetrics"]
    assert told["Dimensions"] == [["function"]]
    assert line["function"] == "recsys-dev"


def callers_told_they_are_first():
    barrier, found = threading.Barrier(16), []
    threads = [threading.Thread(target=lambda: (barrier.wait(), found.append(is_cold()))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(found)


def test_one_of_many_first_callers_is_the_first(monkeypatch):
    for _ in range(50):
        monkeypatch.setattr(telemetry, "_first", threading.Lock())
        assert callers_told_they_are_first() == 1


class LookThenTake:
    """A flag in the place of the lock."""

    taken = False

    def acquire(self, *, blocking):
        was_taken = self.taken
        time.sleep(0.001)
        self.taken = True
        return not was_taken


def test_a_flag_would_tell_several(monkeypatch):
    monkeypatch.setattr(telemetry, "_first", LookThenTake())
    assert callers_told_they_are_first() > 1
