"""Explicit-feedback matrix factorization with biases by stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError
from recsys.factors import Factors
from recsys.models.als_steps import padded
from recsys.models.base import Progress
from recsys.models.history import fit_history_map
from recsys.models.ratings import RatingFactors, Scale, carry_over_biases
from recsys.models.sgd import guarded
from recsys.models.sgd_mf_steps import Blocks, Epochs, Side
from recsys.models.training import EpochModel, OnEpoch, carry_over

_OPTIMIZERS = ("sgd", "momentum", "adagrad")
_START = 0.1  # length of the random vectors training begins with, in units of the root of the ratings' deviation
_WORSE_THAN_NONE = 10.0  # squared errors this many times those of the mean alone: the training diverges
_PAIRS = 2**16  # predicted at once


class BiasedMF(EpochModel):
    """Factorization of explicit ratings, any finite numbers, with an offset for every user and item.

    Predicts ``mean + b_u + b_i + p_u.q_i`` and minimises (Koren, Bell and Volinsky 2009, Matrix factorization
    techniques for recommender systems)::

        sum over ratings (r - mean - b_u - b_i - p_u.q_i)^2 + regularization (|p_u|^2 + |q_i|^2 + b_u^2 + b_i^2)

    by stochastic gradient descent from small random factors. The ratings are brought to mean 0 and deviation 1 for it,
    so that the settings mean the same on any scale. A pair rated twice counts twice: clean with ``duplicates="last"``
    where only the newest rating holds. Lists rank by predicted rating, `similar_items` by cosine of the factors.

    Parameters
    ----------
    factors : int
        Length of the vectors, d.
    learning_rate : float
        Of the factors; the biases learn at a quarter of it, but with AdaGrad. Where training diverges it is halved.
    regularization : float
        Penalty per rating on the squared lengths of its user and item.
    iterations : int
        Epochs at most. Stopping in time is part of the regularization: find the number with `on_epoch`.
    optimizer : {"sgd", "momentum", "adagrad"}
        AdaGrad lowers the rates of a row with every rating it sees; it forgives a learning rate that is too high.
    momentum : float
        Share of its velocity that a row keeps with every rating of anybody; only with ``optimizer="momentum"``.
    asynchronous : bool
        Threads do not wait for each other, and may work on the same row at once (Hogwild: Niu et al. 2011); the numbers
        then depend on their timing. Otherwise any number of threads gives the same bits.
    tolerance : float
        Training ends early when an epoch lowers the loss by a smaller share than this; 0 never.
    patience : int
        Training ends early when `on_epoch` has returned no better score for so many epochs.
    threads, seed : int

    Attributes
    ----------
    loss : list of float
        Mean squared error of each epoch, each error taken before its own step.
    scores : list of float
        What `on_epoch` returned after each epoch.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> ratings = [("anna", "tea", 5.0), ("anna", "milk", 1.0), ("bo", "tea", 4.0), ("bo", "rice", 2.0)]
    >>> model = BiasedMF(factors=2).fit(Dataset.from_interactions(interactions_from_tuples(ratings)))
    >>> model.predict(["anna", "nobody"], ["rice", "rice"]) < model.predict(["bo", "nobody"], ["tea", "tea"])
    array([ True,  True])
    """

    kind = "biased_mf"
    _factors: RatingFactors

    def __init__(
        self,
        *,
        factors: int = 128,
        learning_rate: float = 0.02,
        regularization: float = 0.06,
        iterations: int = 25,
        optimizer: str = "sgd",
        momentum: float = 0.9,
        asynchronous: bool = False,
        tolerance: float = 0.0,
        patience: int = 3,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        if min(factors, iterations, patience, threads) < 1:
            raise ConfigError("factors, iterations, patience and threads are at least 1")
        if not (0 < learning_rate < np.inf and 0 <= regularization < np.inf):
            raise ConfigError("learning_rate is above 0, regularization 0 or more, both finite")
        if not (0 <= momentum < 1 and 0 <= tolerance < 1):
            raise ConfigError("momentum and tolerance are from 0 to below 1")
        if seed < 0:
            raise ConfigError("seed is 0 or more")
        if optimizer not in _OPTIMIZERS:
            raise ConfigError(f"optimizer is one of {', '.join(_OPTIMIZERS)}, not {optimizer!r}")
        self.factors = factors
        self.learning_rate = learning_rate
        self.regularization = regularization
        self.iterations = iterations
        self.optimizer = optimizer
        self.momentum = momentum
        self.asynchronous = asynchronous
        self.tolerance = tolerance
        self.patience = patience
        self.threads = threads
        self.seed = seed

    def fit(
        self,
        dataset: Dataset,
        *,
        progress: Progress | None = None,
        on_epoch: OnEpoch | None = None,
        start: BiasedMF | None = None,
    ) -> Self:
        """Train on the ratings of a dataset.

        Parameters
        ----------
        dataset : Dataset
        progress : callable, optional
        on_epoch : callable, optional
            Called with the model after each epoch; returns a validation score, more is better, such as minus the error
            of `predict` on ratings held out. The model of the best epoch is kept.
        start : BiasedMF, optional
            Fitted earlier, on any ids: users and items it knows begin where it ended.

        Raises
        ------
        TrainingDivergedError
            If it diverges and a lower learning rate does not help; the model stays as it was before.
        """
        scale = Scale.of(dataset.interactions.weight)
        rng = np.random.default_rng(self.seed)
        users, items = self._start(dataset, scale, start, rng)
        blocks = Blocks.of(dataset.interactions, scale.down(dataset.interactions.weight))
        limit = (scale.highest - scale.lowest) / scale.deviation
        epochs = Epochs(
            blocks, users, items, self.regularization, limit, self.momentum, self.asynchronous, self.threads
        )

        def factors(_: bool) -> Factors:
            return scale.up(users.factors[:, : self.factors], items.factors[:, : self.factors], users.bias, items.bias)

        return self._train(dataset, self._losses(epochs, scale, rng), factors, progress, on_epoch)

    def predict(self, users: Sequence[str], items: Sequence[str]) -> NDArray[np.float32]:
        """Rating of each pair of a user and an item, float32 of shape (n_pairs,), within the range seen in training.

        An unknown user or item counts as average: what is left is the mean and the bias of the other.
        """
        if isinstance(users, str) or isinstance(items, str) or len(users) != len(items):
            raise ConfigError("users and items are two lists of ids of equal length, one pair in each place")
        dataset, factors = self.dataset, self._factors
        rows = dataset.users.encode(users), dataset.items.encode(items)
        parts = [factors.rate(*(side[at : at + _PAIRS] for side in rows)) for at in range(0, len(users), _PAIRS)]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def export(self) -> RatingFactors:
        """Return the published form: its predictions are the ratings, its lists those of `recommend`.

        With it comes the map by which users of whom ratings alone are known are folded in.
        """
        _ = self.dataset
        return self._exported

    @cached_property
    def _exported(self) -> RatingFactors:
        history_map = fit_history_map(self._factors, self.dataset.user_items, centre=self._factors.queries.bias)
        return replace(self._factors, fold_in=history_map)

    def _start(
        self, dataset: Dataset, scale: Scale, start: BiasedMF | None, rng: np.random.Generator
    ) -> tuple[Side, Side]:
        """Small random vectors for all that have ratings, zeros for the others, or what an earlier model knows."""
        interactions = dataset.interactions
        tables = [
            _random(rows, n_rows, self.factors, _START * scale.deviation**0.5, rng)
            for rows, n_rows in zip((interactions.user, interactions.item), interactions.shape, strict=True)
        ]
        biases = [np.zeros(n_rows, np.float32) for n_rows in interactions.shape]
        if start is not None:
            carry_over(start, dataset, *tables)
            carry_over_biases(start.dataset, start.export(), dataset, scale.mean, *biases)
        for table, bias in zip(tables, biases, strict=True):
            table /= np.float32(scale.deviation**0.5)
            bias /= np.float32(scale.deviation)
        users, items = (Side.of(table, bias, self.optimizer) for table, bias in zip(tables, biases, strict=True))
        return users, items

    def _losses(self, epochs: Epochs, scale: Scale, rng: np.random.Generator) -> Iterator[float]:
        """Run the epochs; yield the mean squared error of each."""
        n, learning_rate = len(epochs.blocks.ratings), self.learning_rate
        tables = [*epochs.users.tables(), *epochs.items.tables()]
        for _ in range(self.iterations):
            epoch = partial(epochs.run, strata=epochs.blocks.strata(rng))
            loss, learning_rate = guarded(tables, epoch, learning_rate, n * _WORSE_THAN_NONE)
            yield loss / n * scale.deviation**2


def _random(
    rows: NDArray[np.int32], n_rows: int, factors: int, length: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Vectors of about that length, float32 of shape (n_rows, padded d), for the rows that occur; zero for others."""
    table = np.zeros((n_rows, padded(factors)), np.float32)
    table[:, :factors] = rng.standard_normal((n_rows, factors), np.float32) * (length / factors**0.5)
    table[np.bincount(rows, minlength=n_rows) == 0] = 0
    return table
