"""Publishing while DynamoDB throttles, leaves items undone and resets connections after the deed: each version once."""

import os
from contextlib import closing

import pytest
from faulty import Weather, server, until_done
from planted import USERS, K, lists, put

from batch_jobs.console import Screen
from batch_jobs.publish import publish
from recsys.aws import batches
from recsys.stores import ServingStores

PUBLISHED = 9


@pytest.fixture
def weather(aws, tmp_path, monkeypatch):
    place = aws("ministack")
    monkeypatch.setenv("RECSYS_ARTIFACTS", f"s3://{place.bucket()}")
    monkeypatch.setenv("RECSYS_REGISTRY", f"dynamodb://{place.table()}")
    monkeypatch.setenv("RECSYS_ONLINE", f"dynamodb://{place.table()}")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    bad, calm = Weather(os.environ["AWS_ENDPOINT_URL"]), ServingStores.from_environment()
    with closing(bad.upstream), closing(calm.online), server(bad) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
        stores = ServingStores.from_environment()
        with closing(stores.online):
            yield bad, calm, stores


def faults(weather):
    """Publish versions in turn, each again until it is told that it is done; return what is not as it must be."""
    bad, calm, stores = weather
    constants = {put(calm, constant): constant for constant in (1, 2, 3)}
    order = [*constants] * (PUBLISHED // len(constants))
    for version in order:
        until_done(publish, stores, "shop", version, Screen(as_json=True))
        service = calm.service()
        for user in range(USERS):
            found = service.recommend("shop", f"u{user}", K)
            if [(one.item, one.score) for one in found.items] != lists(constants[version])["user"]:
                return "states"
    print(dict(bad.seen))
    assert min(bad.seen["throttled"], bad.seen["partly"], bad.seen["reset"]) > 2
    history = calm.registry.history("shop")
    return "" if [one.version for one in history] == order else "history"


def test_each_version_is_published_once_and_whole(weather):
    assert faults(weather) == ""


def test_a_writer_that_does_not_look_at_what_is_left_is_found(weather, monkeypatch):
    def once(client, table, batch):
        until_done(client.call, "BatchWriteItem", RequestItems={table: batch})
        return 0

    monkeypatch.setattr(batches, "_write", once)
    assert faults(weather) == "states"
