"""The commands `recsys runs`, `recsys runs show`, `recsys runs compare` and `recsys runs export`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from batch_jobs.console import Screen
from batch_jobs.flags import Json

Space = Annotated[str | None, typer.Option("--namespace", help="Of this namespace only.")]
Kind = Annotated[str | None, typer.Option("--kind", help="Of this kind only: train, evaluate, tune, nightly, ...")]
Id = Annotated[str, typer.Argument(help="As `recsys runs` lists it.")]

app = typer.Typer(invoke_without_command=True)


@app.callback()
def runs(
    context: typer.Context, namespace: Space = None, kind: Kind = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20, as_json: Json = False,
) -> None:  # fmt: skip
    """List what was run, or show, compare and export it; RECSYS_RUNS says where the record is."""
    from batch_jobs.runs_shown import overview

    if context.invoked_subcommand is None:
        _run(as_json, lambda files, screen: overview(files, namespace, kind, limit, screen))


@app.command()
def show(run: Id, as_json: Json = False) -> None:
    """Show all of one run."""
    from batch_jobs.runs_shown import show as job

    _run(as_json, lambda files, screen: job(files, run, screen))


@app.command()
def compare(first: Id, second: Id, as_json: Json = False) -> None:
    """Show what differs between two runs, their metrics, and whether they saw the same events."""
    from batch_jobs.runs_shown import compare as job

    _run(as_json, lambda files, screen: job(files, first, second, screen))


@app.command()
def export(
    to: Annotated[Literal["mlflow"], typer.Option(help="Where MLFLOW_TRACKING_URI says.")] = "mlflow",
    namespace: Space = None, kind: Kind = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Bring runs to MLflow, where it is installed; those that are there already stay as they are."""
    from batch_jobs.runs_mlflow import export as job

    _run(as_json, lambda files, screen: job(files, namespace, kind, screen), "runs in MLflow")


def _run(as_json: bool, job: Callable[..., dict[str, Any]], title: str | None = None) -> None:
    from batch_jobs.log_files import log_files

    screen = Screen(as_json=as_json)
    facts = job(log_files("RECSYS_RUNS"), screen)
    if title or as_json:
        screen.summary(title or "", facts)
