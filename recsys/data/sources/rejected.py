"""What happens to a row that cannot be used: it stops the reading, or it is counted; it never just vanishes."""

from __future__ import annotations

import os

from recsys.errors import ConfigError, DataError

KEPT_MESSAGES = 10


class DataWarning(UserWarning):
    """Rows of a file, or values of contexts, cannot be used and were left out."""


class Rejected:
    """Collector of rejected rows.

    Parameters
    ----------
    on_error : {"raise", "skip"}
        Raise `DataError` at the first bad row, or count it and go on.

    Attributes
    ----------
    rows : int
        How many rows were rejected so far.
    messages : list of str
        The first ten reasons, each with path, line and column.

    Examples
    --------
    >>> rejected = Rejected("skip")
    >>> rejected.add("events.csv", 7, "rating", "'five' is not a number")
    >>> rejected.rows, rejected.messages
    (1, ["events.csv:7: column 'rating': 'five' is not a number"])
    """

    def __init__(self, on_error: str = "raise") -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error is 'raise' or 'skip', not {on_error!r}")
        self.on_error = on_error
        self.rows = 0
        self.messages: list[str] = []

    def add(
        self,
        path: str | os.PathLike[str],
        line: int | None,
        field: str | None,
        reason: str,
        *,
        remedy: str | None = None,
        rows: int = 1,
    ) -> None:
        """Reject `rows` rows from `line` on; `DataError` unless told to skip."""
        error = DataError(reason, path=path, line=line, field=field, remedy=remedy)
        if self.on_error == "raise":
            raise error
        self.rows += rows
        if len(self.messages) < KEPT_MESSAGES:
            self.messages.append(str(error))

    def summary(self, shown: int = 3) -> str:
        """Count and first reasons in one line; empty if nothing was rejected."""
        if not self.rows:
            return ""
        noun = "row was" if self.rows == 1 else "rows were"
        more = "; ..." if len(self.messages) > shown else ""
        return f"{self.rows:,} {noun} rejected: {'; '.join(self.messages[:shown])}{more}"
