"""Files of lists without the users who were erased since."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch_jobs.score_files import SETTINGS, ListFolder
from recsys.errors import DataError, storing
from recsys.serving.online.erasures import Erasure, left_out, newest


def erase_lists(root: Path, namespace: str, erasures: Sequence[Erasure]) -> int:
    """Write the parts under a folder anew that hold users erased since their version was trained; return how many."""
    rewritten = 0
    for path in sorted((root / namespace).glob(f"*/{SETTINGS}")) if erasures else ():
        settings = _settings(path)
        known = settings.get("erasures", 0)
        if known < newest(erasures):
            folder = ListFolder(root, settings)
            with folder.held():
                rewritten += folder.leave_out(left_out(namespace, erasures, known))
    return rewritten


def _settings(path: Path) -> dict[str, Any]:
    try:
        with storing(f"reading {path}"):
            found: dict[str, Any] = json.loads(path.read_bytes())
            return found
    except ValueError as error:
        raise DataError(
            "cannot be read", path=path, remedy="Remove its folder: nobody can be erased from it"
        ) from error
