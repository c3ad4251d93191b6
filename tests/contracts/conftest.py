"""Every online store, those on AWS against both stand-ins, by either client."""

from contextlib import closing

import pytest
from clouds import CLOUDS
from records import Sent

from recsys.aws.client import BotoClient, connect
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.serving import MemoryOnlineStore, SQLiteOnlineStore
from recsys.serving.online import EventFeed

EMBEDDED = {
    "memory": lambda folder: MemoryOnlineStore(),
    "sqlite": lambda folder: SQLiteOnlineStore(folder / "deep" / "online.db"),
}
CLIENTS = {"signed": connect, "boto": BotoClient}
REMOTE = [f"{cloud} {client}" for cloud in CLOUDS for client in CLIENTS]


@pytest.fixture(params=[*EMBEDDED, *REMOTE])
def store(request, tmp_path, aws):
    if request.param in EMBEDDED:
        opened = EMBEDDED[request.param](tmp_path)
    else:
        cloud, client = request.param.split()
        opened = DynamoOnlineStore(aws(cloud).table(), CLIENTS[client]("dynamodb"), Sent())
    with closing(opened):
        yield opened


@pytest.fixture(params=EMBEDDED)
def feed(request, tmp_path):
    with closing(EMBEDDED[request.param](tmp_path)) as opened:
        assert isinstance(opened, EventFeed)
        yield opened
