"""Step Functions as moto executes it: its Lambda states call our handlers, its Batch jobs our command line."""

import json
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import boto3
from moto.awslambda.models import LambdaBackend
from moto.batch.responses import BatchResponse
from moto.core.exceptions import JsonRESTError
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_batch import (
    StateTaskServiceBatch,
)

from batch_jobs import cli, handlers

DEFINITION = Path(handlers.__file__).with_name("state_machine.json").read_text()
FUNCTIONS = ("Ingest", "Judge", "Train", "Publish")
_ROLE = "arn:aws:iam::123456789012:role/machine"


class Throttled(JsonRESTError):
    """What Lambda answers when too many run at once."""

    code = 429

    def __init__(self):
        super().__init__("TooManyRequestsException", "Rate Exceeded.")


class StepFunctions:
    """One state machine, the queue it tells failures, and what stands in for its Lambdas and Batch jobs.

    `faults` has, by function or job, what happens at its next calls: a callable is called first and may raise.
    """

    def __init__(self, definition=DEFINITION, timeouts=()):
        self.faults, self.calls, self.jobs, self.waits = {}, [], [], []
        self.machines, self.sqs = boto3.client("stepfunctions"), boto3.client("sqs")
        self.queue = self.sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
        for name in FUNCTIONS:
            definition = definition.replace(f"${{{name}Function}}", name.lower())
        for name, value in {"FailuresQueue": self.queue, "JobQueue": "jobs", "JobDefinition": "recsys"}.items():
            definition = definition.replace(f"${{{name}}}", value)
        machine = json.loads(definition)
        for state, seconds in dict(timeouts).items():
            steps(machine)[state]["TimeoutSeconds"] = seconds
        self.arn = self.machines.create_state_machine(
            name=uuid.uuid4().hex, definition=json.dumps(machine), roleArn=_ROLE
        )["stateMachineArn"]

    def run(self, *jobs, compute="lambda"):
        """Execute to the end; give the status, the output or error and cause, and the messages in the queue."""
        with (
            patch.object(LambdaBackend, "invoke", self._invoke),
            patch.object(BatchResponse, "submitjob", lambda response: self._submit(json.loads(response.body))),
            patch.object(BatchResponse, "describejobs", lambda _: json.dumps({"jobs": self.jobs[-1:]})),
            # moto can re-case what a job is asked and answers, and does not (getmoto/moto#10076).
            patch.object(StateTaskServiceBatch, "_normalise_parameters", recased("_to_boto_request", "input_shape")),
            patch.object(StateTaskServiceBatch, "_normalise_response", recased("_from_boto_response", "output_shape")),
            # It also waits for a task token, and takes the second try of a job for one that timed out.
            patch.object(StateTaskServiceBatch, "_eval_wait_for_task_token", lambda *_, **__: None),
            patch.object(retrier_decl, "time", SimpleNamespace(sleep=self.waits.append)),
        ):
            given = json.dumps({"jobs": jobs, "compute": compute})
            arn = self.machines.start_execution(stateMachineArn=self.arn, name=uuid.uuid4().hex, input=given)[
                "executionArn"
            ]
            until = time.monotonic() + 60
            while (told := self.machines.describe_execution(executionArn=arn))["status"] == "RUNNING":
                assert time.monotonic() < until, "the execution does not end"
                time.sleep(0.02)
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        messages = sorted((json.loads(one["Body"]) for one in found), key=lambda one: one["namespace"])
        output = json.loads(told.get("output") or "null")
        return SimpleNamespace(
            status=told["status"], output=output, error=told.get("error"), cause=told.get("cause"), messages=messages
        )

    def _fail(self, name):
        self.calls.append(name)
        if self.faults.get(name):
            self.faults[name].pop(0)()

    def _invoke(self, name, qualifier, body, headers, response_headers):
        """Answer as the Lambda runtime does: an exception is its name and its words."""
        try:
            self._fail(name)
            return json.dumps(getattr(handlers, name)(json.loads(body), None)).encode()
        except Throttled:
            raise
        except Exception as error:
            response_headers["x-amz-function-error"] = "Unhandled"
            return json.dumps({"errorMessage": str(error), "errorType": type(error).__name__}).encode()

    def _submit(self, asked):
        """Run the command of a job as the image does, whose entry point is `recsys`."""
        command = asked["containerOverrides"]["command"]
        try:
            self._fail(f"{command[1]} job")
            status = cli.run([*command, "--json"])
        except InterruptedError:
            status = 137
        done = {"jobId": uuid.uuid4().hex, "status": "FAILED" if status else "SUCCEEDED"}
        self.jobs.append(done | {"container": {"exitCode": status}, "command": command})
        return json.dumps({"jobId": done["jobId"], "jobName": asked["jobName"]})


def recased(how, which):
    """Give a method of moto's that changes the case of names in place, as the shape of SubmitJob has them."""
    shape = getattr(boto3.client("batch").meta.service_model.operation_model("SubmitJob"), which)

    def change(state, response=None, parameters=None, **_):
        getattr(state, how)(response if parameters is None else parameters, shape)

    return change


def steps(machine):
    """States that each namespace goes through."""
    return machine["States"]["EachNamespace"]["ItemProcessor"]["States"]
