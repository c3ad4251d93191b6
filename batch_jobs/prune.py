"""Remove stored versions that are too old for anybody to go back to."""

from __future__ import annotations

from contextlib import suppress

from batch_jobs.console import Screen
from batch_jobs.stores import Stores
from recsys.artifacts import Pointer
from recsys.errors import ConflictError, NoModelError
from recsys.serving.experiments import versions_in_use


def prune(stores: Stores, namespace: str, keep: int, screen: Screen) -> dict[str, object]:
    """Remove all versions older than those of the last `keep` moves and those that as many rollbacks lead to.

    Older by the time their names begin with, whether or not they ever were in service: one that has just been trained
    is younger. What is left of a version that was half removed, or half stored, goes too. What the gate compares
    candidates with stays: the twin of what is kept, and the best so far, however old. So does what a running experiment
    names.

    Raises `ConflictError` if the pointer moves meanwhile: to what may be about to be removed.
    """
    history = stores.registry.history(namespace)
    needed, in_use = _needed(history, keep), versions_in_use(stores.registry.experiment(namespace))
    compared_with, stored = _compared_with(stores, namespace, needed | in_use), stores.artifacts.versions(namespace)
    old = [one for one in stored if needed and one < min(needed) and one not in compared_with | in_use]
    with screen.bar("removing versions") as step:
        for done, version in enumerate(old):
            if stores.registry.current(namespace) != history[-1]:
                raise ConflictError(f"another version of namespace {namespace!r} came into service. Run it again")
            stores.online.drop_version(namespace, version)
            stores.artifacts.remove(namespace, version)
            step(done + 1, len(old))
    return {"namespace": namespace, "versions_removed": len(old), "versions_left": len(stored) - len(old)}


def _compared_with(stores: Stores, namespace: str, versions: set[str]) -> set[str]:
    """Versions that the manifests of others name as judged in their place, and as the best before them."""
    named: set[str] = set()
    for version in versions:
        with suppress(NoModelError):  # removed by hand
            data = stores.artifacts.open(namespace, version, names=()).manifest.data
            named |= {data[name] for name in ("twin", "best") if data.get(name)}
    return named


def _needed(history: list[Pointer], keep: int) -> set[str]:
    """Versions of the last moves, and of what is in service and `keep` rollbacks from there."""
    needed = {entry.version for entry in history[-keep:]}
    sequence = history[-1].sequence if history else 0
    for _ in range(keep + 1):
        if sequence:
            needed.add(history[sequence - 1].version)
            sequence = history[sequence - 1].previous
    return needed
