"""Settings of the jobs: one frozen struct per job, parsed at the edge from TOML and flags, passed down as values.

Tables whose keys are arguments of one function (`[clean]`, `[model]`) stay mappings and are checked against that
function, so that no hyper-parameter is written down twice.
"""

from __future__ import annotations

import inspect
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import msgspec

from recsys.artifacts.manifest import check_name
from recsys.errors import ConfigError, DataError

if TYPE_CHECKING:
    # Most commands read no file, and should not wait for pyarrow.
    from recsys.data.sources import ReadSpec

T = TypeVar("T")
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class IngestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to take in: `files` of events, tables of `items` and `users`, and how to read them (`recsys.data.sources`).

    A column that is '' is left unread: TOML and flags have no None. Columns named in `context` are kept as context.
    Lists may be filtered by the `fields` of items, each as ``name:kind`` with a kind of `recsys.serving.fields`.
    Models learn of the queue's events when the newest is `settle_s` ahead: a queue keeps no order. What comes later
    than that is in no list until the next model: it is longer than the deployment's queue goes on with a message.
    """

    files: tuple[str, ...] = ()
    items: str | None = None
    users: str | None = None
    fields: tuple[str, ...] = ()
    format: str | None = None
    columns: dict[str, str | int | None] | None = None
    header: bool | None = None
    delimiter: str | None = None
    timestamp_unit: str = "s"
    context: tuple[str, ...] = ()
    on_error: Literal["raise", "skip"] = "raise"
    settle_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 3600.0

    def spec(self) -> ReadSpec:
        """Return how to read files of events."""
        from recsys.data.sources import ReadSpec

        columns = None if self.columns is None else {ours: None if c == "" else c for ours, c in self.columns.items()}
        return ReadSpec(self.format, columns, self.header, self.delimiter, self.timestamp_unit, self.context)

    def declared(self) -> dict[str, str]:
        """Return the kind of each of the fields."""
        from recsys.serving.fields import KINDS, checked_fields

        split = [one.rpartition(":") for one in self.fields]
        try:
            return checked_fields({name: kind for name, _, kind in split})
        except DataError:
            raise ConfigError(f"[ingest] fields are name:kind, with a kind of {', '.join(KINDS)}") from None


class FeaturesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a factorization machine learns beside ids: fields of users, items and contexts.

    Each as ``name``, or as ``name:kind`` with a kind of `recsys.encoding`.
    """

    user: tuple[str, ...] = ()
    item: tuple[str, ...] = ()
    context: tuple[str, ...] = ()


class SplitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to judge: `given` needs `test`; without `kind`, given if there is a test file, else time, else leave-last."""

    kind: Literal["time", "leave-last", "given"] | None = None
    test: str | None = None
    test_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    n: Count = 1

    def __post_init__(self) -> None:
        """Refuse a kind that contradicts the test file."""
        if self.kind is not None and (self.kind == "given") != (self.test is not None):
            raise ConfigError(
                f"[split] kind = '{self.kind}' and a test file do not go together"
                if self.test
                else "[split] kind = 'given' needs the test file: --test FILE"
            )


class EvaluateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """List lengths, and whether popularity and item-kNN are shown beside the model.

    `against` is what all are compared with: current, popularity, item_knn or a version. `report` is the name of an HTML
    file; beside it goes the same as JSON.
    """

    k: tuple[Count, ...] = (10, 20)
    baselines: bool = True
    against: str | None = None
    report: str | None = None


class GateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a candidate must reach, by the rule of `batch_jobs.gate`; shares are numbers from 0 to 1.

    A `metric` (without one NDCG at the greatest k) at most `max_drop`, a share, below the model in service and the best
    before it, on pairs of user and item that no judged candidate learns: the share `holdout` of them, the same ones
    every night, unless `[split]` says otherwise. At least `min_users` judged and `min_coverage` of the catalogue shown;
    at most `max_lost` of the known users or items gone and `max_copies` of the users copies of others; the newest event
    at most `max_age_days` old.
    """

    metric: str | None = None
    holdout: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1
    max_drop: Share = 0.1
    min_users: Count = 10
    min_coverage: Share = 0.0
    max_lost: Share = 0.1
    max_copies: Share = 0.01
    max_age_days: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def __post_init__(self) -> None:
        """Refuse NaN, with which nothing would ever be refused."""
        for name, value in msgspec.structs.asdict(self).items():
            if isinstance(value, float) and math.isnan(value):
                raise ConfigError(f"[gate] {name} is a number, not NaN")


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a setting is searched: from `low` to `high`, evenly by size or, with `log`, by logarithm; or `choices`.

    Two whole numbers make a whole number.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[bool | int | float | str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what nothing can be drawn from."""
        if self.choices and (self.low, self.high, self.log) == (None, None, False):
            return
        if self.choices or self.low is None or self.high is None:
            raise ConfigError("a searched setting has low and high, or choices")
        if not (-math.inf < self.low < self.high < math.inf) or (self.log and self.low <= 0):
            raise ConfigError("low is below high, above 0 where log is true, and both are finite")

    @property
    def ends(self) -> tuple[int | float, int | float]:
        """Low and high, where there are no choices."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high


class SpaceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is searched, by the names of `[model]` and `[clean]`."""

    model: dict[str, Span] = {}
    clean: dict[str, Span] = {}


class TuneConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How settings are searched; an empty `space` is the usual one of the kind of model.

    The budget is `trials` in all, or `minutes` of work, whichever ends first; without either 50 trials. A trial is
    judged by `metric`, that of the gate where it is not given, on at most `users` of the validation part. With `prune`
    it ends when it falls behind those before it.
    """

    search: Literal["tpe", "random", "grid"] = "tpe"
    trials: Count | None = None
    minutes: Annotated[float, msgspec.Meta(gt=0)] | None = None
    metric: str | None = None
    users: Count = 10_000
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    prune: bool = True
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    space: SpaceConfig = SpaceConfig()


class JobConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything `recsys nightly` does; the other commands use their part of it."""

    namespace: str = "default"
    ingest: IngestConfig = IngestConfig()
    clean: dict[str, Any] = {}
    features: FeaturesConfig = FeaturesConfig()
    split: SplitConfig = SplitConfig()
    model: dict[str, Any] = {}
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    tune: TuneConfig = TuneConfig()

    def __post_init__(self) -> None:
        """Check what types alone cannot say."""
        check_name("namespace", self.namespace)


def load(path: Path | None, flags: Mapping[str, Any]) -> JobConfig:
    """Read settings from a TOML file, flags over it.

    Parameters
    ----------
    path : Path, optional
    flags : mapping
        Nested as the TOML is; None means not given.

    Raises
    ------
    ConfigError
        Naming the file and the key.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{path} is not TOML: {error}") from None
    merged = _merged(settings, flags)
    try:
        return msgspec.convert(merged, JobConfig, strict=True)
    except (msgspec.ValidationError, ConfigError) as error:
        reason, _, place = str(error).partition(" - at `$.")
        where = f"{path}: " if path else ""
        key = f"{place.rstrip('`')}: " if place else ""
        raise ConfigError(f"{where}{key}{reason[:1].lower()}{reason[1:]}") from None


def call(function: Callable[..., T], settings: Mapping[str, Any], table: str, *leading: Any) -> T:
    """Call a function or constructor with the keys of a settings table; `ConfigError` names a key that does not fit."""
    return function(*leading, **arguments(function, settings, table))


def arguments(function: Callable[..., T], settings: Mapping[str, Any], table: str) -> dict[str, Any]:
    """Convert a settings table to the keyword arguments of a function; `ConfigError` names a key that does not fit."""
    target = function.__init__ if inspect.isclass(function) else function
    hints = get_type_hints(target)
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    converted = {}
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(f"[{table}] has no setting {name!r}; it has {', '.join(known)}")
        try:
            converted[name] = msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            raise ConfigError(f"[{table}] {name} = {value!r}: {error}") from None
    return converted


def parse_setting(flag: str, text: str) -> tuple[str, Any]:
    """Parse ``name=value`` of --set or --clean, the value as TOML writes it, else as text."""
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise ConfigError(f"{flag} takes name=value, not {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return name, value


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping):
            under = merged.get(key, {})
            if not isinstance(under, Mapping):
                continue  # of the wrong type: left for the validation to name
            merged[key] = _merged(under, value)
            if not merged[key] and key not in below:
                del merged[key]
        elif value is not None and value != ():
            merged[key] = value
    return merged
