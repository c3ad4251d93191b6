"""What a person sees: bars on stderr while it works, tables on stdout at the end, JSON instead when a machine asks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class Step(Protocol):
    """Moves a bar; another title may come with every step."""

    def __call__(self, done: int, total: int, title: str | None = None, /) -> None:
        """Tell the steps done and the steps in all."""


class Screen:
    """Output of one command.

    Parameters
    ----------
    as_json : bool
        Nothing but one JSON object on stdout; no bars, no tables.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}  # by the title of a bar: how long its blocks took
        self._out = Console(file=sys.stdout, soft_wrap=True)
        self._err = Console(file=sys.stderr, quiet=as_json)

    @contextmanager
    def bar(self, title: str) -> Iterator[Step]:
        """Show a progress bar while the block runs; yields the function that moves it."""
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err, disable=self.as_json) as progress:
            task, start = progress.add_task(title, total=None), time.monotonic()

            def step(done: int, total: int, title: str | None = None) -> None:
                progress.update(task, completed=done, total=total, description=title)

            try:
                yield step
            finally:
                self.seconds[title] = self.seconds.get(title, 0.0) + time.monotonic() - start
            final = progress.tasks[0]
            if final.total is None:
                progress.update(task, completed=1, total=1)

    def note(self, text: str) -> None:
        """Say something worth knowing on stderr, once; a machine finds it under "notes"."""
        if text in self.notes:
            return
        self.notes.append(text)
        self._err.print(Text(text))

    def table(self, table: Table) -> None:
        """Show a finished table."""
        if not self.as_json:
            self._out.print(table)

    def rows(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Show plain rows as a table; numbers to the right."""
        table = Table(title=Text(title), title_justify="left", show_header=any(columns))
        for at, name in enumerate(columns):
            numeric = all(isinstance(row[at], int | float) for row in rows)
            table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(_number(cell) if isinstance(cell, float) else str(cell)) for cell in row))
        self.table(table)

    def summary(self, title: str, facts: Mapping[str, Any]) -> None:
        """Close a command: facts as a table, or as the JSON object."""
        if self.as_json:
            print(json.dumps({**facts, "notes": self.notes}, allow_nan=False))
            return
        flat = {name: value for name, value in facts.items() if not isinstance(value, Mapping | list)}
        self.rows(title, ["", ""], [[name.replace("_", " "), _readable(value)] for name, value in flat.items()])


def _readable(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.4f}"
