"""The versions of a namespace: what they are, which one is in service, and putting another one there."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from recsys.artifacts import ArtifactStore, ModelRegistry, Pointer
from recsys.artifacts.manifest import check_name
from recsys.errors import ArtifactError, ConfigError, ConflictError, NoModelError, NotFoundError
from recsys.serving.online import OnlineStore

MOST_LISTED = 20


class StoredVersion(NamedTuple):
    """What is told of a version."""

    version: str
    kind: str
    created_at: str
    metrics: Mapping[str, float]
    in_service: bool


class Versions:
    """Moves the pointer among versions whose user states are in the online store.

    To write these takes a job: `recsys publish` and `recsys rollback` do. Nothing moves while somebody else moves it.

    Parameters
    ----------
    artifacts : ArtifactStore
    registry : ModelRegistry
    online : OnlineStore
    """

    def __init__(self, artifacts: ArtifactStore, registry: ModelRegistry, online: OnlineStore) -> None:
        self._artifacts, self._registry, self._online = artifacts, registry, online

    def listed(self, namespace: str) -> list[StoredVersion]:
        """Return the last versions that were in service and are still stored, `MOST_LISTED` at most, newest first."""
        history = self._registry.history(namespace)
        if not history:
            raise NoModelError(f"namespace {namespace!r} has no published model")
        found = []
        for version in sorted({entry.version for entry in history}, reverse=True):
            with suppress(NoModelError, ArtifactError):  # removed since, or damaged
                found.append(self._told(namespace, version, history[-1]))
            if len(found) == MOST_LISTED:
                break
        return found

    def current(self, namespace: str) -> tuple[StoredVersion, Pointer]:
        """Return what is in service, and the pointer to it."""
        now = self._now(namespace, None)
        return self._told(namespace, now.version, now), now

    def activate(self, namespace: str, version: str, expected: int | None = None) -> Pointer:
        """Put a version into service.

        Raises
        ------
        NotFoundError
            If there is no such version.
        ConflictError
            If the sequence number is not `expected`, somebody else moves the pointer, or user states are missing.
        """
        now = self._now(namespace, expected)
        if version == now.version:
            return now
        try:
            manifest = self._artifacts.open(namespace, check_name("version", version), names=()).manifest
        except (NoModelError, ConfigError):
            raise NotFoundError(f"namespace {namespace!r} has no version {version!r}") from None
        self._check_states(namespace, version, "recsys publish")
        moved = self._registry.promote(manifest, expected=now.sequence)
        return self._checked(namespace, moved)

    def roll_back(self, namespace: str, expected: int | None = None) -> Pointer:
        """Put the version before back into service; errors as of `activate`, and where there is none."""
        now = self._now(namespace, expected)
        if now.previous == 0:
            raise ConflictError(f"namespace {namespace!r} has no earlier model to go back to")
        target = self._registry.history(namespace)[now.previous - 1]
        try:
            self._artifacts.open(namespace, target.version, manifest_sha256=target.manifest_sha256, names=())
        except NoModelError:
            raise ConflictError(f"version {target.version}, which was before, is no longer stored") from None
        self._check_states(namespace, target.version, "recsys rollback")
        return self._checked(namespace, self._registry.rollback(namespace, expected=now.sequence))

    def _now(self, namespace: str, expected: int | None) -> Pointer:
        now = self._registry.current(namespace)
        if now is None:
            raise NoModelError(f"namespace {namespace!r} has no published model")
        if expected is not None and now.sequence != expected:
            raise ConflictError(f"the pointer is at {now.sequence}, not at {expected}. Look at what is in service now")
        return now

    def _check_states(self, namespace: str, version: str, remedy: str) -> None:
        if not self._online.has_users(namespace, version):
            raise ConflictError(
                f"the user states of version {version} are not in the online store: it was in service too long ago, or "
                f"never. They are written by: {remedy}"
            )

    def _checked(self, namespace: str, moved: Pointer) -> Pointer:
        """Take a move back if states went meanwhile: who publishes drops those that are too old."""
        if self._online.has_users(namespace, moved.version):
            return moved
        self._registry.rollback(namespace, expected=moved.sequence)
        raise ConflictError(f"the user states of version {moved.version} were dropped meanwhile. Send it again")

    def _told(self, namespace: str, version: str, now: Pointer) -> StoredVersion:
        one = self._artifacts.open(namespace, version, names=()).manifest
        return StoredVersion(version, one.kind, one.created_at, one.metrics, version == now.version)
