"""What the columns of event files were read as, told to whoever took them in."""

from __future__ import annotations

from typing import Any

from batch_jobs.config import IngestConfig
from batch_jobs.console import Screen
from recsys.data.sources import columns_of


def tell_columns(config: IngestConfig, screen: Screen) -> dict[str, Any]:
    """Note on the screen which columns of each file are used as what, and which are not; return the last file's."""
    used: dict[str, str] = {}
    unused: list[str] = []
    told = set()
    for name in config.files:
        used, unused = columns_of(name, config.spec())
        text = "columns: " + ", ".join(f"{ours} = {theirs}" for ours, theirs in used.items())
        text += f"; not used: {', '.join(unused)}" if unused else ""
        if used and text not in told:
            screen.note(text)
        told.add(text)
    return {"columns_used": used, "columns_unused": unused}
