"""Nights on stores in files, with sabotage planted in the log, in what is judged, or in what is trained afterwards."""

from contextlib import closing
from dataclasses import replace

import numpy as np

from batch_jobs import evaluate, nightly
from batch_jobs.config import load
from batch_jobs.console import Screen
from batch_jobs.runs import begin
from batch_jobs.stores import Stores
from batch_jobs.train import Logged
from recsys.data import Split, frozen_split
from recsys.data.synthetic import generate
from recsys.ids import IdMap

MODEL = {"factors": 16, "unobserved_weight": 0.7, "regularization": 0.02, "threads": 1}
EVENTS = generate(users=300, items=150, mean_history=20, categories=6, seed=5).interactions
EVENTS = EVENTS.select(np.argsort(EVENTS.timestamp, kind="stable"))
FITS = {"judged": (evaluate, evaluate.fit), "published": (nightly, nightly.fit)}


def events(share):
    """Return the oldest events."""
    return EVENTS.select(np.arange(round(len(EVENTS) * share)))


class Nights:
    """Judge, train and publish, night by night."""

    def __init__(self, folder, patch):
        for name, scheme in {
            "ARTIFACTS": "file:",
            "REGISTRY": "file:",
            "ONLINE": "sqlite:",
            "EVENTS": "file:",
            "RUNS": "file:",
        }.items():
            patch.setenv(f"RECSYS_{name}", f"{scheme}{folder / name.lower()}")
        self.stores, self.patch = Stores.from_environment(), patch

    def run(self, log, seed=0, split=None, **gate):
        """Return what judge, train and publish tell, and on the way say on the screen."""
        self.patch.setattr(nightly, "read_log", lambda *_: Logged(log, 0, ""))
        settings = {"model": MODEL | {"seed": seed}, "evaluate": {"baselines": False}, "gate": gate}
        config, told, screen = load(None, settings | {"split": split or {}}), {}, Screen(as_json=True)
        with closing(self.stores.online):
            for name in ("judge", "train", "publish"):
                told[name] = nightly.STEPS[name](self.stores, config, told, screen, begin(name, config))
        return told | {"notes": screen.notes}

    @property
    def manifest(self):
        """Of what is in service."""
        return self.stores.artifacts.open("default", self.stores.registry.current("default").version).manifest

    def plant(self, where, *, events=lambda raw: raw, model=None):
        """Change what a model is trained on, or the model after it was trained."""
        module, fit = FITS[where]

        def sabotaged(stores, trained, raw, *rest):
            fitted = fit(stores, trained, events(raw), *rest)
            if model is not None:
                fitted.model._keep(*model(fitted.model.dataset, fitted.model.export()))
            return fitted

        self.patch.setattr(module, "fit", sabotaged)


def shuffled(rows):
    return np.random.default_rng(0).permutation(rows)


def factors(**change):
    """Make a sabotage of arrays of the factors."""

    def sabotage(dataset, factors):
        return dataset, replace(factors, **{name: made(getattr(factors, name)) for name, made in change.items()})

    return sabotage


def _swapped_items(dataset, factors):
    ids = dataset.items.ids()
    items = IdMap.from_ids(ids[1:] + ids[:1])
    parts = {name: replace(getattr(dataset, name), items=items) for name in ("interactions", "history")}
    return replace(dataset, **parts), factors


def _every_other(rows):
    return rows * (np.arange(len(rows)) % 2)[:, None].astype(np.float32)


def _first_column(rows):
    return rows * (np.arange(rows.shape[1]) == 0).astype(np.float32)


MODELS = {
    "zeros": factors(item_vectors=np.zeros_like, user_vectors=np.zeros_like),
    "permuted ids": factors(item_vectors=shuffled),
    "half the items lost": factors(item_vectors=_every_other),
    "sign flip": factors(user_vectors=np.negative),
    "constant": factors(item_vectors=np.ones_like),
    "duplicated user": factors(user_vectors=lambda rows: np.repeat(rows[:1], len(rows), axis=0)),
    "swapped id map": _swapped_items,
    "one dimension": factors(item_vectors=_first_column),
    "NaN": factors(item_vectors=lambda rows: rows * np.float32(np.nan)),
}
"""What can go wrong with a model, by name."""


def shuffled_labels(log):
    return replace(log, item=shuffled(log.item))


def _copies(log):
    busiest = log.select(log.user == np.bincount(log.user).argmax()).compact()
    for n in range(60):
        log = log.join(replace(busiest, users=IdMap.from_ids([f"copy{n}"])))
    return log


LOGS = {
    "shuffled labels": shuffled_labels(EVENTS),
    "permuted ids": replace(EVENTS, item=shuffled(np.arange(150, dtype=np.int32))[EVENTS.item]),
    "half the items lost": EVENTS.select(EVENTS.item % 2 == EVENTS.item[-1] % 2),
    "swapped id map": replace(EVENTS, users=IdMap.from_ids(f"x{one}" for one in EVENTS.users.ids())),
    "stale data": events(0.8),
    "duplicated user": _copies(EVENTS),
}
"""What can go wrong with the event log, by name."""


def leak(log, share):
    """Leave half of the held-out events in the training part."""
    split = frozen_split(log, share)
    return Split(split.train.join(split.test.select(np.arange(0, len(split.test), 2))), split.test, split.name)
