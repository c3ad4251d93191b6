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
from recsys.errors import ConfigError

if TYPE_CHECKING:
    # Most commands read no file, and should not wait for pyarrow.
    from recsys.data.sources import ReadSpec

T = TypeVar("T")
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class IngestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to take in: `files` of events, tables of `items` and `users`, and how to read them (`recsys.data.sources`).

    A column that is '' is left unread: TOML and flags have no None. Columns named in `context` are kept as context.
    Models learn of the queue's events when the newest is `settle_s` ahead: a queue keeps no order. What comes later
    than that is in no list until the next model: it is longer than the deployment's queue goes on with a message.
    """

    files: tuple[str, ...] = ()
    items: str | None = None
    users: str | None = None
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
    """List lengths, and whether popularity and item-kNN are shown beside the model."""

    k: tuple[Count, ...] = (10, 20)
    baselines: bool = True


class GateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a candidate must reach: a `metric` at most `max_drop` (a share) below the model in service.

    Without a metric it is NDCG at the greatest k.
    """

    metric: str | None = None
    max_drop: Share = 0.1
    min_users: Count = 10
    min_coverage: Share = 0.0

    def __post_init__(self) -> None:
        """Refuse NaN, with which nothing would ever be refused."""
        if math.isnan(self.max_drop) or math.isnan(self.min_coverage):
            raise ConfigError("[gate] max_drop and min_coverage are numbers from 0 to 1, not NaN")


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
