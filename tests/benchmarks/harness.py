"""Interleaved timing of a candidate against peers, in one run, as ratios of medians."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table


def options(description: str, **flags: str) -> argparse.Namespace:
    """Parse the flags every benchmark has, and further on-off ones, given with what they do."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, within five minutes on two cores")
    parser.add_argument("--json", type=Path, help="also write one JSON object per row to this file")
    for name, what in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=what)
    return parser.parse_args()


def interleaved(contestants: dict[str, Callable[[], object]], rounds: int = 7) -> dict[str, list[float]]:
    """Seconds of each contestant over `rounds` rounds, one after the other within a round, after one warm-up each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for counted in range(-1, rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if counted >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def rows_of(seconds: dict[str, list[float]], ours: str, facts: dict[str, object]) -> list[dict[str, object]]:
    """One row per peer: medians, spread, and peer / ours, above 1 where ours is faster."""
    own = statistics.median(seconds[ours])
    return [
        {
            **facts,
            "peer": peer,
            "seconds": own,
            "peer_seconds": statistics.median(times),
            "spread": max(times) / min(times),
            "ratio": statistics.median(times) / own,
        }
        for peer, times in seconds.items()
        if peer != ours
    ]


def report(title: str, rows: list[dict[str, object]], path: Path) -> None:
    """Print the rows as a table, of a list its last element, and write them as JSON lines."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = (cell[-1] if isinstance(cell, list) else cell for cell in row.values())
        table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console(width=200).print(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
