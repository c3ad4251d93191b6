"""Remove stored versions that are too old for anybody to go back to."""

from __future__ import annotations

from batch_jobs.console import Screen
from batch_jobs.stores import Stores
from recsys.artifacts import Pointer
from recsys.errors import ConflictError


def prune(stores: Stores, namespace: str, keep: int, screen: Screen) -> dict[str, object]:
    """Remove all versions older than those of the last `keep` moves and those that as many rollbacks lead to.

    Older by the time their names begin with, whether or not they ever were in service: one that has just been trained
    is younger. What is left of a version that was half removed, or half stored, goes too.

    Raises `ConflictError` if the pointer moves meanwhile: to what may be about to be removed.
    """
    history = stores.registry.history(namespace)
    needed = _needed(history, keep)
    old = [one for one in stores.artifacts.versions(namespace) if needed and one < min(needed)]
    with screen.bar("removing versions") as step:
        for done, version in enumerate(old):
            if stores.registry.current(namespace) != history[-1]:
                raise ConflictError(f"another version of namespace {namespace!r} came into service. Run it again")
            stores.online.drop_version(namespace, version)
            stores.artifacts.remove(namespace, version)
            step(done + 1, len(old))
    return {"namespace": namespace, "versions_removed": len(old), "versions_left": len(needed)}


def _needed(history: list[Pointer], keep: int) -> set[str]:
    """Versions of the last moves, and of what is in service and `keep` rollbacks from there."""
    needed = {entry.version for entry in history[-keep:]}
    sequence = history[-1].sequence if history else 0
    for _ in range(keep + 1):
        if sequence:
            needed.add(history[sequence - 1].version)
            sequence = history[sequence - 1].previous
    return needed
