"""The flags that commands share, and how they become settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_jobs.config import JobConfig, load, parse_setting
from recsys.errors import ConfigError

# Not `readable`: a file that may not be read is told by the reader, in its words and with its status.
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML with the settings; flags go over it.", readable=False)
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", help="Catalogue and models to work on (default: default).")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Files = Annotated[
    list[Path] | None,
    typer.Argument(help="Event files: CSV, TSV (.gz too), Parquet, lists, MovieLens.", readable=False),
]
Items = Annotated[Path | None, typer.Option("--items", help="Item table: id, title, genres, ...", readable=False)]
Users = Annotated[Path | None, typer.Option("--users", help="User table: id, age, country, ...", readable=False)]
Field = Annotated[
    list[str] | None,
    typer.Option(
        "--field", metavar="<str>", help="Field of items that lists may be filtered by, name:kind; repeatable."
    ),
]
Format = Annotated[str | None, typer.Option("--format", help="csv, parquet, lists or movielens.")]
OnError = Annotated[str | None, typer.Option("--on-error", help="raise (default), or skip and count broken lines.")]
Delimiter = Annotated[str | None, typer.Option("--delimiter", help="Of CSV input, where it is not recognised.")]
Header = Annotated[bool | None, typer.Option("--header/--no-header", help="Whether CSV has a first line of names.")]
Unit = Annotated[str | None, typer.Option("--timestamp-unit", help="s, ms or us, of numeric timestamps.")]
UserColumn = Annotated[str | None, typer.Option("--user-column", help="Name or 0-based position of the column.")]
ItemColumn = Annotated[str | None, typer.Option("--item-column", help="The same for items.")]
WeightColumn = Annotated[
    str | None, typer.Option("--weight-column", help="The same for ratings or counts; '' leaves it unread.")
]
TimeColumn = Annotated[str | None, typer.Option("--timestamp-column", help="The same for times; '' leaves it unread.")]
EventColumn = Annotated[str | None, typer.Option("--event-column", help="The same for the type of event.")]
ContextColumn = Annotated[
    list[str] | None,
    typer.Option("--context-column", metavar="<str>", help="Column kept as context of the events; repeatable."),
]
Model = Annotated[str | None, typer.Option("--model", help="als, bpr, biased_mf, fm, popularity or item_knn.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A model setting, such as factors=64; repeatable.")]
Clean = Annotated[
    list[str] | None, typer.Option("--clean", help="A cleaning setting, such as min_weight=4; repeatable.")
]
Context = Annotated[
    list[str] | None,
    typer.Option("--context", metavar="<str>", help="name=value of a context field, such as hour=20; repeatable."),
]
UserField = Annotated[
    list[str] | None,
    typer.Option(
        "--user-field", metavar="<str>", help="Field of the users that fm learns, name or name:kind; repeatable."
    ),
]
ItemField = Annotated[
    list[str] | None, typer.Option("--item-field", metavar="<str>", help="The same for items; repeatable.")
]
ContextField = Annotated[
    list[str] | None,
    typer.Option(
        "--context-field", metavar="<str>", help="The same for contexts, or hour, weekday, month; repeatable."
    ),
]
Output = Annotated[Path, typer.Option("--output", help="Folder of the lists: each version gets one of its own in it.")]
ToStore = Annotated[bool, typer.Option("--to-store", help="Also put the lists into the online store.")]
Shards = Annotated[str, typer.Option("--shard", metavar="<I/N>", help="Every N-th part, from the I-th on, I from 0.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Every core where it is not given; results do not depend on it.")
]
Split = Annotated[str | None, typer.Option("--split", help="time, leave-last or given.")]
Fraction = Annotated[float | None, typer.Option("--test-fraction", help="Share of the latest events held out.")]
Test = Annotated[Path | None, typer.Option("--test", help="File with the events to be predicted.", readable=False)]
Ks = Annotated[
    list[str] | None, typer.Option("--k", metavar="<int>", help="List lengths to judge at, such as 10,20; repeatable.")
]
Against = Annotated[
    str | None, typer.Option("--against", help="Compare with it: current, popularity, item_knn or a version.")
]
Report = Annotated[
    Path | None, typer.Option("--report", help="HTML file with tables and plots; JSON beside it.", readable=False)
]

Searcher = Annotated[str | None, typer.Option("--search", help="tpe (Bayesian, the default), random or grid.")]
Trials = Annotated[int | None, typer.Option("--trials", help="Budget of the study in trials (default: 50).")]
Minutes = Annotated[float | None, typer.Option("--minutes", help="Budget of the study in minutes of work.")]
Metric = Annotated[str | None, typer.Option("--metric", help="What trials are judged by, such as recall@20.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Processes that train; they share the cores.")]
FinalTest = Annotated[
    bool, typer.Option("--final-test", help="At the end, judge the best settings on the test part, once.")
]


def settings(flags: Mapping[str, Any]) -> JobConfig:
    """Return the settings of a command: those of --config and, over them, its flags by the names of its parameters."""
    config = flags.get("config")
    return load(
        None if config is None else Path(config),
        {
            "namespace": flags.get("namespace"),
            "ingest": {
                "files": _texts(flags, "files"),
                "items": _text(flags, "items"),
                "users": _text(flags, "users"),
                "fields": _texts(flags, "field"),
                "columns": _columns(flags),
                "context": _texts(flags, "context_column"),
                **{name: flags.get(name) for name in ("format", "header", "delimiter", "timestamp_unit", "on_error")},
            },
            "features": {side: _texts(flags, f"{side}_field") for side in ("user", "item", "context")},
            "model": {"kind": flags.get("model"), **_table("--set", _texts(flags, "set_"))},
            "clean": _table("--clean", _texts(flags, "clean")),
            "split": {
                "kind": flags.get("split"),
                "test_fraction": flags.get("test_fraction"),
                "test": _text(flags, "test"),
            },
            "evaluate": {
                "k": _lengths(_texts(flags, "k")),
                "against": flags.get("against"),
                "report": _text(flags, "report"),
            },
            "tune": {name: flags.get(name) for name in ("search", "trials", "minutes", "metric", "workers")},
        },
    )


def context_of(flags: list[str] | None) -> dict[str, str]:
    """Parse ``name=value`` of --context; what kind of value it is, the model knows."""
    context = {}
    for one in flags or ():
        name, separator, value = one.partition("=")
        if not name or not separator:
            raise ConfigError(f"--context takes name=value, not {one!r}")
        context[name] = value
    return context


def _text(flags: Mapping[str, Any], name: str) -> str | None:
    return None if flags.get(name) is None else str(flags[name])


def _texts(flags: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(map(str, flags.get(name) or ()))


def _lengths(given: tuple[str, ...]) -> tuple[int, ...]:
    try:
        return tuple(int(one) for some in given for one in some.split(","))
    except ValueError:
        raise ConfigError(f"--k takes list lengths such as 10,20, not {' '.join(given)!r}") from None


def _columns(flags: Mapping[str, Any]) -> dict[str, str | int]:
    """Names and, unless there is a header, positions."""
    named = {ours: flags.get(f"{ours}_column") for ours in ("user", "item", "weight", "timestamp", "event")}
    return {
        ours: int(theirs) if flags["header"] is not True and theirs.isdigit() else theirs
        for ours, theirs in named.items()
        if theirs is not None
    }


def _table(flag: str, given: tuple[str, ...]) -> dict[str, Any]:
    return dict(parse_setting(flag, one) for one in given)
