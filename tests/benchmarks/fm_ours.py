"""Our solvers of factorization machines as a contestant, called as the model calls them."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.special import expit, ndtr

from recsys.models.fm.gibbs import gibbs_epochs
from recsys.models.fm.gradient import gradient_epochs
from recsys.models.fm.least_squares import als_epochs
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.posterior import Posterior
from tests.benchmarks.fm_data import Rows
from tests.benchmarks.fm_peers import Outcome, Settings

GRADIENT = ("sgd", "adagrad")
_WIDER = 8  # times the factors of a draw: the mean of draws


def train(folder: Path, settings: Settings) -> Outcome:
    """Targets of squared loss are centred, those of Gibbs sampling scaled too; losses are told in their own units."""
    rows = Rows.load(folder)
    squared = rows.loss == "squared"
    centre = float(rows.y.mean()) if squared else 0.0
    scale = float(rows.y.std()) if squared and settings.algorithm == "gibbs" else 1.0
    parameters = Parameters.random(
        rows.train, settings.factors, settings.start * settings.factors**0.5, np.random.default_rng(1)
    )
    posterior = Posterior(rows.train, settings.burn_in, _WIDER * settings.factors)
    ends, losses = [], []
    for loss in _epochs(rows, ((rows.y - centre) / scale).astype(np.float32), parameters, posterior, settings):
        ends.append(time.process_time())
        halved = settings.algorithm in GRADIENT  # their squared loss is
        losses.append(((1 + halved) * loss) ** 0.5 * scale if squared else loss)
    machine = posterior.mean() if posterior.count else parameters
    y = machine.predict(rows.test) * scale + centre
    predicted = y if squared else (expit(y) if settings.algorithm in GRADIENT else ndtr(y))
    return Outcome(float(np.median(np.diff(ends))), predicted, tuple(losses))


def _epochs(
    rows: Rows, targets: np.ndarray, parameters: Parameters, posterior: Posterior, settings: Settings
) -> Iterator[float]:
    sampled = {"loss": "squared" if rows.loss == "squared" else "probit", "iterations": settings.epochs, "threads": 1}
    if settings.algorithm == "gibbs":
        rng = np.random.default_rng(2)
        return gibbs_epochs(rows.train, targets, None, parameters, **sampled, posterior=posterior, rng=rng)
    penalties = dict(zip(("weight_regularization", "regularization"), settings.penalties, strict=True))
    if settings.algorithm == "als":
        return als_epochs(rows.train, targets, None, parameters, **sampled, **penalties)
    # One sum of squares for a vector: its steps are as long as with a sum for each number at this rate.
    longer = settings.factors**0.5 if settings.algorithm == "adagrad" else 1.0
    return gradient_epochs(
        rows.train, targets, None, parameters, **penalties, loss=rows.loss, optimizer=settings.algorithm,
        learning_rate=settings.learning_rate * longer, momentum=0.9, iterations=settings.epochs,
        asynchronous=False, threads=1, rng=np.random.default_rng(2), train_field_weights=False,
    )  # fmt: skip
