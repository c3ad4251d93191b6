"""The nightly run as the state machine, executed: what it publishes, and every way it can fail."""

import json
import os
import shutil
import threading
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import two_tastes
from moto import mock_aws
from step_functions import DEFINITION, StepFunctions, Throttled

from batch_jobs import nightly
from batch_jobs.config import load
from batch_jobs.console import Screen
from batch_jobs.publish import publish
from batch_jobs.stores import Stores
from batch_jobs.train import train
from recsys.errors import StorageError, TrainingDivergedError

USERS = [f"u{n}" for n in range(60)]
MODEL = {"kind": "als", "factors": 8, "iterations": 3, "seed": 7}
POPULAR = {"kind": "popularity"}


@pytest.fixture(scope="module", autouse=True)
def step_functions():
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        yield


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """Files of events by name: two tastes, and a few more events of the same."""
    folder, rows = tmp_path_factory.mktemp("events"), two_tastes.rows()
    files = {"all": rows[:-20], "more": rows[-20:]}
    for name, some in files.items():
        (folder / name).with_suffix(".csv").write_text("\n".join([two_tastes.HEADER, *some]) + "\n")
    return {name: str(folder / f"{name}.csv") for name in files}


def at(folder, monkeypatch):
    """Open the stores under a folder, for this process and for every step."""
    places = {"ARTIFACTS": "file:", "REGISTRY": "file:", "ONLINE": "sqlite:", "EVENTS": "file:", "RUNS": "file:"}
    for name, scheme in places.items():
        monkeypatch.setenv(f"RECSYS_{name}", f"{scheme}{folder / name.lower()}")
    folder.mkdir(exist_ok=True)
    return Stores.from_environment()


def job(*files, namespace="shop", **settings):
    return {"namespace": namespace, "ingest": {"files": files}, "model": MODEL, **settings}


def run_here(stores, settings):
    return nightly.nightly(stores, load(None, settings), Screen(as_json=True))


