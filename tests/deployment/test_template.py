"""The template as it is packaged, without what has to be compiled for it: cfn-lint, and what we promise of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from batch_jobs.config import IngestConfig
from chalice_app import package
from chalice_app.package import Bundle
from recsys import telemetry

CFN_LINT = Path(sys.executable).parent / "cfn-lint"
NAMELESS = {"batch:DescribeJobs"}  # actions IAM knows no resources for
S3 = {"read": {"s3:GetObject", "s3:ListBucket"}, "add": {"s3:GetObject", "s3:ListBucket", "s3:PutObject"}}
NEEDS = {  # by what our code calls: an item of a transaction is put by PutItem, a part of an upload by PutObject
    "ApiRole": {
        "Artifacts": S3["read"],
        "Models": {f"dynamodb:{name}" for name in ("GetItem", "Query", "PutItem")},  # it may move the pointer
        "Online": {f"dynamodb:{name}Item" for name in ("Get", "BatchGet", "Put", "Delete")} | {"dynamodb:Query"},
        "Events": {"sqs:GetQueueUrl", "sqs:SendMessage"},
    },
    "TakeInRole": {
        "EventLog": S3["add"],
        "Events": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
        "Online": {"dynamodb:BatchGetItem"},  # who was erased
    },
    "TrainRole": {
        "EventLog": S3["add"] | {"s3:AbortMultipartUpload", "s3:DeleteObject"},
        "Artifacts": S3["add"] | {"s3:AbortMultipartUpload"},
        "Runs": {"s3:GetObject", "s3:PutObject"},
        "Models": {"dynamodb:GetItem"},
        "Online": {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:BatchWriteItem"},
    },
    "PublishRole": {
        "Artifacts": S3["read"] | {"s3:DeleteObject"},  # versions trained with who was erased
        "Runs": {"s3:GetObject", "s3:PutObject"},
        "Models": {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem"},
        "Online": {"dynamodb:Query", "dynamodb:BatchWriteItem"},
    },
}
NEEDS["BatchRole"] = {
    store: NEEDS["TrainRole"].get(store, set()) | NEEDS["PublishRole"].get(store, set()) for store in NEEDS["TrainRole"]
}
STORES = ("Artifacts", "EventLog", "Models", "Online", "Events")


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    bundle = Bundle(folder, "prod", "arm64", sys.executable, "python3.13", tokens=False)
    bundle.lay_out_app()
    bundle.write(folder / "out")
    return folder / "out" / "sam.json"


def test_who_packages_what_reads_tokens_is_asked_whose_they_are():
    made = [package.resources("dev", "x86_64", "python3.13", tokens=tokens) for tokens in (True, False)]
    asked, known = (
        (one["Parameters"], one["Resources"]["APIHandler"]["Properties"]["Environment"]["Variables"]) for one in made
    )
    assert asked[0].keys() - known[0].keys() == {"Jwks", "JwtIssuer", "JwtAudience"}
    assert not any("Default" in asked[0][name] for name in ("Jwks", "JwtIssuer", "JwtAudience"))
    told = {name: value for name, value in asked[1].items() if name not in known[1]}
    assert told == {
        "RECSYS_JWKS": {"Ref": "Jwks"},
        "RECSYS_JWT_ISSUER": {"Ref": "JwtIssuer"},
        "RECSYS_JWT_AUDIENCE": {"Ref": "JwtAudience"},
    }


@pytest.fixture
def template(packaged):
    return json.loads(packaged.read_text())


def of_type(template, kind):
    return {name: one["Properties"] for name, one in template["Resources"].items() if one["Type"] == kind}


def functions(template):
    return of_type(template, "AWS::Lambda::Function") | of_type(template, "AWS::Serverless::Function")


def listed(value):
    return value if isinstance(value, list) else [value]


def allowed(properties):
    """Statements of a role, those under a condition too."""
    for policy in properties.get("Policies", []):
        for one in policy["PolicyDocument"]["Statement"]:
            statement = one["Fn::If"][1] if "Fn::If" in one else one
            if statement["Effect"] == "Allow":
                yield listed(statement["Action"]), listed(statement["Resource"])


def granted(role):
    """What a role may do, by the store it may do it to; the runs lie in the bucket of the artefacts."""
    found = {}
    for actions, resources in allowed(role):
        for store in STORES:
            for text in map(json.dumps, resources):
                if f'"{store}"' in text or f"${{{store}." in text:
                    found.setdefault("Runs" if "/runs/" in text else store, set()).update(actions)
    return found


def policy_faults(template):
    for name, role in of_type(template, "AWS::IAM::Role").items():
        for actions, resources in allowed(role):
            yield from (f"{name} allows {one}" for one in actions if "*" in one)
            if "*" in resources and not set(actions) <= NAMELESS:
                yield f"{name} allows {actions} on everything"
        if (found := granted(role)) != (needed := NEEDS.get(name, {})):
            yield f"{name} may {found}, and needs {needed}"


def store_faults(template):
    for name, one in of_type(template, "AWS::S3::Bucket").items():
        if "BucketEncryption" not in one or list(one["PublicAccessBlockConfiguration"].values()) != [True] * 4:
            yield f"{name} is open"
        if one.get("VersioningConfiguration") != {"Status": "Enabled"} or "LifecycleConfiguration" not in one:
            yield f"{name} forgets"
    rules = template["Resources"]["Artifacts"]["Properties"]["LifecycleConfiguration"]["Rules"]
    if not any(one.get("Prefix") == "models/.answers/" and one.get("ExpirationInDays", 90) < 90 for one in rules):
        yield "a run of the same name would find the answers of an old one"
    for name, one in of_type(template, "AWS::DynamoDB::Table").items():
        if not one["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] or "SSESpecification" not in one:
            yield f"{name} is not safe"
        if one["BillingMode"] != "PAY_PER_REQUEST" or one["TimeToLiveSpecification"]["AttributeName"] != "expires":
            yield f"{name} is not of our kind"
        if [key["AttributeName"] for key in one["KeySchema"]] != ["pk", "sk"] or "DeletionProtectionEnabled" not in one:
            yield f"{name} has other keys, or can be deleted"
    for name, one in template["Resources"].items():
        if one["Type"] in ("AWS::S3::Bucket", "AWS::DynamoDB::Table") and "Retain" not in one.get("DeletionPolicy", ""):
            yield f"{name} goes with its stack"


def function_faults(template):
    for name, one in functions(template).items():
        if not {"MemorySize", "Timeout", "LoggingConfig", "Role", "Architectures", "Environment"} <= set(one):
            yield f"{name} is left to defaults"
        if one.get("PackageType") != "Image" and one["Timeout"] >= 29:
            yield f"{name} outlives the gateway's answer"
        if one.get("PackageType") == "Image" and "awslambdaric" not in one["ImageConfig"].get("EntryPoint", ()):
            yield f"{name} would run the image's command line"
    for name, one in of_type(template, "AWS::Logs::LogGroup").items():
        if not one.get("RetentionInDays"):
            yield f"{name} is kept for ever"


def flow_faults(template):
    queue, consumer = template["Resources"]["Events"]["Properties"], template["Resources"]["TakeInEvents"]["Properties"]
    if "RedrivePolicy" not in queue or queue["VisibilityTimeout"] < 6 * consumer["Timeout"]:
        yield "messages are lost, or delivered while they are worked on"
    for name, one in of_type(template, "AWS::Lambda::EventSourceMapping").items():
        if one.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name} deletes what failed"
        last_s = (queue.get("RedrivePolicy", {}).get("maxReceiveCount", 1) - 1) * queue["VisibilityTimeout"]
        if one["MaximumBatchingWindowInSeconds"] + last_s + consumer["Timeout"] > IngestConfig().settle_s:
            yield f"{name} still takes in events for which no model waits any more"
    api = template["Resources"]["RestAPI"]["Properties"]
    if "ThrottlingRateLimit" not in str(api.get("MethodSettings")):
        yield "they may ask as often as they like"
    settings = template["Resources"]["APIHandler"]["Properties"]["Environment"]["Variables"]
    if settings.get("RECSYS_AUTH") != "required":
        yield "anybody may ask"
    yield from (
        f"a browser cannot ask {path}" for path, one in api["DefinitionBody"]["paths"].items() if "options" not in one
    )
    machine = template["Resources"]["Nightly"]["Properties"]
    if missing := set(re.findall(r"\$\{(\w+)}", machine["DefinitionString"])) - set(machine["DefinitionSubstitutions"]):
        yield f"the state machine lacks {missing}"
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    told = {one["MetricName"] for one in alarms.values() if one.get("AlarmActions")}
    wanted = {"5XXError", "Latency", "Throttles", "ApproximateNumberOfMessagesVisible", "ModelAge"}
    wanted |= {"ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"}
    yield from (f"nobody is told of {one}" for one in sorted(wanted - told))


def faults(template):
    checks = (policy_faults, store_faults, function_faults, flow_faults)
    return [one for check in checks for one in check(template)]


def lint(path):
    done = subprocess.run([CFN_LINT, path], capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


def test_cfn_lint_and_we_find_nothing(packaged, template):
    assert lint(packaged) == ""
    assert faults(template) == []


def test_cfn_lint_sees_what_is_wrong_in_what_is_merged(template, tmp_path):
    template["Resources"]["APIHandler"]["Properties"]["MemorySize"] = "much"
    template["Resources"]["Events"]["Properties"]["RedrivePolicy"] = {"deadLetterTargetArn": {"Ref": "Nobody"}}
    planted = tmp_path / "planted.json"
    planted.write_text(json.dumps(template))
    found = lint(planted)
    assert "'much' is not of type 'integer'" in found
    assert "Nobody" in found


def test_it_is_packaged_for_the_stage_the_architecture_and_the_runtime(template):
    defaults = {name: one["Default"] for name, one in template["Parameters"].items()}
    assert (defaults["Stage"], defaults["Architecture"], defaults["Runtime"]) == ("prod", "arm64", "python3.13")
    api = template["Resources"]["APIHandler"]["Properties"]
    assert (api["Architectures"], api["Runtime"]) == (["arm64"], {"Ref": "Runtime"})
    assert set(functions(template)) == {"APIHandler", "TakeInEvents", "Ingest", "Judge", "Train", "Publish"}
    assert len(of_type(template, "AWS::S3::Bucket")) == len(of_type(template, "AWS::DynamoDB::Table")) == 2


def test_the_alarm_on_old_models_watches_what_the_api_reports(template, capsys):
    telemetry.emit({telemetry.MODEL_AGE: 1.0}, {})
    (told,) = json.loads(capsys.readouterr().err)["_aws"]["CloudWatchMetrics"]
    alarm = of_type(template, "AWS::CloudWatch::Alarm")["OldModel"]
    assert (alarm["Namespace"], [{"Name": alarm["MetricName"], "Unit": "Seconds"}]) == (
        told["Namespace"],
        told["Metrics"],
    )
    assert [[one["Name"] for one in alarm["Dimensions"]]] == told["Dimensions"]
    assert alarm["Dimensions"][0]["Value"] == {"Ref": "APIHandler"}  # as Lambda names it, by AWS_LAMBDA_FUNCTION_NAME


def remove(*path):
    def plant(template):
        for step in path[:-1]:
            template = template[step]
        del template[path[-1]]

    return plant


def grant(role, actions, resource):
    def plant(template):
        policy = template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]
        policy["Statement"].append({"Effect": "Allow", "Action": actions, "Resource": resource})

    return plant


def deliver_late(template):
    template["Resources"]["Events"]["Properties"]["RedrivePolicy"]["maxReceiveCount"] = 6


@pytest.mark.parametrize(
    "plant",
    [
        grant("ApiRole", "dynamodb:DeleteItem", {"Fn::GetAtt": ["Models", "Arn"]}),
        grant("ApiRole", ["s3:GetObject", "s3:PutObject"], {"Fn::Sub": "${Artifacts.Arn}/models/*"}),
        grant("TrainRole", "dynamodb:UpdateItem", {"Fn::GetAtt": ["Models", "Arn"]}),
        grant("PublishRole", "s3:DeleteObjectVersion", {"Fn::Sub": "${Artifacts.Arn}/models/*"}),
        grant("PublishRole", "s3:PutObject", {"Fn::Sub": "${Artifacts.Arn}/models/*"}),
        grant("ApiRole", "s3:GetObject", {"Fn::Sub": "${Artifacts.Arn}/runs/*"}),
        grant("TakeInRole", "s3:*", {"Fn::GetAtt": ["Failures", "Arn"]}),
        remove("Resources", "ApiRole", "Properties", "Policies", 0, "PolicyDocument", "Statement", 2),
        grant("PublishRole", "sqs:SendMessage", "*"),
        remove("Resources", "Artifacts", "Properties", "PublicAccessBlockConfiguration", "BlockPublicAcls"),
        remove("Resources", "EventLog", "Properties", "BucketEncryption"),
        remove("Resources", "Artifacts", "Properties", "LifecycleConfiguration", "Rules", 1),
        remove("Resources", "Models", "Properties", "SSESpecification"),
        remove("Resources", "Online", "DeletionPolicy"),
        remove("Resources", "Train", "Properties", "LoggingConfig"),
        remove("Resources", "Judge", "Properties", "ImageConfig", "EntryPoint"),
        remove("Resources", "ApiLogs", "Properties", "RetentionInDays"),
        remove("Resources", "Events", "Properties", "RedrivePolicy"),
        remove("Resources", "EventsToLog", "Properties", "FunctionResponseTypes"),
        deliver_late,
        remove("Resources", "RestAPI", "Properties", "MethodSettings"),
        remove("Resources", "APIHandler", "Properties", "Environment", "Variables", "RECSYS_AUTH"),
        remove("Resources", "RestAPI", "Properties", "DefinitionBody", "paths", "/v1/{ns}/popular", "options"),
        remove("Resources", "Nightly", "Properties", "DefinitionSubstitutions", "TrainFunction"),
        remove("Resources", "OldModel", "Properties", "AlarmActions"),
        remove("Resources", "NightlyTimedOut"),
    ],
)
def test_our_checks_find_what_is_planted(template, plant):
    plant(template)
    assert len(faults(template)) == 1, faults(template)
