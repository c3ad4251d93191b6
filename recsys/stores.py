"""Stores named by URL, so that embedded and AWS differ in configuration alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from recsys.artifacts import ArtifactStore, LocalArtifactStore, LocalModelRegistry, ModelRegistry
from recsys.errors import ConfigError
from recsys.serving import ModelLoader, OnlineStore, RecommendationService, SQLiteOnlineStore

DEFAULTS = {
    "RECSYS_ARTIFACTS": "file:./var/artifacts",
    "RECSYS_REGISTRY": "file:./var/registry",
    "RECSYS_ONLINE": "sqlite:./var/online.db",
    "RECSYS_EVENTS": "file:./var/events",
}
"""Environment variables and the embedded default of each."""


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


def artifact_store(url: str) -> ArtifactStore:
    """Open ``file:FOLDER``."""
    return LocalArtifactStore(local_path(url, "file", "RECSYS_ARTIFACTS"))


def model_registry(url: str) -> ModelRegistry:
    """Open ``file:FOLDER``."""
    return LocalModelRegistry(local_path(url, "file", "RECSYS_REGISTRY"))


def online_store(url: str) -> OnlineStore:
    """Open ``sqlite:FILE``."""
    return SQLiteOnlineStore(local_path(url, "sqlite", "RECSYS_ONLINE"))


def local_path(url: str, scheme: str, setting: str) -> Path:
    """Return the path behind ``scheme:path``, or raise `ConfigError` naming the setting."""
    found, separator, path = url.partition(":")
    if not separator or found != scheme or not path:
        known = f"this release knows {scheme}:PATH, as in {DEFAULTS[setting]}"
        raise ConfigError(f"{setting}={url!r} cannot be used: {known}")
    return Path(path.removeprefix("//"))
