"""The commands `recsys experiment set`, `show`, `end` and `report`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_jobs.console import Screen
from batch_jobs.flags import Json, Namespace, settings

Document = Annotated[Path, typer.Argument(help="JSON: name, variants with name, share and version.", readable=False)]
Since = Annotated[str | None, typer.Option("--since", help="UTC time; without it, when the experiment was set.")]
Event = Annotated[str | None, typer.Option("--event", help="Kind of event that is a conversion; without it all are.")]
Window = Annotated[float, typer.Option("--window-h", min=0, help="Hours in which an event is due to a list.")]

app = typer.Typer(no_args_is_help=True, help="Several model versions behind one namespace, and which is better.")


@app.command("set")
def set_(file: Document, namespace: Namespace = None, as_json: Json = False) -> None:
    """Split the users of a namespace over variants, in place of any experiment before."""
    from batch_jobs.experiment import read_document, set_experiment

    document = read_document(file)
    _run(namespace, as_json, lambda stores, space, screen: set_experiment(stores, space, document, screen))


@app.command()
def show(namespace: Namespace = None, as_json: Json = False) -> None:
    """Show the last experiment."""
    from batch_jobs.experiment import show as job

    _run(namespace, as_json, job)


@app.command()
def end(namespace: Namespace = None, as_json: Json = False) -> None:
    """Give everybody the version in service again."""
    from batch_jobs.experiment import end as job

    _run(namespace, as_json, job)


@app.command()
def report(
    namespace: Namespace = None, since: Since = None, event: Event = None, window_h: Window = 24.0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Compare the variants by what came of what they showed: means, lifts with intervals, and whether to believe it."""
    from batch_jobs.experiment import moment
    from batch_jobs.experiment import report as job

    begin = moment(since)
    _run(
        namespace,
        as_json,
        lambda stores, space, screen: job(stores, space, screen, since=begin, event=event, window_h=window_h),
    )


def _run(namespace: str | None, as_json: bool, job: Callable[..., dict[str, Any]]) -> None:
    from batch_jobs.stores import Stores

    told, screen, stores = settings({"namespace": namespace}), Screen(as_json=as_json), Stores.from_environment()
    with closing(stores.online):
        facts = job(stores, told.namespace, screen)
    if as_json:
        screen.summary("", facts)
