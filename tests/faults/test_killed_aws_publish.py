"""`recsys train`, `publish` and `rollback` over S3 and DynamoDB, killed at any moment, as test_killed_publish.py does.

A point lies before each call that changes something, when half of it is sent, and after it was applied, before its
answer is read. The stores are those of one life: what a killed run leaves behind, the next one finds. Every sixth point
is taken; NIGHTLY=1 takes all, sweeps over `train` and `rollback`, too, and over moto, which is slower than ministack.
"""

import os
import time
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import boto3
import pytest
from clouds import CLOUDS
from forks import KILLED, forks
from planted import USERS, K, lists, put

from recsys.errors import RecsysError
from recsys.serving import ModelLoader, RecommendationService
from recsys.stores import ServingStores

NIGHTLY = bool(os.environ.get("NIGHTLY"))
ASKED = ["u0", f"u{USERS - 1}"]


class Cloud:
    """Stores on a stand-in with three versions, and runs over them."""

    def __init__(self, folder, run):
        self.stores, self.run = ServingStores.from_environment(), partial(run, folder)
        self.constants = {put(self.stores, constant): constant for constant in (1, 2, 3)}
        self.whole = set(self.constants)
        (folder / "events.csv").write_text("user,item\nu1,i1\nu1,i2\nu2,i1\nu2,i3\n")
        self.expect("ingest", "shop", "events.csv")
        self.publish_all()

    def publish_all(self):
        for version in self.constants:
            self.expect("publish", "shop", version)

    def expect(self, *words, planted=""):
        status, _ = self.run(*words, planted=planted)
        assert status == 0, f"{words[0]} ends with {status}"

    def history(self):
        return [(one.sequence, one.version, one.previous) for one in self.stores.registry.history("shop")]

    def server(self):
        """Return a server that has just started and never looks at the pointer again."""
        models = ModelLoader(self.stores.artifacts, self.stores.registry, refresh_s=float("inf"))
        models.current("shop")
        return RecommendationService(models, self.stores.online)

    def in_service(self, server):
        """Return the version a server has, after comparing what it says with what that version says."""
        found = [server.recommend("shop", user, K) for user in ASKED]
        version = found[0].model_version
        said = [[(one.item, one.score) for one in each.items] for each in found]
        assert said == [lists(self.constants[version])["user"]] * len(ASKED), f"{version} is not whole"
        return version

    def next_run(self, job):
        """Return a run of a job and the history after it; of `publish` one whose states are not there."""
        if job == "rollback" and self.history()[-1][2] == 0:
            self.publish_all()
        history = self.history()
        if job == "train":
            time.sleep(1 - time.time() % 1)  # in the second of the run before it would find its version stored, and end
            return (job, "shop"), history
        if job == "rollback":
            _, version, previous = history[history[-1][2] - 1]
            return (job, "shop"), [*history, (len(history) + 1, version, previous)]
        version = next(one for one in self.constants if one not in [of for _, of, _ in history[-2:]])
        return (job, "shop", version), [*history, (len(history) + 1, version, len(history))]

    def check_stored(self):
        """Raise `ArtifactError` unless every version that has a manifest is whole; each is looked at once."""
        bucket = os.environ["RECSYS_ARTIFACTS"].split("/")[2]
        with closing(boto3.client("s3")) as s3:
            keys = [one["Key"].split("/") for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        for _, namespace, version, name in keys:
            if name == "manifest.json" and version not in self.whole:
                self.stores.artifacts.open(namespace, version)
                self.whole.add(version)

    def check_states(self):
        """Raise unless there are states of what is in service and was before; perhaps of what a rollback goes to.

        Those of any other are gone. A rollback writes states anew: it may go to what had been dropped.
        """
        history = self.history()
        served, next_one = {version for _, version, _ in history[-2:]}, history[history[-1][2] - 1][1]
        for version in self.constants:
            found = {self.stores.online.user_state("shop", version, user) is not None for user in ASKED}
            right = [{version in served}, {True}] if version == next_one else [{version in served}]
            assert found in right, f"states of {version}: {found}, served are {served}, then comes {next_one}"


def sweep(cloud, job, planted="", step=1):
    """Kill a run at points, look, run it again and compare; return the kills and the first fault."""
    for at in count(1, step):
        words, after = cloud.next_run(job)  # which may publish first, so that there is something to go back to
        before, server = cloud.history(), cloud.server()
        status, _ = cloud.run(*words, at=at, planted=planted)
        if status == 0:
            return (at - 1) // step, []
        try:
            assert status == KILLED
            assert cloud.history() in (before, after), "the history is neither the old nor the new one"
            assert cloud.in_service(cloud.server()) == cloud.history()[-1][1]
            assert cloud.in_service(server) == before[-1][1]
            if job == "train":
                cloud.check_stored()
            # Of a rollback that has moved the pointer only the rest is left to do.
            rest = ("publish", "shop", after[-1][1]) if (job, cloud.history()) == ("rollback", after) else words
            cloud.expect(*rest, planted=planted)
            assert cloud.history() == after, "the second run ends in another state"
            assert cloud.in_service(cloud.server()) == after[-1][1]
            assert cloud.in_service(server) == before[-1][1], "the version from before is no longer whole"
            cloud.check_states()
        except (AssertionError, RecsysError) as error:
            return at, [f"point {at}: {error}"]


@pytest.fixture
def cloud(request, aws, tmp_path, monkeypatch):
    place = aws(request.param)
    monkeypatch.setenv("RECSYS_ARTIFACTS", f"s3://{place.bucket()}/models")
    monkeypatch.setenv("RECSYS_REGISTRY", f"dynamodb://{place.table()}")
    monkeypatch.setenv("RECSYS_ONLINE", f"dynamodb://{place.table()}")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    with forks(Path(__file__).with_name("publish_jobs.py")) as run:
        cloud = Cloud(tmp_path, run)
        with closing(cloud.stores.online):
            yield cloud


@pytest.mark.parametrize("job", ["publish", "train", "rollback"] if NIGHTLY else ["publish"])
@pytest.mark.parametrize("cloud", CLOUDS if NIGHTLY else CLOUDS[1:], indirect=True)
def test_killed_at_any_point_the_old_or_the_new_version_is_there_and_the_next_run_converges(cloud, job):
    kills, found = sweep(cloud, job, step=1 if NIGHTLY else 6)
    print(job, kills, "kills")
    assert found == []
    assert kills > 10


@pytest.mark.parametrize(
    ("planted", "job"),
    [
        ("states after the pointer", "publish"),
        ("old states kept", "publish"),
        ("S3: manifest first", "train"),
        ("DynamoDB: pointer and history one after the other", "publish"),
    ],
)
@pytest.mark.parametrize("cloud", CLOUDS[1:], indirect=True)
def test_planted_bugs_are_found(cloud, planted, job):
    _, found = sweep(cloud, job, planted)
    assert len(found) == 1
