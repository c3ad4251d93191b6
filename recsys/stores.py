"""Stores named by URL, so that embedded and AWS differ in configuration alone."""

from __future__ import annotations

from pathlib import Path

from recsys.artifacts import ArtifactStore, LocalArtifactStore, LocalModelRegistry, ModelRegistry
from recsys.errors import ConfigError
from recsys.serving import OnlineStore, SQLiteOnlineStore

DEFAULTS = {
    "RECSYS_ARTIFACTS": "file:./var/artifacts",
    "RECSYS_REGISTRY": "file:./var/registry",
    "RECSYS_ONLINE": "sqlite:./var/online.db",
    "RECSYS_EVENTS": "file:./var/events",
}
"""Environment variables and the embedded default of each."""


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
