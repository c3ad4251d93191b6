"""Put a stored version into service, or the one before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batch_jobs.console import Screen, Step
from batch_jobs.stores import Stores
from recsys.artifacts import Artifact, Pointer, unpack
from recsys.errors import ConflictError, NoModelError
from recsys.serving import UserState
from recsys.serving.experiments import versions_in_use


def publish(
    stores: Stores, namespace: str, version: str, screen: Screen, *, expected: int | None = None
) -> dict[str, Any]:
    """Write the user states of a version, then move the pointer to it: what the pointer names is always complete.

    The history is read before anything changes, so that a damaged one stops it there and not half-way.
    Running it again after a crash, or for the version in service, ends in the same state.

    Raises `ConflictError`, before anything changes, if another version is in service than that of the sequence number
    `expected` (0: none), which the gate compared this one with.
    """
    before = stores.registry.current(namespace)
    if expected is not None and (before.sequence if before else 0) != expected and version != _name(before):
        raise ConflictError(
            f"version {_name(before)} of namespace {namespace!r} came into service after {version} was judged. "
            "Judge again"
        )
    stores.registry.history(namespace)
    artifact = unpack(stores.artifacts.open(namespace, version))
    put_states(stores, artifact, screen)
    if before is not None and before.version == version:
        pointer = before
    else:
        pointer = stores.registry.promote(artifact.manifest, expected=before.sequence if before else 0)
    _drop_old_states(stores, namespace)
    return _moved(namespace, before, pointer)


def roll_back(stores: Stores, namespace: str, screen: Screen) -> dict[str, Any]:
    """Put the version before the current one back into service; its states are written anew first."""
    before = stores.registry.current(namespace)
    if before is None or before.previous == 0:
        raise NoModelError(f"namespace {namespace!r} has no earlier model to go back to")
    target = stores.registry.history(namespace)[before.previous - 1]
    stored = stores.artifacts.open(namespace, target.version, manifest_sha256=target.manifest_sha256)
    put_states(stores, unpack(stored), screen)
    pointer = stores.registry.rollback(namespace, expected=before.sequence)
    _drop_old_states(stores, namespace)
    return _moved(namespace, before, pointer)


def put_states(stores: Stores, artifact: Artifact, screen: Screen) -> None:
    """Write the state of every user of a version."""
    manifest = artifact.manifest
    with screen.bar("publishing users") as step:
        states = _states(artifact, step)
        stores.online.put_users(manifest.namespace, manifest.version, states, erasures=manifest.erasures)


def _states(artifact: Artifact, step: Step) -> Iterator[tuple[str, UserState]]:
    users, factors = artifact.users.ids(), artifact.factors
    for row, user in enumerate(users):
        yield (
            user,
            UserState(factors.user_vectors[row], *artifact.histories.of(row), float(factors.queries.user_bias[row])),
        )
        if row % 1000 == 999 or row + 1 == len(users):
            step(row + 1, len(users))


def _drop_old_states(stores: Stores, namespace: str) -> None:
    """Keep the states of what is in service, was before the move, a rollback goes to, or a running experiment names.

    Servers that have not looked at the pointer since go on with the version from before; after a rollback that is not
    the one the next rollback goes to, whose states would be written anew.
    """
    history = stores.registry.history(namespace)
    kept = {entry.version for entry in history[-2:]} | versions_in_use(stores.registry.experiment(namespace))
    if previous := history[-1].previous:
        kept.add(history[previous - 1].version)
    for version in {entry.version for entry in history} - kept:
        stores.online.drop_version(namespace, version)


def _moved(namespace: str, before: Pointer | None, after: Pointer) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "in_service": after.version,
        "sequence": after.sequence,
        "before": _name(before),
    }


def _name(pointer: Pointer | None) -> str | None:
    return pointer.version if pointer else None
