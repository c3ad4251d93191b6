"""Put what is packaged into an AWS account: ``python -m chalice_app.deploy --stage dev`` (make deploy).

The zip and the template go into a bucket of the account, named by their hash; a change set makes or changes the stack.
Region and credentials are read as boto3 reads them.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError, RecsysError, StorageError

ROOT = Path(__file__).parents[1]
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
FAILED = ("FAILED", "ROLLBACK_COMPLETE")  # in the name of a state
NOTHING_NEW = ("didn't contain changes", "No updates are to be performed")


class Account:
    """The account and region the environment names.

    Raises
    ------
    ConfigError
        If the environment names no region, or nobody who may ask.
    """

    def __init__(self) -> None:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        session = boto3.Session(region_name=os.environ.get("AWS_REGION"))  # of itself it reads AWS_DEFAULT_REGION
        if session.region_name is None:
            raise ConfigError("no region is set: export AWS_REGION=eu-central-1, say")
        try:
            who = session.client("sts").get_caller_identity()
        except (BotoCoreError, ClientError) as error:
            raise ConfigError(
                f"AWS does not know who deploys ({error}): run aws configure, or export credentials"
            ) from None
        self.number, self.region = who["Account"], session.region_name
        self.s3, self.stacks = session.client("s3"), session.client("cloudformation")

    def upload(self, path: Path) -> str:
        """Store a file once by what it holds; returns its s3:// URL."""
        bucket, data = f"recsys-deploy-{self.number}-{self.region}", path.read_bytes()
        key = f"{hashlib.sha256(data).hexdigest()}{path.suffix}"
        self._have_bucket(bucket)
        self.s3.put_object(Bucket=bucket, Key=key, Body=data, ExpectedBucketOwner=self.number)
        return f"s3://{bucket}/{key}"

    def _have_bucket(self, bucket: str) -> None:
        where = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
        try:
            self.s3.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": where} if where else {}))
        except (self.s3.exceptions.BucketAlreadyOwnedByYou, self.s3.exceptions.BucketAlreadyExists):
            return  # whose it is, every upload checks
        closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        self.s3.put_public_access_block(
            Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(closed, True), ExpectedBucketOwner=self.number
        )

    def state(self, stack: str) -> dict[str, Any] | None:
        """Return what is known of a stack; None where there is none."""
        try:
            found: dict[str, Any] = self.stacks.describe_stacks(StackName=stack)["Stacks"][0]
        except self.stacks.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":  # it does not exist
                return None
            raise
        return None if found["StackStatus"] == "REVIEW_IN_PROGRESS" else found


def deploy(account: Account, stack: str, folder: Path, given: dict[str, str]) -> dict[str, str]:
    """Make or change a stack and tell how it goes; returns its outputs."""
    template = json.loads((folder / "sam.json").read_text())
    template["Resources"]["APIHandler"]["Properties"]["CodeUri"] = account.upload(folder / "deployment.zip")
    uploaded = folder / "deployed.json"
    uploaded.write_text(json.dumps(template, separators=(",", ":")))
    bucket, _, key = account.upload(uploaded).removeprefix("s3://").partition("/")
    before = account.state(stack)
    changes = _changes(account, stack, f"{account.s3.meta.endpoint_url}/{bucket}/{key}", given, before)
    if changes:
        since = time.time()
        account.stacks.execute_change_set(ChangeSetName=changes)
        _follow(account, stack, since)
    after = account.state(stack) or {}
    return {one["OutputKey"]: one["OutputValue"] for one in after.get("Outputs", [])}


def _changes(
    account: Account, stack: str, url: str, given: dict[str, str], before: dict[str, Any] | None
) -> str | None:
    """Make a change set and return its ARN; None where there is nothing to change. What is not given stays as it is.

    Each has a name of its own: one that a deployment left when it was interrupted is not in the way of the next.
    """
    names = {one["ParameterKey"] for one in (before or {}).get("Parameters", [])} - {"Stage", "Runtime", "Architecture"}
    kept = [{"ParameterKey": name, "UsePreviousValue": True} for name in sorted(names - set(given))]
    changes: str = account.stacks.create_change_set(
        StackName=stack,
        ChangeSetName=f"make-deploy-{time.time_ns()}",
        ChangeSetType="UPDATE" if before else "CREATE",
        TemplateURL=url,
        Capabilities=CAPABILITIES,
        Parameters=[*kept, *({"ParameterKey": name, "ParameterValue": value} for name, value in given.items())],
    )["Id"]
    while (made := account.stacks.describe_change_set(ChangeSetName=changes))["Status"] not in (
        "CREATE_COMPLETE",
        "FAILED",
    ):
        time.sleep(1)
    if made["Status"] == "CREATE_COMPLETE":
        return changes
    reason = made.get("StatusReason", "")
    account.stacks.delete_change_set(ChangeSetName=changes)
    if any(told in reason for told in NOTHING_NEW):
        return None
    raise StorageError(f"CloudFormation refuses the change: {reason}")


def _follow(account: Account, stack: str, since: float) -> None:
    """Print what becomes of each resource until the stack is done."""
    seen: set[str] = set()
    while True:
        state = (account.state(stack) or {"StackStatus": "CREATE_IN_PROGRESS"})["StackStatus"]
        events = account.stacks.describe_stack_events(StackName=stack)["StackEvents"]
        for one in reversed(events):
            if one["EventId"] not in seen and one["Timestamp"].timestamp() >= since - 5:
                why = f"  {one['ResourceStatusReason']}" if "FAILED" in one["ResourceStatus"] else ""
                print(f"{one['ResourceStatus']:<28} {one['LogicalResourceId']}{why}", flush=True)
            seen.add(one["EventId"])
        if not state.endswith("IN_PROGRESS"):
            break
        time.sleep(2)
    if any(one in state for one in FAILED):
        raise StorageError(f"the stack {stack} is in state {state}; the first FAILED line above says why")


def parameters(told: list[str]) -> dict[str, str]:
    """Return values by name; `ConfigError` for what is no NAME=VALUE, such as the rest of one with a space in it."""
    if wrong := [one for one in told if not re.match(r"\w+=", one)]:
        raise ConfigError(f"{wrong[0]!r} is no NAME=VALUE; a setting holds no space")
    return dict(one.split("=", 1) for one in told)


def main() -> int:
    """Deploy, or say in one line why not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", default="dev", choices=("dev", "prod"))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the template")
    options = parser.parse_args()
    from botocore.exceptions import BotoCoreError, ClientError

    folder, stack = ROOT / "build" / "package" / options.stage, f"recsys-{options.stage}"
    try:
        given = parameters(options.set)
        if not (folder / "sam.json").exists():
            raise ConfigError(f"nothing is packaged: make package STAGE={options.stage}")
        outputs = deploy(Account(), stack, folder, given)
    except (RecsysError, BotoCoreError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 5
    for name, value in outputs.items():
        print(f"{name:<14} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
