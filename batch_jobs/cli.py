"""The console script `recsys`.

Exit status: 0 done; 1 a defect of ours; 2 wrong usage or settings; 3 input that cannot be used, or too little of it;
4 the gate refuses; 5 a disk, database, artefact or port refuses; 6 somebody else moved first; 130 interrupted.
Every failure but the first is one line on stderr; with --json, stdout carries it as one object: error, kind, status.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_jobs import experiment_commands, keys, runs_commands
from batch_jobs.console import Screen
from batch_jobs.flags import (
    Against,
    Clean,
    Config,
    Context,
    ContextColumn,
    ContextField,
    Delimiter,
    EventColumn,
    Field,
    Files,
    FinalTest,
    Format,
    Fraction,
    Header,
    ItemColumn,
    ItemField,
    Items,
    Json,
    Ks,
    Metric,
    Minutes,
    Model,
    Namespace,
    OnError,
    Output,
    Report,
    Searcher,
    Set,
    Shards,
    Split,
    Test,
    Threads,
    TimeColumn,
    ToStore,
    Trials,
    Unit,
    UserColumn,
    UserField,
    Users,
    WeightColumn,
    Workers,
    context_of,
    settings,
)
from recsys import __version__, errors

EXIT_STATUS: dict[type[errors.RecsysError], int] = {
    errors.ConfigError: 2,
    errors.NotFoundError: 2,
    errors.DataError: 3,
    errors.GateRefusedError: 4,
    errors.StorageError: 5,
    errors.ArtifactError: 5,
    errors.ConflictError: 6,
}

app = typer.Typer(
    help="Train, judge, publish and serve recommendations. Stores are named by RECSYS_ARTIFACTS, RECSYS_REGISTRY, "
    "RECSYS_ONLINE, RECSYS_EVENTS and RECSYS_RUNS; without them everything lives under ./var.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(runs_commands.app, name="runs")
app.add_typer(keys.app, name="keys")
app.add_typer(experiment_commands.app, name="experiment")


def _version(asked: bool) -> None:
    if asked:
        print(f"recsys {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print it.")] = False,
) -> None:
    """Read what stands before the command."""


@app.command()
def ingest(
    flags: typer.Context,
    files: Files = None, items: Items = None, users: Users = None, config: Config = None, namespace: Namespace = None,
    as_json: Json = False, field: Field = None,
    format: Format = None, on_error: OnError = None, delimiter: Delimiter = None, header: Header = None,
    timestamp_unit: Unit = None, user_column: UserColumn = None, item_column: ItemColumn = None,
    weight_column: WeightColumn = None, timestamp_column: TimeColumn = None, event_column: EventColumn = None,
    context_column: ContextColumn = None,
) -> None:  # fmt: skip
    """Take events in from files and from the API; each file once, whole or not at all.

    Files are taken in one by one: when one is refused, those before it are kept, and running it again skips them.
    """
    from batch_jobs.ingest import ingest as job

    told = settings(flags.params)
    _run("ingest", as_json, lambda stores, screen: job(stores, told.namespace, told.ingest, screen))


@app.command()
def train(
    flags: typer.Context,
    config: Config = None, namespace: Namespace = None, model: Model = None, set_: Set = None, clean: Clean = None,
    user_field: UserField = None, item_field: ItemField = None, context_field: ContextField = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Train on the whole event log and store the version; `recsys publish` puts it into service."""
    from batch_jobs.train import train as job

    told = settings(flags.params)
    _run("train", as_json, lambda stores, screen: job(stores, told, screen))


@app.command()
def evaluate(
    flags: typer.Context,
    config: Config = None, namespace: Namespace = None, model: Model = None, set_: Set = None, clean: Clean = None,
    user_field: UserField = None, item_field: ItemField = None, context_field: ContextField = None,
    split: Split = None, test_fraction: Fraction = None, test: Test = None, k: Ks = None, against: Against = None,
    report: Report = None, as_json: Json = False,
    format: Format = None, on_error: OnError = None, delimiter: Delimiter = None, header: Header = None,
    timestamp_unit: Unit = None, user_column: UserColumn = None, item_column: ItemColumn = None,
    weight_column: WeightColumn = None, timestamp_column: TimeColumn = None, event_column: EventColumn = None,
    context_column: ContextColumn = None,
) -> None:  # fmt: skip
    """Judge a model on held-out events beside popularity, item-kNN and the model in service; nothing is stored.

    With --against the differences come with intervals and corrected tests. Where the model in service, or the version
    asked for, has learned from the test events, one trained with its settings on the training part stands for it.

    The flags for reading are those of `recsys ingest` and apply to the file given with --test.
    """
    from batch_jobs.evaluate import evaluate_job as job

    told = settings(flags.params)
    _run("evaluate", as_json, lambda stores, screen: job(stores, told, screen))


