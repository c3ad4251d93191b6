"""The processes that train: each takes settings, tells the score of every epoch, and is told whether to go on."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from batch_jobs.config import JobConfig, call
from batch_jobs.console import Screen
from batch_jobs.stores import Stores
from batch_jobs.train import make_model, with_features
from recsys.data import Cleaned, Dataset, Interactions, clean
from recsys.data.cleaning import drop_light_events
from recsys.errors import RecsysError, StorageError
from recsys.evaluation import evaluate

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy the locks of threads it leaves behind


@dataclass(frozen=True, eq=False)
class Task:
    """What every trial has in common.

    Parameters
    ----------
    train, validation : Interactions
        The two sides of a cut through the training part. There is nothing else a trial could look at.
    metric : str
        Such as ``ndcg@20``.
    threads : int
        Of each process.
    """

    train: Interactions
    validation: Interactions
    metric: str
    threads: int


@dataclass(frozen=True)
class Epoch:
    """What a process tells after each epoch; it waits for a bool."""

    number: int
    score: float


@dataclass(frozen=True)
class Trained:
    """What it tells at the end: the best epoch with its score, or None where it was told to stop."""

    best: Epoch | None


class Worker:
    """One process and the line to it; it ends when the line does."""

    def __init__(self, task: Task) -> None:
        self.line, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_work, args=(theirs, task), daemon=True)
        with _blas_threads(task.threads):
            self.process.start()
        theirs.close()

    def told(self) -> Epoch | Trained | Exception:
        """Return the next message; that the process ended is one too."""
        try:
            message: Epoch | Trained | Exception = self.line.recv()
        except (EOFError, ConnectionError):
            self.process.join(5)
            reason = f"the process of a trial ended with status {self.process.exitcode}"
            return StorageError(f"{reason}. If memory ran out, take fewer workers or factors")
        return message

    def tell(self, what: JobConfig | bool) -> None:
        """Tell the settings of a trial, or whether it goes on; a process that is no more is heard of by `told`."""
        with suppress(ConnectionError):
            self.line.send(what)

    def end(self) -> None:
        """End the process, whatever it is at."""
        self.process.kill()
        self.process.join()
        self.line.close()


def _work(line: Connection[Any, Any], task: Task) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    stores = Stores.from_environment()
    with closing(stores.online):
        prepared = _Prepared(stores, task)
        while True:
            try:
                config = line.recv()
                line.send(_trial(line, task, prepared, config))
            except (EOFError, ConnectionError):
                return


class _Prepared:
    """The dataset of the last cleaning: most trials share it."""

    def __init__(self, stores: Stores, task: Task) -> None:
        self._stores, self._task = stores, task
        self._held: tuple[dict[str, Any], Dataset, Cleaned] | None = None

    def of(self, config: JobConfig) -> tuple[Dataset, Cleaned]:
        if self._held is None or self._held[0] != config.clean:
            cleaned = call(clean, config.clean, "clean", self._task.train)
            dataset = Dataset.from_interactions(cleaned.interactions, self._task.train)
            screen = Screen(as_json=True)
            self._held = dict(config.clean), with_features(self._stores, dataset, config, screen), cleaned
        return self._held[1:]


def _trial(line: Connection[Any, Any], task: Task, prepared: _Prepared, config: JobConfig) -> Trained | Exception:
    try:
        return Trained(_best_epoch(line, task, prepared, config))
    except _Stopped:
        return Trained(None)
    except (EOFError, ConnectionError):
        raise
    except (RecsysError, MemoryError) as error:
        return error


class _Stopped(Exception):
    """The trial is not worth another epoch."""


def _best_epoch(line: Connection[Any, Any], task: Task, prepared: _Prepared, config: JobConfig) -> Epoch:
    dataset, cleaned = prepared.of(config)
    model: Any = make_model(config.model)
    if not getattr(model, "asynchronous", False):
        model.threads = task.threads  # what is learned does not depend on it
    held = drop_light_events(task.validation, cleaned.rule)
    k = int(task.metric.rpartition("@")[2])
    epochs: list[Epoch] = []

    def judged(fitted: Any) -> float:
        epochs.append(Epoch(len(fitted.loss), evaluate(fitted, held, k=(k,)).mean(task.metric)))
        line.send(epochs[-1])
        if not line.recv():
            raise _Stopped
        return epochs[-1].score

    if getattr(model, "solver", None) == "gibbs":  # the mean of fewer draws is another model, and so is one looked at
        judged(model.fit(dataset))
    else:
        model.fit(dataset, on_epoch=judged)
    return max(epochs, key=lambda one: (one.score, -one.number))


@contextmanager
def _blas_threads(n: int) -> Iterator[None]:
    """Tell a process that is started here how many threads numpy may take."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = str(n)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before
