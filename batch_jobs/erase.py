"""What an erasure leaves to the jobs: files of the event log, files of lists, and versions trained with the user.

From the erasure on nothing of the user is read, trained on or written. What was written before goes here, and whoever
runs it again removes what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch_jobs.console import Screen
from batch_jobs.score_erasures import erase_lists
from batch_jobs.stores import Stores
from recsys.artifacts import ArtifactManifest, Pointer
from recsys.artifacts.artifact import USER_IDS, user_ids
from recsys.errors import ConflictError, NoModelError
from recsys.serving.online.erasures import Erasure, left_out, newest

LISTS = Path("var/lists")
"""Where `recsys score` writes unless it is told otherwise."""


def erase(stores: Stores, namespace: str, lists: Path, screen: Screen) -> dict[str, Any]:
    """Remove everything of erased users but the version in service, if that was trained with them."""
    for log in (stores.events, stores.events.impressions):
        log.compact(namespace)
    return {"namespace": namespace, **erase_log(stores, namespace), **retire(stores, namespace, lists, screen)}


def erase_log(stores: Stores, namespace: str) -> dict[str, int]:
    """Write the files of the event log anew that hold what is older than an erasure, and empty the store's own log."""
    erasures = stores.online.erasures(namespace)
    if erasures:
        stores.online.purge()
    rewritten = [log.erase(namespace, erasures) for log in (stores.events, stores.events.impressions)]
    return {"erasures": len(erasures), "log_files_rewritten": sum(rewritten)}


def retire(stores: Stores, namespace: str, lists: Path, screen: Screen) -> dict[str, Any]:
    """Remove stored versions that were trained with users erased since, and these users from files of lists.

    The version in service stays until a night puts one into service that was trained without them. Raises
    `ConflictError` if the pointer moves meanwhile.
    """
    erasures = stores.online.erasures(namespace)
    now = stores.registry.current(namespace)
    holding = _holding(stores, namespace, erasures, now) if erasures else []
    for version in holding:
        if stores.registry.current(namespace) != now:
            raise ConflictError(f"another version of namespace {namespace!r} came into service. Run it again")
        if now is None or version != now.version:
            stores.online.drop_version(namespace, version)
            stores.artifacts.remove(namespace, version)
    left = [version for version in holding if now is not None and version == now.version]
    if left:
        screen.note(
            f"version {left[0]}, in service, was trained with users who were erased since. It goes once the nightly "
            "run has put one into service that was not"
        )
    rewritten = erase_lists(lists, namespace, erasures)
    return {"list_files_rewritten": rewritten, "versions_removed": len(holding) - len(left), "versions_left": left}


def _holding(stores: Stores, namespace: str, erasures: Sequence[Erasure], now: Pointer | None) -> list[str]:
    """Versions whose training did not know of an erasure, and whose users are not without those erased.

    What is left of a version counts as well if it is older than the one in service: others may be about to be stored.
    """
    found = []
    stores.artifacts.sweep(namespace)
    for version in stores.artifacts.versions(namespace):
        try:
            manifest = stores.artifacts.open(namespace, version, names=()).manifest
        except NoModelError:
            is_holding = now is not None and version < now.version
        else:
            is_holding = manifest.erasures < newest(erasures) and _holds(stores, manifest, erasures)
        if is_holding:
            found.append(version)
    return found


def _holds(stores: Stores, manifest: ArtifactManifest, erasures: Sequence[Erasure]) -> bool:
    stored = stores.artifacts.open(manifest.namespace, manifest.version, names=USER_IDS)
    return any(map(left_out(manifest.namespace, erasures, manifest.erasures), user_ids(stored).ids()))