@app.command()
def tune(
    flags: typer.Context,
    config: Config = None, namespace: Namespace = None, model: Model = None, set_: Set = None, clean: Clean = None,
    user_field: UserField = None, item_field: ItemField = None, context_field: ContextField = None,
    search: Searcher = None, trials: Trials = None, minutes: Minutes = None, metric: Metric = None,
    workers: Workers = None, final_test: FinalTest = False,
    split: Split = None, test_fraction: Fraction = None, test: Test = None, k: Ks = None, as_json: Json = False,
    format: Format = None, on_error: OnError = None, delimiter: Delimiter = None, header: Header = None,
    timestamp_unit: Unit = None, user_column: UserColumn = None, item_column: ItemColumn = None,
    weight_column: WeightColumn = None, timestamp_column: TimeColumn = None, event_column: EventColumn = None,
    context_column: ContextColumn = None,
) -> None:  # fmt: skip
    """Search the settings of a model on a validation part, and write the best to var/tune/NAMESPACE/best.toml.

    The part that --split and --test hold out is not looked at, but for --final-test. Running it again goes on.
    """
    from batch_jobs.tune import tune as job

    told = settings(flags.params)
    _run("tune", as_json, lambda stores, screen: job(stores, told, final_test, screen))


@app.command()
def publish(
    version: Annotated[str, typer.Argument(help="As `recsys train` printed it.")],
    namespace: Namespace = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Put a stored version into service."""
    from batch_jobs.publish import publish as job

    told = settings({"namespace": namespace})
    _run("publish", as_json, lambda stores, screen: job(stores, told.namespace, version, screen))


@app.command()
def rollback(namespace: Namespace = None, as_json: Json = False) -> None:
    """Put the version before the current one back into service."""
    from batch_jobs.publish import roll_back as job

    told = settings({"namespace": namespace})
    _run("rollback", as_json, lambda stores, screen: job(stores, told.namespace, screen))


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=2, help="Moves, and rollbacks from now on, whose versions stay.")] = 10,
    namespace: Namespace = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Remove stored versions that are older than anything that stays."""
    from batch_jobs.prune import prune as job

    told = settings({"namespace": namespace})
    _run("prune", as_json, lambda stores, screen: job(stores, told.namespace, keep, screen))


@app.command()
def erase(
    lists: Annotated[Path, typer.Option(help="Folder that `recsys score` wrote lists to.")] = Path("var/lists"),
    namespace: Namespace = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Remove from files what the API's erasures leave to it: the nightly run does so for lists under var/lists."""
    from batch_jobs.erase import erase as job

    told = settings({"namespace": namespace})
    _run("erase", as_json, lambda stores, screen: job(stores, told.namespace, lists, screen))


@app.command()
def nightly(
    flags: typer.Context,
    files: Files = None, items: Items = None, users: Users = None, config: Config = None, namespace: Namespace = None,
    as_json: Json = False, field: Field = None,
    format: Format = None, on_error: OnError = None, delimiter: Delimiter = None, header: Header = None,
    timestamp_unit: Unit = None, user_column: UserColumn = None, item_column: ItemColumn = None,
    weight_column: WeightColumn = None, timestamp_column: TimeColumn = None, event_column: EventColumn = None,
    context_column: ContextColumn = None,
    model: Model = None, set_: Set = None, clean: Clean = None,
    user_field: UserField = None, item_field: ItemField = None, context_field: ContextField = None,
    split: Split = None, test_fraction: Fraction = None, test: Test = None, k: Ks = None,
) -> None:  # fmt: skip
    """Ingest, train, evaluate, gate and publish in one go."""
    from batch_jobs.nightly import nightly as job

    told = settings(flags.params)
    _run("nightly", as_json, lambda stores, screen: job(stores, told, screen))


@app.command()
def step(
    name: Annotated[str, typer.Argument(help="judge, train or publish.")],
    run: Annotated[str, typer.Argument(help="Name of the run; its answers are kept under it.")],
    job: Annotated[str, typer.Argument(help="The settings of --config as JSON.")],
    as_json: Json = False,
) -> None:
    """Do one step of a nightly run as an AWS Batch job, for batch_jobs/state_machine.json; a refusal is an answer."""
    from batch_jobs.steps import on_batch

    _run("step", as_json, lambda stores, screen: on_batch(stores, name, run, job, screen))


@app.command()
def score(
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=500, help="Length of the lists.")] = 100,
    output: Output = Path("var/lists"), to_store: ToStore = False,
    context: Context = None, shard: Shards = "0/1", threads: Threads = None,
    namespace: Namespace = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Write the list of every user of the model in service as Parquet files.

    Running it again goes on where it was stopped. Lists are those of the training: newer events are not looked at.
    """
    from batch_jobs.score import Order, Shard
    from batch_jobs.score import score as job

    told = settings({"namespace": namespace})
    if to_store and context:
        raise errors.ConfigError("the online store holds lists without a context. Leave out --context or --to-store")
    order = Order(k, context_of(context), output, to_store, Shard.parse(shard), threads or os.cpu_count() or 1)
    _run("lists of all users", as_json, lambda stores, screen: job(stores, told.namespace, order, screen))


@app.command()
def recommend(
    user: Annotated[str | None, typer.Option("--user", help="Whose list.")] = None,
    similar_to: Annotated[str | None, typer.Option("--similar-to", help="Items like this one instead.")] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=500, help="Length of the list.")] = 10,
    context: Context = None,
    namespace: Namespace = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Show the list a user gets from the API, the items like one, or, with neither, popular ones.

    With --context alone it is the list of somebody unknown in that context.
    """
    from batch_jobs.lists import recommend as job

    if user is not None and similar_to is not None:
        raise errors.ConfigError("--user and --similar-to ask for two different lists. Give one")
    if similar_to is not None and context:
        raise errors.ConfigError("--context has no say in what is similar to an item. Leave it out")
    told, here = settings({"namespace": namespace}), context_of(context)
    _run(None, as_json, lambda stores, screen: job(stores, told.namespace, user, similar_to, k, here, screen))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    open_: Annotated[bool, typer.Option("--open", help="Let everybody in, whatever keys there are.")] = False,
) -> None:
    """Serve the REST API over the stores until interrupted; beyond loopback only with keys, or --open."""
    server = Path(__file__).resolve().parent.parent / "chalice_app" / "server.py"
    told = ["--host", host, "--port", str(port), *(["--open"] if open_ else [])]
    os.execv(sys.executable, [sys.executable, str(server), *told])


