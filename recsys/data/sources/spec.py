"""`ReadSpec`: how a file of events is to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.errors import ConfigError

FORMATS = ("csv", "parquet", "lists", "movielens")
TIMESTAMP_UNITS = ("s", "ms", "us")
FIELDS = ("user", "item", "weight", "timestamp", "event", "event_id")


@dataclass(frozen=True)
class ReadSpec:
    r"""Options of a reader; what is None is found out from the file.

    Parameters
    ----------
    format : {"csv", "parquet", "lists", "movielens"}, optional
        ``csv`` is text with any delimiter, ``lists`` is ``user item item ...`` a line.
    columns : mapping, optional
        Our names (``user, item, weight, timestamp, event, event_id``) to those of the file: a header name, a
        0-based position, or None to leave a column unread. Under a header, names not given are recognised; without
        one the columns are user, item, weight, timestamp, unless positions are given.
    header : bool, optional
        Whether the first line of a csv file names the columns.
    delimiter : str, optional
        Of a csv file; with more than one character (``::``) nothing is quoted. ``\t`` may be spelled out.
    timestamp_unit : {"s", "ms", "us"}
        Of numeric timestamps. ISO 8601 text needs none; without an offset it is UTC.
    context : sequence of str
        Columns, by the names of the header, that are kept as the context of the events: device, shop, ...

    Raises
    ------
    ConfigError
        If an option cannot be used.
    """

    format: str | None = None
    columns: Mapping[str, str | int | None] | None = None
    header: bool | None = None
    delimiter: str | None = None
    timestamp_unit: str = "s"
    context: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Validate once; readers rely on it."""
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"format {self.format!r} is not known; choose one of {', '.join(FORMATS)}")
        if self.timestamp_unit not in TIMESTAMP_UNITS:
            raise ConfigError(f"timestamp_unit is one of {', '.join(TIMESTAMP_UNITS)}, not {self.timestamp_unit!r}")
        self._check_columns()
        self._check_context()
        if self.delimiter is None:
            return
        if self.delimiter == "\\t":
            object.__setattr__(self, "delimiter", "\t")
        if not self.delimiter or len(self.delimiter.encode()) > 8 or set(self.delimiter) & set('"\r\n\0'):
            raise ConfigError(f"{self.delimiter!r} cannot separate columns; use ',', ';', '\\t', '|' or '::'")

    def _check_columns(self) -> None:
        for name, place in (self.columns or {}).items():
            if name not in FIELDS:
                raise ConfigError(f"columns has the key {name!r}; the keys are {', '.join(FIELDS)}")
            if isinstance(place, bool) or not (place is None or isinstance(place, str | int)):
                raise ConfigError(f"columns[{name!r}] is a header name or a 0-based position, not {place!r}")
            if isinstance(place, int) and place < 0:
                raise ConfigError(f"columns[{name!r}] is {place}; positions count from 0")
            if place is None and name in ("user", "item"):
                raise ConfigError(f"columns[{name!r}] is None, but every event has a user and an item")
            if isinstance(place, str) and self.header is False:
                raise ConfigError(
                    f"columns[{name!r}] is the name {place!r}, but without a header columns are positions (0, 1, ...)"
                )

    def _check_context(self) -> None:
        if isinstance(self.context, str) or not all(isinstance(name, str) and name.strip() for name in self.context):
            raise ConfigError(f"context is a list of column names, not {self.context!r}")
        repeated = [name for name in self.context if list(self.context).count(name) > 1]
        if repeated:
            raise ConfigError(f"the context column {repeated[0]!r} is named twice")
        if self.context and (self.header is False or self.format == "lists"):
            raise ConfigError("columns are kept as context by their names, but without a header they have none")
