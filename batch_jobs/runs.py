"""The record of experiments: every run leaves one JSON document that says what it did to what, and how it ended.

``RECSYS_RUNS/ns=NAMESPACE/dt=DAY/TIME-KIND-ID.json``, written once and never changed. Of people there is nothing in it:
counts and fingerprints of the events, files by their names, and errors in reading without what they quote of a line.
"""

from __future__ import annotations

import inspect
import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from batch_jobs.config import JobConfig
from batch_jobs.console import Screen
from batch_jobs.log_files import LogFiles
from recsys import __version__
from recsys.errors import DataError, NotFoundError, RecsysError

if TYPE_CHECKING:
    from recsys.data import Interactions
    from recsys.evaluation import EvaluationResult
    from recsys.models import Recommender

DONE = "done"
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_PATHS = (("ingest", "files"), ("ingest", "items"), ("ingest", "users"), ("split", "test"), ("evaluate", "report"))


class Code(msgspec.Struct, frozen=True):
    """What ran: the release and, in a checkout, the revision and whether files were changed since."""

    version: str
    revision: str | None = None
    dirty: bool = False


class Run(msgspec.Struct, kw_only=True):
    """One run of a job; the job fills it in as it goes.

    Parameters
    ----------
    id : str
        Random.
    kind : str
        The job: train, evaluate, tune, nightly, or a step of the latter on its own.
    namespace : str
    started_at : str
        ISO 8601, UTC.
    settings : dict
        Tables as the TOML has them; ``model`` with the defaults of its constructor.
    code : Code
    seed : int, optional
        Of the model; None where it draws nothing.
    data : dict
        Fingerprint and counts of the events that were read, and how they were split.
    seconds : dict of str to float
        By stage as the screen names them, and ``total``.
    metrics : dict of str to float
        Of the candidate; None where there is no value.
    beside : dict of str to dict
        Metrics of what was judged beside it, by name.
    metric : str, optional
        The one to look at first.
    version : str, optional
        Of the artefact it stored.
    outcome : str
        ``done``, or the kind of error.
    reason : str, optional
        Of the error, in words.
    """

    id: str
    kind: str
    namespace: str
    started_at: str
    settings: dict[str, Any]
    code: Code
    seed: int | None = None
    data: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    metrics: dict[str, float | None] = {}
    beside: dict[str, dict[str, float | None]] = {}
    metric: str | None = None
    version: str | None = None
    outcome: str = DONE
    reason: str | None = None

    def trains(self, model: Recommender) -> None:
        """Note a model about to be trained, with its defaults: they may be others in a later release."""
        defaults = {p.name: p.default for p in inspect.signature(type(model)).parameters.values()}
        self.settings["model"] = {"kind": model.kind, **defaults, **self.settings["model"]}
        self.seed = self.settings["model"].get("seed")

    def reads(self, interactions: Interactions) -> None:
        """Note the events before any cleaning and cutting: what two runs must share to be compared.

        Where a night reads the log twice, it is what was judged, which the metrics are of.
        """
        self.data = {
            "fingerprint": interactions.fingerprint(),
            "events": len(interactions),
            "users": len(interactions.users),
            "items": len(interactions.items),
            "window": interactions.window,
            **self.data,
        }

    def judges(self, split: str, test: Interactions, candidate: str, results: Mapping[str, EvaluationResult]) -> None:
        """Note how the candidate and those beside it did on the events that were held out."""
        self.data |= {"split": split, "test_fingerprint": test.fingerprint(), "test_events": len(test)}
        means: dict[str, Any] = {name: result.to_json()["means"] for name, result in results.items()}
        self.metrics = means.pop(candidate)
        self.beside = means


@contextmanager
def recording(files: LogFiles, kind: str, config: JobConfig, screen: Screen) -> Iterator[Run]:
    """Record what the block does as one run, however it ends; the stages are the bars it shows."""
    run, start = begin(kind, config), time.monotonic()
    screen.seconds.clear()
    try:
        yield run
    except BaseException as error:
        run.outcome, run.reason = type(error).__name__, _in_words(error)
        raise
    finally:
        run.seconds = {"total": time.monotonic() - start, **screen.seconds}
        record(files, run, screen)


def begin(kind: str, config: JobConfig) -> Run:
    """Return the record of a run that begins now."""
    moment = datetime.now(UTC)
    settings: dict[str, Any] = msgspec.to_builtins(config)
    for table, name in _PATHS:
        settings[table][name] = _file_names(settings[table][name])
    return Run(
        id=secrets.token_hex(5),
        kind=kind,
        namespace=settings.pop("namespace"),
        started_at=moment.isoformat(timespec="milliseconds"),
        settings=settings,
        code=code(),
        metric=config.gate.metric or f"ndcg@{max(config.evaluate.k)}",
    )


def record(files: LogFiles, run: Run, screen: Screen) -> None:
    """Keep a run, whole or not at all; where it cannot be kept, the screen says so and what it made stays as it is."""
    text = msgspec.json.format(msgspec.json.encode(run, enc_hook=_plain), indent=1) + b"\n"
    try:
        with files.locked(run.namespace):
            files.create(run.namespace, _name(run), lambda file: file.write(text))
    except RecsysError as error:
        screen.note(f"this run is not on record: {error}")


def names(files: LogFiles, namespace: str | None = None, kind: str | None = None) -> list[tuple[str, str]]:
    """Return namespace and file of every run, or of those of a namespace or a kind; newest first."""
    spaces = files.namespaces() if namespace is None else [namespace]
    found = [(space, name) for space in spaces for name in files.names(space)]
    return sorted((one for one in found if kind in (None, one[1].split("-")[-2])), key=lambda one: one[1])[::-1]


def read(files: LogFiles, namespace: str, name: str) -> Run:
    """Read a run; `DataError` if the file holds none."""
    with files.open(namespace, name) as file:
        try:
            return msgspec.json.decode(file.read(), type=Run)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"is no run of this release: {error}", path=f"{files}/ns={namespace}/{name}") from None


def find(files: LogFiles, run_id: str) -> Run:
    """Read the run of an id; `NotFoundError` if there is none."""
    for namespace, name in names(files):
        if name.endswith(f"-{run_id}.json"):
            return read(files, namespace, name)
    raise NotFoundError(f"there is no run {run_id!r} under {files}. recsys runs lists them")


@cache
def code() -> Code:
    """Return what runs here; the revision only where the package lies in a checkout and git is there to say."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return Code(__version__)
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return Code(__version__)
    return Code(__version__, told.removesuffix("-dirty"), told.endswith("-dirty"))


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's, and anything else as text: a record must not fail for a detail of it."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _name(run: Run) -> str:
    """Return the file: days and times sort, and the kind is known without reading it."""
    day, time_ = run.started_at[:10], re.sub("[-:.]", "", run.started_at.partition("+")[0])
    return f"dt={day}/{time_}Z-{run.kind}-{run.id}.json"


def _file_names(paths: Any) -> Any:
    # The folder may be that of a person; the name of the file says enough.
    if isinstance(paths, str):
        return Path(paths).name
    return paths and [Path(path).name for path in paths]


def _in_words(error: BaseException) -> str | None:
    if not isinstance(error, RecsysError):
        return None
    text = str(error)
    if isinstance(error, DataError) and (error.path or error.field):  # it may quote a line of somebody's events
        text = _QUOTED.sub("'...'", text.replace(error.path, Path(error.path).name) if error.path else text)
    return text
