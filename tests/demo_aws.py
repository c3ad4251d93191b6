"""`make demo-aws`: the chain of `make demo` on S3, DynamoDB and SQS; a stand-in on this machine plays their part.

The buckets, tables and queues are those of the template that is deployed. What Lambda's event source mapping does, the
demo does itself: it hands messages of the queue to the function that takes events in, and deletes what that did not
fail on.
"""

import json
import os
import sys
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import boto3

from batch_jobs.console import Screen
from batch_jobs.demo import run_chain
from batch_jobs.handlers import take_in_events
from chalice_app.package import resources
from tests.clouds import cloud

DATA = Path(__file__).parents[1] / "data" / "sample"
STORES = ("Artifacts", "EventLog", "ArtifactsOverTls", "EventLogOverTls", "Models", "Online", "Events", "Failures")
PLACES = {"RECSYS_ARTIFACTS": "ArtifactsUrl", "RECSYS_EVENTS": "EventLogUrl"} | {
    "RECSYS_REGISTRY": "ModelsUrl",
    "RECSYS_ONLINE": "OnlineUrl",
    "RECSYS_RUNS": "RunsUrl",
}


def create_stores() -> dict[str, str]:
    """Create the stores of the deployment's template as a stack; returns its outputs."""
    template = resources("dev", "x86_64", "python3.13", tokens=False)
    kept = {part: template[part] for part in ("Parameters", "Conditions")}
    kept["Resources"] = {name: template["Resources"][name] for name in STORES}
    kept["Outputs"] = {name: value for name, value in template["Outputs"].items() if name != "ApiUrl"}
    stacks = boto3.client("cloudformation")
    stacks.create_stack(StackName="recsys", TemplateBody=json.dumps(kept))
    stacks.get_waiter("stack_create_complete").wait(StackName="recsys", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    (stack,) = stacks.describe_stacks(StackName="recsys")["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def deliver(queue: str, screen: Screen) -> None:
    """Hand the messages of a queue to the consumer until there are none."""
    sqs = boto3.client("sqs")
    url, delivered = sqs.get_queue_url(QueueName=queue)["QueueUrl"], 0
    while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        records = [{"messageId": one["MessageId"], "body": one["Body"]} for one in batch]
        failed = {one["itemIdentifier"] for one in take_in_events({"Records": records}, None)["batchItemFailures"]}
        for one in batch:
            if one["MessageId"] not in failed:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
                delivered += 1
    screen.note(
        f"{delivered} message{'s'[: delivered != 1]} of the queue went to the event log in S3; now the next night"
    )


def main() -> int:
    """Run the demo on a stand-in, which ends with it."""
    screen = Screen()
    with TemporaryDirectory(prefix="recsys-demo-aws-") as folder, cloud("ministack") as environment:
        os.environ |= environment
        outputs = create_stores()
        queue = outputs["QueueUrl"].rpartition("/")[2]
        os.environ |= {name: outputs[output] for name, output in PLACES.items()}
        os.environ |= {
            "RECSYS_QUEUE": f"sqs://{queue}",
            "RECSYS_CACHE": f"{folder}/cache",
            "RECSYS_SECRET": token_hex(),
        }
        screen.rows("Stores on the stand-in", ["setting", "place"], [[name, os.environ[name]] for name in PLACES])
        run_chain(DATA, Path(folder), screen, lambda: deliver(queue, screen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
