"""The search itself: hands trials out, hears of every epoch, and keeps to the budget."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import wait

from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState

from batch_jobs.config import TuneConfig
from batch_jobs.console import Screen, Step
from batch_jobs.tune_space import Space
from batch_jobs.tune_study import best_of, finished, put_back
from batch_jobs.tune_workers import Epoch, Task, Trained, Worker
from recsys.errors import StorageError

USUAL_TRIALS = 50


class Budget:
    """How many trials a study may have, and how many seconds of work over all its runs."""

    def __init__(self, told: TuneConfig, study: Study) -> None:
        unbounded = told.trials is None and told.minutes is None
        self.trials = USUAL_TRIALS if unbounded else told.trials
        self.seconds = None if told.minutes is None else 60 * told.minutes
        self._study = study
        self._began = time.monotonic() - float(study.user_attrs.get("seconds", 0.0))

    @property
    def spent(self) -> float:
        """Seconds of work so far."""
        return time.monotonic() - self._began

    def note(self) -> None:
        """Write down what was spent, for the next run."""
        self._study.set_user_attr("seconds", self.spent)

    def over(self) -> bool:
        """Whether time is up."""
        return self.seconds is not None and self.spent >= self.seconds

    def allows(self, trials: int) -> bool:
        """Whether one more than these may begin."""
        return not self.over() and (self.trials is None or trials < self.trials)

    def show(self, step: Step, done: int, words: str) -> None:
        """Move the bar: by trials where they are bounded, else by seconds."""
        if self.trials is not None:
            step(done, self.trials, words)
        elif self.seconds is not None:
            step(int(min(self.spent, self.seconds)), int(self.seconds), f"{done} trials, {words}")


@dataclass(frozen=True)
class Running:
    """A trial at work, and the epochs it had reported before it was stopped and begun again."""

    trial: Trial
    reported: frozenset[int]


class Search:
    """One run over a study.

    Parameters
    ----------
    storage, study
        Of this process alone: the workers know of neither.
    space : Space
    task : Task
    screen : Screen
    """

    def __init__(self, storage: RDBStorage, study: Study, space: Space, task: Task, screen: Screen) -> None:
        self._storage, self._study, self._space, self._task, self._screen = storage, study, space, task, screen
        self._budget = Budget(space.config.tune, study)
        self._idle: list[Worker] = []
        self._busy: dict[Worker, Running] = {}
        self._count()

    def run(self) -> None:
        """Search until the budget is spent, or nothing is left to try; what is unfinished then waits in the study."""
        try:
            with self._screen.bar("searching") as step:
                self._show(step)
                while self._hand_out():
                    for worker in self._speaking():
                        self._heard(worker, worker.told())
                    self._show(step)
                    if self._budget.over():
                        break
        finally:
            for worker in (*self._idle, *self._busy):
                worker.end()
            put_back(self._storage, self._study)
            self._budget.note()

    def _hand_out(self) -> bool:
        """Give every worker a trial while there are some; False if none is being worked on."""
        while len(self._busy) < self._space.config.tune.workers and self._more():
            worker = self._idle.pop() if self._idle else Worker(self._task)
            trial = self._study.ask(self._space.distributions)
            reported = self._storage.get_trial(trial._trial_id).intermediate_values
            self._busy[worker] = Running(trial, frozenset(reported))
            worker.tell(self._space.settings(trial.params))
        return bool(self._busy)

    def _more(self) -> bool:
        if not self._budget.allows(self._done + len(self._busy)):
            return False
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return bool(waiting) or self._space.config.tune.search != "grid"

    def _speaking(self) -> list[Worker]:
        by_line = {worker.line: worker for worker in self._busy}
        return [by_line[line] for line in wait(list(by_line), timeout=0.5)]  # type: ignore[index]

    def _heard(self, worker: Worker, message: Epoch | Trained | Exception) -> None:
        trial = self._busy[worker].trial
        if isinstance(message, Epoch):
            if message.number not in self._busy[worker].reported:
                trial.report(message.score, message.number)
            worker.tell(not trial.should_prune())
            return
        if isinstance(message, Exception):
            self._failed(trial, message)
        elif message.best is None:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("iterations", message.best.number)
            self._study.tell(trial, message.best.score)
        del self._busy[worker]
        if isinstance(message, StorageError):
            worker.end()
        else:
            self._idle.append(worker)
        self._budget.note()
        self._count()

    def _count(self) -> None:
        self._done, self._best = len(finished(self._study)), best_of(self._study)

    def _failed(self, trial: Trial, error: Exception) -> None:
        if trial.number == 0:
            raise error  # the settings given cannot be used: neither can those around them
        self._screen.note(f"trial {trial.number} failed: {error}")
        trial.set_user_attr("error", str(error))
        self._study.tell(trial, state=TrialState.FAIL)

    def _show(self, step: Step) -> None:
        words = "no trial yet" if self._best is None else f"best {self._task.metric} {self._best.value:.4f}"
        self._budget.show(step, self._done, words)