@app.command()
def demo(
    data: Annotated[Path, typer.Option(help="Folder with interactions.csv and items.csv.")] = Path("data/sample"),
) -> None:
    """Run the whole chain on the sample: train, publish, serve, ask, send events, ask again."""
    from batch_jobs.demo import demo as job

    job(data)


def main() -> None:
    """Run, and turn every error a user can cause into one line and an exit status."""
    status = run(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # threads of libraries may be at work: one that meets the end of the interpreter aborts it


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit status."""
    try:
        # Typer turns Ctrl-C into a returned 130, and --help into 0; a command itself returns None.
        status: int | None = app(arguments or ["--help"], prog_name="recsys", standalone_mode=False)
        sys.stdout.flush()
    except errors.RecsysError as error:
        status = next(status for kind, status in EXIT_STATUS.items() if isinstance(error, kind))
        return _failed(arguments, status, type(error).__name__, str(error))
    except typer.TyperException as error:
        return _failed(arguments, 2, "UsageError", f"{error.format_message()} See recsys COMMAND --help")
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except MemoryError:
        return _failed(arguments, 5, "MemoryError", "out of memory. Use a machine with more, or fewer events")
    except OSError as error:
        return _failed(arguments, 5, "StorageError", str(error))
    if status == 130:
        return _failed(arguments, 130, "Interrupted", "interrupted; what was not finished was not stored")
    return 0 if arguments else 2


def _failed(arguments: list[str], status: int, kind: str, reason: str) -> int:
    line = " ".join(reason.split())
    print(f"error: {line}", file=sys.stderr)
    try:
        if "--json" in arguments:
            print(json.dumps({"error": line, "kind": kind, "status": status}))
        sys.stdout.flush()
    except OSError:  # stdout itself refuses, and the exit would flush it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _run(title: str | None, as_json: bool, job: Callable[..., dict[str, Any]]) -> None:
    from batch_jobs.stores import Stores

    screen, stores = Screen(as_json=as_json), Stores.from_environment()
    with closing(stores.online):
        facts = job(stores, screen)
    if title or as_json:
        screen.summary(title or "", facts)


if __name__ == "__main__":
    main()
