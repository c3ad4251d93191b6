"""Deploying, as far as a stand-in for AWS can play it: where to, what was asked for, and whether there is a stack."""

import pytest
from botocore.exceptions import ClientError

from chalice_app.deploy import Account, _changes, parameters
from recsys.errors import ConfigError


def test_settings_are_taken_whole_or_not_at_all():
    assert parameters(["AlarmEmail=a@b.c", 'Jobs=[{"a":"b=c"}]', "Subnets="]) == {
        "AlarmEmail": "a@b.c",
        "Jobs": '[{"a":"b=c"}]',
        "Subnets": "",
    }
    with pytest.raises(ConfigError, match=r"'\"shop\"}\]' is no NAME=VALUE"):
        parameters(['Jobs=[{"namespace":', '"shop"}]'])


def test_the_region_is_the_one_the_message_says(aws, monkeypatch):
    aws("moto")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert Account().region == "eu-west-3"
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(ConfigError, match="AWS_REGION"):
        Account()


def test_a_stack_that_cannot_be_asked_for_is_not_taken_for_none(aws, monkeypatch):
    aws("moto")
    account = Account()
    assert account.state("recsys-none") is None

    def refuse(**_):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "DescribeStacks")

    monkeypatch.setattr(account.stacks, "describe_stacks", refuse)
    with pytest.raises(ClientError):
        account.state("recsys-none")


def test_what_an_interrupted_deployment_left_is_not_in_the_way(aws, tmp_path):
    aws("moto")
    account = Account()
    (tmp_path / "one.json").write_text('{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}')
    place = account.upload(tmp_path / "one.json").removeprefix("s3://")
    url = f"{account.s3.meta.endpoint_url.replace('127.0.0.1', 'localhost')}/{place}"  # as moto knows itself
    stack = f"recsys-{tmp_path.name}".replace("_", "-")
    made = [_changes(account, stack, url, {}, account.state(stack)) for _ in range(2)]
    names = {arn.split("/")[1] for arn in made}  # of two with one name AWS refuses the second, moto does not
    assert len(names) == 2
