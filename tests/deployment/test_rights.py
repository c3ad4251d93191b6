"""Each function does its work with the rights of its role alone, and has no other: the stand-in checks every call."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
import two_tastes

from batch_jobs import handlers
from chalice_app.package import Bundle
from recsys.aws.client import AwsError
from recsys.errors import ConflictError
from recsys.events import InteractionEvent
from recsys.serving import WarmUp
from recsys.serving.filters import OneOf
from recsys.serving.online.keys import ApiKey
from recsys.serving.people import People
from recsys.serving.rules import Rules
from recsys.serving.versions import Versions
from recsys.stores import ServingStores

sys.path.append(str(Path(__file__).parents[2] / "chalice_app"))
from chalicelib.limits import Limits

ROLES = ("ApiRole", "TakeInRole", "TrainRole", "PublishRole")
NOT_HERE = {
    *("logs:CreateLogStream", "logs:PutLogEvents"),  # what Lambda itself does for a function, and
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),  # its event source mapping
    "s3:AbortMultipartUpload",  # where a large array could not be stored whole
    "s3:ListBucket",  # also tells what is missing from what is forbidden
}
TRUSTED = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}


@pytest.fixture(scope="module")
def stack(in_account, tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    bundle = Bundle(folder, "dev", "x86_64", sys.executable, "python3.13", tokens=False)
    bundle.lay_out_app()
    bundle.write(folder / "out")
    package = SimpleNamespace(folder=folder / "out", python=sys.executable)
    stack = in_account(package, JobsImage="000000000000.dkr.ecr.eu-central-1.amazonaws.com/jobs:1")
    functions = boto3.client("lambda")
    for one in functions.list_event_source_mappings()["EventSourceMappings"]:
        functions.delete_event_source_mapping(UUID=one["UUID"])  # no docker runs the image here: the test delivers
    return stack


@contextmanager
def acting_as(stack, role):
    """Call AWS as the functions of a role do."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": TRUSTED})
    boto3.client("iam").update_assume_role_policy(RoleName=stack.names[role], PolicyDocument=policy)
    asked = {"RoleArn": f"arn:aws:iam::000000000000:role/{stack.names[role]}", "RoleSessionName": role}
    keys = boto3.client("sts").assume_role(**asked)["Credentials"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the keys it was made with
        patch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
        patch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
        for name, value in stack.settings.items():
            patch.setenv(name, value)
        patch.setenv("RECSYS_CACHE", str(stack.folder / role))
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    (folder / "events.csv").write_text("\n".join([two_tastes.HEADER, *two_tastes.rows()]) + "\n")
    (folder / "items.csv").write_text("\n".join(["item,kind", *(f"i{n},{'ab'[n % 2]}" for n in range(30))]) + "\n")
    (folder / "users.csv").write_text("user,age\nu1,30\n")
    tables = {name: str(folder / f"{name}.csv") for name in ("items", "users")}
    files = {"files": [str(folder / "events.csv")], "fields": ["kind:keyword"], **tables}
    return {"namespace": "shop", "ingest": files, "model": {"kind": "als", "factors": 8}}


def add_key(stack):
    """Do what an operator does with rights of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.settings.items():
            patch.setenv(name, value)
        ServingStores.from_environment().online.keys.add(ApiKey("k", "", ("read",), ("*",), 10.0, 10))


def night(stack, job, seed):
    told = {"run": f"night-{seed}", "job": job | {"model": job["model"] | {"seed": seed}}, "compute": "lambda"}
    for step in ("ingest", "judge", "train", "publish"):
        with acting_as(stack, "PublishRole" if step == "publish" else "TrainRole"):
            told = getattr(handlers, step)(told, None)


def day(stack, number):
    """Everything the API calls a store for."""
    with acting_as(stack, "ApiRole"):
        stores = ServingStores.from_environment()
        service = stores.service()
        stores.check()
        limits = Limits(stores.online.keys)
        assert stores.online.keys.revision()
        (key,) = stores.online.keys.all()
        assert limits.take(key) == 0
        limits.count(key, 200)
        limits.flush()
        assert WarmUp(service, stores.registry).ready()
        sent = [InteractionEvent(f"e{number}-{n}", "u1", f"i{n}", 1.7e9, "view", 1.0, None) for n in range(3)]
        assert service.record_events("shop", sent) == 3
        assert service.record_events("shop", sent) == 0
        assert service.recommend("shop", "u1", 5).strategy == "fold_in"
        assert service.recommend("shop", "u2", 5).strategy == "als"
        trending = service.trending("shop", 5)
        assert (trending.strategy, trending.degraded) == ("trending", False)
        assert (
            len(service.rerank("shop", "u1", ["i1", "i9"]).items) == len(service.because("shop", "u1", 2, 5).rows) == 2
        )
        for _ in range(2):  # put, delete and put again
            service.put_item("shop", "new", {"kind": "c"})
            found = service.recommend("shop", "u2", 5, rules=Rules(OneOf("kind", ("c",))))
            assert [one.item for one in found.items] == ["new"]
            service.delete_item("shop", "new")
        people = People(service.models, stores.registry, stores.online)
        assert people.held("shop", f"u{number + 3}").trained
        assert people.erase("shop", f"u{number + 3}").states == 1
        if number:
            versions = Versions(stores.artifacts, stores.registry, stores.online)
            with pytest.raises(ConflictError, match="no longer stored"):  # it was trained with somebody erased
                versions.roll_back("shop")
            assert len(versions.listed("shop")) == 1


def consume(stack):
    """Take in what is in the queue, each message twice."""
    queue, url = boto3.client("sqs"), stack.outputs["QueueUrl"]
    found = queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    records = [{"messageId": one["MessageId"], "body": one["Body"]} for one in found]
    with acting_as(stack, "TakeInRole"):
        for _ in range(2):
            assert handlers.take_in_events({"Records": records}, None) == {"batchItemFailures": []}
    for one in found:
        queue.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])


@pytest.fixture(scope="module")
def asked(stack, job):
    """What was asked for by whom, and whether it was allowed; the third night drops user states of the first."""
    add_key(stack)
    for number in range(3):
        night(stack, job, number)
        if number < 2:
            day(stack, number)
            consume(stack)
    night(stack, job | {"namespace": "moods", "model": {"kind": "fm", "factors": 2}, "features": {"item": ["kind"]}}, 0)
    return requests(stack)


def requests(stack, since=0):
    """Whether each role was allowed what it asked for, by role, action and resource."""
    roles, found = {name: role for role, name in stack.names.items()}, {}
    for line in (stack.folder / "decisions").read_text().splitlines()[since:]:
        who, action, resource, said = line.split()
        what = roles.get(who), action, resource
        found[what] = (
            found.get(what, False) or said == "Allow"
        )  # of the role's policy and the resource's, one is enough
    return {what: is_allowed for what, is_allowed in found.items() if what[0] in ROLES}


def refused(found):
    return [what for what, is_allowed in found.items() if not is_allowed]


def idle(stack, asked, role):
    """Actions the role allows, as it is deployed, and nobody asked for."""
    iam, used = boto3.client("iam"), {action for who, action, _ in asked if who == role}
    for one in policy_of(iam, stack.names[role])["PolicyDocument"]["Statement"]:
        actions = {one["Action"]} if isinstance(one["Action"], str) else set(one["Action"])
        yield from actions - used - NOT_HERE


def policy_of(iam, role):
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return iam.get_role_policy(RoleName=role, PolicyName=name)


def test_nobody_asks_for_what_the_role_does_not_allow(asked):
    assert {role for role, *_ in asked} == set(ROLES)
    assert refused(asked) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_allows_nothing_that_nobody_asks_for(stack, asked, role):
    assert list(idle(stack, asked, role)) == []


def test_a_right_too_few_is_missed_and_one_too_many_found(stack, asked, job):
    iam, role = boto3.client("iam"), stack.names["PublishRole"]
    policy, before = policy_of(iam, role), len((stack.folder / "decisions").read_text().splitlines())
    changed = json.dumps(policy["PolicyDocument"]).replace("dynamodb:PutItem", "dynamodb:DeleteItem")
    iam.put_role_policy(RoleName=role, PolicyName=policy["PolicyName"], PolicyDocument=changed)
    with pytest.raises(AwsError, match="AccessDenied"):
        night(stack, job, 3)
    assert [what[:2] for what in refused(requests(stack, before))] == [("PublishRole", "dynamodb:PutItem")]
    assert list(idle(stack, asked, "PublishRole")) == ["dynamodb:DeleteItem"]
