"""Every error a user of the suite can cause or meet, and nothing else.

::

    RecsysError
    ├── DataError               input that cannot be read, or contradicts itself
    │   └── InsufficientDataError   readable, but too little to train or judge on
    ├── ConfigError             a setting, flag or argument that cannot be used
    │   └── TrainingDivergedError   settings of a model with which its numbers grow beyond all bounds
    ├── NotFoundError           a name that leads nowhere
    │   ├── UnknownUserError
    │   ├── UnknownItemError
    │   ├── NoModelError        the namespace has no published model, or not that version
    │   └── PageGoneError       a walk through a list that cannot go on
    ├── ArtifactError           a stored artefact that fails verification
    ├── ConflictError           somebody else moved first, or it exists already
    ├── GateRefusedError        the candidate is worse than what is in service
    └── StorageError            the disk, database or port underneath refuses

A message is one sentence on what is wrong and, where there is one, a second on what to do about it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


class RecsysError(Exception):
    """Base of all errors raised on purpose."""


class DataError(RecsysError):
    """Input that cannot be read, or contradicts itself.

    Parameters
    ----------
    reason : str
        What is wrong, without the place.
    path, line, field : optional
        Where: the file, its 1-based line (or row, for formats without lines) and the column.
    remedy : str, optional
        What the user can do about it.
    """

    def __init__(
        self,
        reason: str,
        *,
        path: str | os.PathLike[str] | None = None,
        line: int | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.reason = reason
        self.path = None if path is None else os.fspath(path)
        self.line = line
        self.field = field
        self.remedy = remedy
        super().__init__(self._text())

    def _text(self) -> str:
        place = self.path or ""
        if self.line is not None:
            place += f":{self.line}" if place else f"line {self.line}"
        parts = [place] if place else []
        if self.field is not None:
            parts.append(f"column '{self.field}'")
        text = ": ".join([*parts, self.reason])
        return f"{text}. {self.remedy}" if self.remedy else text


class InsufficientDataError(DataError):
    """Readable data, but too little of it to train or to judge on."""


class ConfigError(RecsysError):
    """A setting, flag or argument that cannot be used."""


class TrainingDivergedError(ConfigError):
    """Settings of a model with which its numbers grow beyond all bounds on this data."""


class NotFoundError(RecsysError):
    """A name that leads nowhere."""


class UnknownUserError(NotFoundError):
    """A user the model was not trained on."""


class UnknownItemError(NotFoundError):
    """An item that is not in the model's catalogue; `field` is where a request names it."""

    def __init__(self, reason: str, *, field: str = "item") -> None:
        super().__init__(reason)
        self.field = field


class NoModelError(NotFoundError):
    """A namespace without a published model, or a version that does not exist."""


class PageGoneError(NotFoundError):
    """A walk through a list that cannot go on: its model, or what it knew of the user, is gone."""


class ArtifactError(RecsysError):
    """A stored artefact that is damaged, incomplete or not what its manifest says."""


class ConflictError(RecsysError):
    """Somebody else moved first, or what was to be created exists already."""


class GateRefusedError(RecsysError):
    """The quality gate refuses to put a candidate into service."""


class StorageError(RecsysError):
    """The disk, database or port underneath refuses."""


_REMEDIES = {
    errno.ENOSPC: "Free some space and run it again",
    errno.EDQUOT: "Free some of the quota and run it again",
    errno.EFBIG: "Raise the file size limit and run it again",
    errno.EACCES: "Give this user the right to it, or choose another place",
    errno.EPERM: "Give this user the right to it, or choose another place",
    errno.EROFS: "Choose a place that can be written",
}


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Turn an `OSError` inside the block into a `StorageError` that begins with `what` failed.

    Parameters
    ----------
    what : str
        The action in words: ``"publishing version 7 to ./var/artifacts"``.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        place = f" ({error.filename})" if error.filename else ""
        remedy = _REMEDIES.get(error.errno or 0)
        raise StorageError(f"{what} failed: {reason}{place}" + (f". {remedy}" if remedy else "")) from error