def lists(stores, namespace="shop", users=USERS):
    service = stores.service()
    found = {user: service.recommend(namespace, user, 10) for user in users}
    return {user: [(one.item, one.score) for one in answer.items] for user, answer in found.items()}


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory, events):
    """Stores with a version in service, to be copied."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("shop")
        run_here(at(folder, patch), job(events["all"]))
        return folder


@pytest.fixture
def shop(yesterday, tmp_path, monkeypatch, events):
    """A namespace with a version in service, and the job of the next night."""
    stores = at(shutil.copytree(yesterday, tmp_path / "shop"), monkeypatch)
    version = stores.registry.current("shop").version
    return SimpleNamespace(stores=stores, version=version, lists=lists(stores), tonight=job(events["more"]))


def test_it_publishes_what_the_nightly_command_publishes(tmp_path, monkeypatch, events):
    served, machine = {}, StepFunctions()
    for place in ("here", "lambda", "batch"):
        stores = at(tmp_path / place, monkeypatch)
        for files in ([events["all"]], [events["all"], events["more"]]):
            if place == "here":
                run_here(stores, job(*files))
            else:
                ended = machine.run(job(*files), compute=place)
                assert (ended.status, ended.messages) == ("SUCCEEDED", [])
                (published,) = ended.output
                assert published["version"] == stores.registry.current("shop").version
                assert published["gate"].startswith("ndcg@20 0.")
        served[place] = lists(stores)
        assert stores.registry.current("shop").sequence == 2
    assert served["here"] == served["lambda"] == served["batch"]
    assert machine.calls[:4] == ["ingest", "judge", "train", "publish"]
    assert machine.calls[-3:] == ["train", "publish job", "publish"]


def fails(times, error):
    """Make a fault: the next calls raise."""

    def fail():
        raise error

    return [fail] * times


@pytest.mark.parametrize(
    "faults",
    [
        {"judge": fails(2, Throttled())},
        {"ingest": fails(1, StorageError("the table is busy")), "publish": fails(5, StorageError("the table is busy"))},
        {"train": fails(1, type("Sandbox.Timedout", (Exception,), {})())},
    ],
    ids=["throttled twice", "stores refuse", "out of time once"],
)
def test_what_passes_is_tried_again(shop, faults):
    machine = StepFunctions()
    machine.faults, expected = faults, 4 + sum(map(len, faults.values()))
    ended = machine.run(shop.tonight)
    assert (ended.status, ended.messages, len(machine.calls)) == ("SUCCEEDED", [], expected)
    assert shop.stores.registry.current("shop").version == ended.output[0]["version"] != shop.version
    assert len(machine.waits) == expected - 4


@pytest.mark.parametrize("step", ["train", "publish"])
def test_a_step_whose_answer_was_lost_is_repeated_without_harm(shop, monkeypatch, step):
    real, lost = nightly.STEPS[step], []

    def loses_its_first_answer(*arguments):
        answer = real(*arguments)
        if not lost:
            lost.append(answer)
            raise StorageError("connection reset")
        return answer

    monkeypatch.setitem(nightly.STEPS, step, loses_its_first_answer)
    ended = StepFunctions().run(shop.tonight)
    now = shop.stores.registry.current("shop")
    assert (ended.status, len(lost), now.sequence) == ("SUCCEEDED", 1, 2)
    assert ended.output[0]["version"] == now.version != shop.version


END = {"GateRefusedError", "InsufficientDataError", "ConfigError", "TrainingDivergedError", "ConflictError"}
REFUSED = {
    "worse": ({"model": POPULAR, "gate": {"min_coverage": 0.99}}, "GateRefusedError", "of the catalogue, 99.0% are"),
    "too little": ({"gate": {"min_users": 1000}}, "InsufficientDataError", "the gate asks for 1000. Wait for more"),
    "settings": ({"model": {"kind": "als", "factor": 8}}, "ConfigError", "no setting 'factor'; it has factors"),
    "no such file": ({"ingest": {"files": ["gone.csv"]}}, "DataError", "gone.csv: there is no such file"),
}
FAULTS = {
    "diverged": ({"train": fails(1, TrainingDivergedError("too large steps"))}, "TrainingDivergedError", "too large"),
    "throttled for good": ({"judge": fails(6, Throttled())}, "Lambda.TooManyRequestsException", "Rate Exceeded"),
    "stores refuse for good": ({"ingest": fails(6, StorageError("no route"))}, "StorageError", "no route"),
    "a crash in train": ({"train": fails(1, RuntimeError("it died"))}, "RuntimeError", "it died"),
    "hanging": ({"train": [lambda: threading.Event().wait(1.5)] * 2}, "States.Timeout", "States.Timeout"),
}


def zeros(fit):
    """Lose all that a model has learned."""

    def sabotaged(*arguments):
        fitted = fit(*arguments)
        factors = fitted.model.export()
        fitted.model._keep(fitted.model.dataset, replace(factors, user_vectors=np.zeros_like(factors.user_vectors)))
        return fitted

    return sabotaged


def check_old_version(shop):
    assert shop.stores.registry.current("shop").version == shop.version
    assert lists(shop.stores) == shop.lists


def check_told(ended, error, words):
    (message,) = ended.messages
    assert (ended.status, ended.error) == ("FAILED", error if error in END else "Failed")
    assert (message["namespace"], message["error"]) == ("shop", error)
    assert words in message["reason"]
    assert json.loads(ended.cause) == ended.messages


@pytest.mark.parametrize("compute", ["lambda", "batch"])
@pytest.mark.parametrize(("settings", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_not_tried_again_and_told_in_words(shop, settings, error, words, compute):
    machine = StepFunctions()
    check_told(machine.run(shop.tonight | settings, compute=compute), error, words)
    assert machine.waits == []
    check_old_version(shop)


@pytest.mark.parametrize("compute", ["lambda", "batch"])
def test_what_was_judged_good_and_went_wrong_in_the_last_training_is_not_published(shop, monkeypatch, compute):
    monkeypatch.setattr(nightly, "fit", zeros(nightly.fit))
    machine = StepFunctions()
    words = "what was trained on all events reaches ndcg@20 0."
    check_told(machine.run(shop.tonight, compute=compute), "GateRefusedError", words)
    assert (machine.waits, machine.calls[-1]) == ([], "train")
    check_old_version(shop)


@pytest.mark.parametrize(("faults", "error", "words"), FAULTS.values(), ids=FAULTS)
def test_after_a_failure_the_old_version_serves_and_the_reason_is_told(shop, faults, error, words):
    machine = StepFunctions(timeouts={"Train": 1})
    machine.faults = {name: list(some) for name, some in faults.items()}
    check_told(machine.run(shop.tonight), error, words)
    check_old_version(shop)


def promote_another(shop):
    """What another operator does while the machine trains."""
    other = train(shop.stores, load(None, job(model=POPULAR)), Screen(as_json=True))
    publish(shop.stores, "shop", other["version"], Screen(as_json=True))
    shop.version, shop.lists = other["version"], lists(shop.stores)


@pytest.mark.parametrize("compute", ["lambda", "batch"])
def test_a_version_that_came_meanwhile_is_not_replaced_unjudged(shop, monkeypatch, compute):
    machine = StepFunctions()
    machine.faults = {"publish" if compute == "lambda" else "publish job": [lambda: promote_another(shop)]}
    check_told(machine.run(shop.tonight, compute=compute), "ConflictError", "came into service after")
    check_old_version(shop)


def test_a_batch_job_that_dies_is_started_again_and_told_if_it_dies_for_good(shop):
    machine = StepFunctions()
    machine.faults = {"train job": fails(3, InterruptedError())}
    check_told(machine.run(shop.tonight, compute="batch"), "States.TaskFailed", "137")
    check_old_version(shop)
    machine.faults = {"judge job": fails(1, InterruptedError()), "train job": fails(2, InterruptedError())}
    ended = machine.run(shop.tonight, compute="batch")
    assert (ended.status, ended.messages) == ("SUCCEEDED", [])


def on_aws(aws, monkeypatch, folder):
    """Open stores on moto's server; Step Functions itself stays in this process, where its Lambdas are ours."""
    made = aws("moto")
    for service in ("S3", "DYNAMODB"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    places = {
        "ARTIFACTS": f"s3://{made.bucket()}/artifacts", "REGISTRY": f"dynamodb://{made.table()}",
        "ONLINE": f"dynamodb://{made.table()}", "EVENTS": f"s3://{made.bucket()}/log", "CACHE": str(folder / "cache"),
        "RUNS": f"s3://{made.bucket()}/runs",
    }  # fmt: skip
    for name, place in places.items():
        monkeypatch.setenv(f"RECSYS_{name}", place)
    return Stores.from_environment()


def test_over_s3_and_dynamodb_it_publishes_the_same_lists(yesterday, aws, tmp_path, monkeypatch, events):
    expected = lists(at(shutil.copytree(yesterday, tmp_path / "shop"), monkeypatch), users=USERS[::3])
    stores, machine = on_aws(aws, monkeypatch, tmp_path), StepFunctions()
    with closing(stores.online):
        ended = machine.run(job(events["all"]), compute="lambda")
        assert (ended.status, ended.messages, lists(stores, users=USERS[::3])) == ("SUCCEEDED", [], expected)
        ended = machine.run(job(gate={"min_users": 1000}), compute="batch")
        check_told(ended, "InsufficientDataError", "asks for 1000")
        assert stores.registry.current("shop").sequence == 1
        ended = machine.run(job(events["more"]), compute="batch")
        now = stores.registry.current("shop")
        assert (now.sequence, now.version) == (2, ended.output[0]["version"])


def test_one_namespace_that_fails_does_not_stop_the_others(shop, events):
    tiny = shop.tonight | {"namespace": "tiny"}
    others = [job(events["all"], namespace=name) for name in ("books", "films")]
    ended = StepFunctions().run(others[0], tiny, others[1])
    (message,) = ended.messages
    assert (ended.status, ended.error, json.loads(ended.cause)) == ("FAILED", "InsufficientDataError", [message])
    assert (message["namespace"], message["error"]) == ("tiny", "InsufficientDataError")
    for name in ("books", "films"):
        assert lists(shop.stores, name) == shop.lists
    assert shop.stores.registry.current("tiny") is None


def test_settings_without_a_namespace_are_those_of_the_default_and_no_settings_fail_alone(shop, events):
    nameless = {name: value for name, value in job(events["all"]).items() if name != "namespace"}
    ended = StepFunctions().run(nameless, "nonsense", shop.tonight)
    (message,) = ended.messages
    assert (ended.status, ended.error, message["namespace"]) == ("FAILED", "ConfigError", "default")
    assert "the event has no settings" in message["reason"]
    assert lists(shop.stores, "default") == shop.lists
    assert shop.stores.registry.current("shop").version != shop.version


def check_failure(shop, ended):
    check_old_version(shop)
    check_told(ended, ended.error, "")


def unguarded(shop, monkeypatch):
    """Publish over whatever is there."""
    monkeypatch.setattr(nightly, "publish", lambda *arguments, expected: publish(*arguments))
    return DEFINITION, {"publish": [lambda: promote_another(shop)]}


def silent(shop, monkeypatch):
    """End without a word."""
    return DEFINITION.replace('"Next": "Tell"', '"End": true'), {"judge": fails(1, RuntimeError())}


def obstinate(shop, monkeypatch):
    """Go on after a refusal."""
    monkeypatch.setattr(nightly, "gate", lambda *_: ("waved through", None))
    return DEFINITION, {}


@pytest.mark.parametrize("planted", [unguarded, silent, obstinate])
def test_the_checks_see_a_planted_defect(shop, monkeypatch, planted):
    definition, faults = planted(shop, monkeypatch)
    machine = StepFunctions(definition)
    machine.faults = faults
    ended = machine.run(shop.tonight | {"gate": {"min_users": 10 if faults else 1000}})
    with pytest.raises((AssertionError, ValueError)):
        check_failure(shop, ended)
