"""The definition of the nightly state machine, looked at without running it."""

import importlib
import json
import pkgutil
import re
from pathlib import Path

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator
from statelint.config import Config
from statelint.linter import Linter

import batch_jobs
import recsys.aws
from recsys.errors import RecsysError, StorageError

DEFINITION = Path(batch_jobs.__file__).with_name("state_machine.json").read_text()


def states(definition):
    return json.loads(definition)["States"]["EachNamespace"]["ItemProcessor"]["States"]


def tasks(definition):
    return {name: state for name, state in states(definition).items() if state["Type"] == "Task"}


def lint(definition):
    return Linter.validate(definition, Config([], False, False))


def test_it_is_a_state_machine():
    assert lint(DEFINITION) == []
    assert lint(DEFINITION.replace('"Next": "Tell"', '"Next": "Tel"', 1)), "a Next that leads nowhere is seen"


def test_what_a_deployment_fills_in():
    named = set(re.findall(r"\$\{(\w+)\}", DEFINITION))
    functions = {"IngestFunction", "JudgeFunction", "TrainFunction", "PublishFunction"}
    assert named == functions | {"JobQueue", "JobDefinition", "FailuresQueue"}


def errors_of_ours():
    for module in pkgutil.iter_modules(recsys.aws.__path__, "recsys.aws."):
        importlib.import_module(module.name)
    found = [RecsysError]
    for one in found:
        found += [kind for kind in one.__subclasses__() if kind.__module__.startswith("recsys.")]
    return found


def check_errors(definition):
    """Every error of ours is told in words, and tried again only where a store refuses."""
    kinds = errors_of_ours()
    for name, task in tasks(definition).items():
        if task["Resource"].endswith("lambda:invoke"):
            (words,) = [catch for catch in task["Catch"] if catch["Next"] == "Refused"]
            assert set(words["ErrorEquals"]) == {kind.__name__ for kind in kinds}, name
            again = {error for retry in task["Retry"] for error in retry["ErrorEquals"]}
            for kind in kinds:
                assert (kind.__name__ in again) == issubclass(kind, StorageError), (name, kind)


def check_ends(definition):
    """Every task ends in time, and whatever becomes of it is told."""
    for name, task in tasks(definition).items():
        assert task["TimeoutSeconds"] > 0, name
        assert task["Retry"][0]["JitterStrategy"] == "FULL", name
        assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"], name
        for catch in task["Catch"]:
            after = states(definition)[catch["Next"]]
            while name != "Tell" and after["Type"] == "Pass" and "Next" in after:
                after = states(definition)[after["Next"]]
            assert name == "Tell" or after.get("Resource") == "arn:aws:states:::sqs:sendMessage", name


def check_batch(definition):
    """Parameters of a job are those of SubmitJob, whose names Step Functions writes with a capital."""
    shape = get_session().get_service_model("batch").operation_model("SubmitJob").input_shape
    jobs = [task for task in tasks(definition).values() if "batch" in task["Resource"]]
    assert [task["Resource"] for task in jobs] == ["arn:aws:states:::batch:submitJob.sync"] * 3
    for task in jobs:
        problems = ParamValidator().validate(uncapitalized(task["Parameters"]), shape)
        assert not problems.has_errors(), problems.generate_report()


def uncapitalized(parameters):
    if not isinstance(parameters, dict):
        return parameters
    names = {name: name.removesuffix(".$") for name in parameters}
    return {
        short[0].lower() + short[1:]: [parameters[name]] if name != short else uncapitalized(parameters[name])
        for name, short in names.items()
    }


PLANTED = {
    "a refusal that nobody catches": (check_errors, '"GateRefusedError", "StorageError"', '"StorageError"'),
    "a refusal that is tried again": (check_errors, '["StorageError", "AwsError", "La', '["ConfigError", "La'),
    "an end without a word": (check_ends, '"Next": "Tell"', '"End": true'),
    "no end at all": (check_ends, '"TimeoutSeconds": 960', '"TimeoutSeconds": 0'),
    "retries all at once": (check_ends, '"FULL"', '"NONE"'),
    "a name that Batch does not know": (check_batch, '"Command.$"', '"Arguments.$"'),
    "a name in the case of Batch": (check_batch, '"JobQueue"', '"Queue"'),
}


@pytest.mark.parametrize("check", [check_errors, check_ends, check_batch])
def test_errors_ends_and_jobs(check):
    check(DEFINITION)


@pytest.mark.parametrize(("check", "old", "new"), PLANTED.values(), ids=PLANTED)
def test_planted_defects_are_seen(check, old, new):
    assert old in DEFINITION
    with pytest.raises(AssertionError):
        check(DEFINITION.replace(old, new))
