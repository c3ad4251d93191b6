"""Stores named by URL, so that embedded and AWS differ in configuration alone."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recsys import secret
from recsys.artifacts import ArtifactStore, LocalArtifactStore, LocalModelRegistry, ModelRegistry
from recsys.errors import ConfigError, storing
from recsys.serving import ModelLoader, OnlineStore, RecommendationService, SQLiteOnlineStore
from recsys.serving.online import EventQueue

if TYPE_CHECKING:
    from recsys.aws.client import Client

DEFAULTS = {
    "RECSYS_ARTIFACTS": "file:./var/artifacts",
    "RECSYS_REGISTRY": "file:./var/registry",
    "RECSYS_ONLINE": "sqlite:./var/online.db",
    "RECSYS_EVENTS": "file:./var/events",
    "RECSYS_RUNS": "file:./var/runs",
}
"""Environment variables and the embedded default of each."""

FORMS = {
    "RECSYS_ARTIFACTS": ("file:FOLDER", "s3://BUCKET/PREFIX"),
    "RECSYS_REGISTRY": ("file:FOLDER", "dynamodb://TABLE"),
    "RECSYS_ONLINE": ("sqlite:FILE", "dynamodb://TABLE"),
    "RECSYS_EVENTS": ("file:FOLDER", "s3://BUCKET/PREFIX"),
    "RECSYS_RUNS": ("file:FOLDER", "s3://BUCKET/PREFIX"),
    "RECSYS_QUEUE": ("sqs://QUEUE",),
}
"""The URLs each of them may be."""


@dataclass(frozen=True, eq=False)
class ServingStores:
    """What a server reads: models, the pointer to them, and what is known of users right now."""

    artifacts: ArtifactStore
    registry: ModelRegistry
    online: OnlineStore

    @classmethod
    def from_environment(cls) -> ServingStores:
        """Open what RECSYS_ARTIFACTS, RECSYS_REGISTRY and RECSYS_ONLINE name; files only on first use."""
        return ServingStores(
            artifact_store(setting("RECSYS_ARTIFACTS")),
            model_registry(setting("RECSYS_REGISTRY")),
            online_store(setting("RECSYS_ONLINE")),
        )

    def service(self) -> RecommendationService:
        """Return the service over these stores: the same for the API, the command line and notebooks."""
        return RecommendationService(ModelLoader(self.artifacts, self.registry), self.online)

    def check(self) -> None:
        """Raise `RecsysError` if the online store or the registry cannot be read; an empty registry can."""
        self.online.check()
        self.registry.current("ready")  # whether or not there is such a namespace


def setting(name: str) -> str:
    """Return the URL the environment gives a store, or the embedded default."""
    return os.environ.get(name) or DEFAULTS[name]


def signing_key(purpose: str) -> bytes:
    """Return what is signed with for a purpose: by RECSYS_SECRET, else by a file beside an online store of files."""
    scheme, place = located("RECSYS_ONLINE", setting("RECSYS_ONLINE"))
    return secret.key_of(purpose, beside=Path(place) if scheme == "sqlite" else None)


def artifact_store(url: str) -> ArtifactStore:
    """Open ``file:FOLDER`` or ``s3://BUCKET/PREFIX``; the latter keeps what it downloads under RECSYS_CACHE."""
    scheme, place = located("RECSYS_ARTIFACTS", url)
    if scheme == "s3":
        from recsys.aws.s3 import S3ArtifactStore

        return S3ArtifactStore(place, cache_folder(), _client("s3"))
    return LocalArtifactStore(Path(place))


def model_registry(url: str) -> ModelRegistry:
    """Open ``file:FOLDER`` or ``dynamodb://TABLE``."""
    scheme, place = located("RECSYS_REGISTRY", url)
    if scheme == "dynamodb":
        from recsys.aws.registry import DynamoModelRegistry

        return DynamoModelRegistry(place, _client("dynamodb"))
    return LocalModelRegistry(Path(place))


def online_store(url: str) -> OnlineStore:
    """Open ``sqlite:FILE`` or ``dynamodb://TABLE``; the latter sends events through what RECSYS_QUEUE names."""
    scheme, place = located("RECSYS_ONLINE", url)
    if scheme == "dynamodb":
        from recsys.aws.dynamodb import DynamoOnlineStore

        return DynamoOnlineStore(place, _client("dynamodb"), event_queue())
    return SQLiteOnlineStore(Path(place))


def event_queue() -> EventQueue | None:
    """Open ``sqs://QUEUE``, a name or an URL, which RECSYS_QUEUE names; None where it names none."""
    url = os.environ.get("RECSYS_QUEUE")
    if not url:
        return None
    _, queue = located("RECSYS_QUEUE", url)
    from recsys.aws.sqs import SqsEventQueue

    return SqsEventQueue(queue, _client("sqs"))


def _client(service: str) -> Client:
    """Return what calls a service of AWS, and keeps its callers from queueing for one that hangs."""
    from recsys.aws.breaker import Breaker
    from recsys.aws.client import connect

    return Breaker(connect(service))


def cache_folder() -> Path:
    """Return the folder RECSYS_CACHE names, or this user's own under the system's temporary folder.

    Others may have made the latter before us, with links in it to files of ours: `ConfigError` unless it is ours alone.
    """
    if named := os.environ.get("RECSYS_CACHE"):
        return Path(named)
    folder = Path(os.environ.get("TMPDIR") or "/tmp") / f"recsys-{os.getuid()}"
    with storing(f"making {folder}"):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ConfigError(f"{folder} is a link, or others may write there. Remove it, or name a folder by RECSYS_CACHE")
    return folder


def located(name: str, url: str) -> tuple[str, str]:
    """Split a URL into scheme and place, or raise `ConfigError` that names the setting and the forms it knows."""
    scheme, _, place = url.partition(":")
    place = place.removeprefix("//")
    if not place or scheme not in [form.partition(":")[0] for form in FORMS[name]]:
        known = f"this release knows {' and '.join(FORMS[name])}"
        raise ConfigError(f"{name}={url!r} cannot be used: {known}")
    return scheme, place
