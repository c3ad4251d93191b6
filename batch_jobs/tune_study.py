"""A study on disk: its trials outlive the process, and go on as if it had never been stopped."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, NopPruner, PercentilePruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from batch_jobs.config import TuneConfig
from batch_jobs.tune_space import Params, Space
from recsys.artifacts.store import make_folder
from recsys.errors import ConflictError, StorageError, storing

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_STARTUP = 8  # trials drawn at random before the Bayesian search has something to go by
_KEPT = 40.0  # percent of the trials that an epoch lets go on
_JUDGED_FROM = 3  # epochs: before that, curves cross


class Stream(BaseSampler):
    """A sampler that draws each trial from a stream of its own, by the trial's number.

    One stream for all would begin anew in every process, and repeat itself.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Begin the stream of this trial."""
        self._sampler = self._make((self._seed * 1_000_003 + trial.number) % 2**32)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what is drawn jointly."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw it."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one setting alone."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log and its warnings to itself; those of others are left alone."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def opened(folder: Path) -> Iterator[RDBStorage]:
    """Open the studies of a folder; `ConflictError` while another process has them."""
    what = f"opening the studies in {folder}"
    with storing(what):
        make_folder(folder)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"another search is at work in {folder}. Wait for its end, or use its workers"
            ) from None
        try:
            storage = RDBStorage(f"sqlite:///{folder / 'studies.db'}")
            try:
                yield storage
            finally:
                storage.remove_session()
                storage.engine.dispose()
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            reason = str(getattr(error.__cause__ or error, "orig", error))
            raise StorageError(f"{what} failed: {reason}. Make room there, or move studies.db away") from error
    finally:
        os.close(handle)


def begun(storage: RDBStorage, name: str, space: Space, kind: str) -> Study:
    """Return the study of that name, with the first trials waiting if it is new.

    What ran when an earlier process ended waits as well: with its number, its settings and the epochs it reported.
    """
    told = space.config.tune
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=Stream(_sampler(told), told.seed),
        pruner=_pruner(told),
        direction="maximize",
        load_if_exists=True,
    )
    put_back(storage, study)
    if "kind" not in study.user_attrs:
        _enqueue(study, _first(storage, study, space, kind))
        study.set_user_attr("kind", kind)
    return study


def put_back(storage: RDBStorage, study: Study) -> None:
    """Let trials that nobody works on wait for the next one who does."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def best_of(study: Study) -> FrozenTrial | None:
    """Return the best trial that was finished, the first of equals; None before there is one."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)


def finished(study: Study) -> list[FrozenTrial]:
    """Return the trials that came to an end."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def _sampler(told: TuneConfig) -> Callable[[int], BaseSampler]:
    if told.search == "tpe":
        return lambda seed: TPESampler(seed=seed, n_startup_trials=_STARTUP)
    return lambda seed: RandomSampler(seed=seed)


def _pruner(told: TuneConfig) -> BasePruner:
    if not told.prune:
        return NopPruner()
    return PercentilePruner(_KEPT, n_startup_trials=_STARTUP // 2, n_warmup_steps=_JUDGED_FROM)


def _first(storage: RDBStorage, study: Study, space: Space, kind: str) -> list[Params]:
    """Return the trials that come first: the settings given, the best of earlier studies, the whole grid."""
    first = [{name: value for name, value in space.given.items() if value is not None}]
    for earlier in optuna.get_all_study_names(storage=storage):
        other = optuna.load_study(study_name=earlier, storage=storage)
        best = best_of(other) if other.user_attrs.get("kind") == kind else None
        if best is not None and space.holds(best.params):
            first.append(best.params)
    return first + (space.grid() if space.config.tune.search == "grid" else [])


def _enqueue(study: Study, first: list[Params]) -> None:
    waiting = [trial.system_attrs.get("fixed_params") for trial in study.get_trials(deepcopy=False)]
    for params in first:
        if params not in waiting:
            waiting.append(params)
            study.enqueue_trial(params)


def looks(storage: RDBStorage) -> list[dict[str, Any]]:
    """Return what all studies together have seen of test parts, in order of time."""
    studies = (optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage))
    return sorted(
        (look for study in studies for look in study.user_attrs.get("looks", [])), key=lambda look: look["at"]
    )
