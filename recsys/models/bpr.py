"""`BPR`: pairwise and sampled ranking losses on implicit feedback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError, DataError
from recsys.factors import Factors
from recsys.models.base import Progress, ServableRecommender
from recsys.models.bpr_steps import Positives, RankingLoss, Sums, Tables
from recsys.models.history import fit_history_map
from recsys.models.negatives import Negatives
from recsys.models.sgd import guarded
from recsys.models.training import EpochModel, OnEpoch, carry_over

_START = 0.1  # expected length of a vector before training
_WORSE_THAN_NONE = 10.0  # a mean loss this far above that of equal scores: the training diverges


class BPR(EpochModel):
    """Matrix factorization that ranks what a user has above what the user has not.

    ``score(u, i) = x_u.y_i + b_i`` is trained by stochastic gradient: each observed pair (u, i) meets `negatives` items
    j the user does not have, drawn with probability ``q_j`` in proportion to ``count_j ** popularity_exponent``. Loss:

    - ``"bpr"``: ``-log sigmoid(s_i - s_j)`` with the negative of the highest score. With one negative this is Rendle et
      al. 2009 (BPR: Bayesian Personalized Ranking from Implicit Feedback); with more, every step counts for the head of
      the list (Zhang et al. 2013, Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling).
    - ``"warp"``: ``log(1 + rank) max(0, 1 - s_i + s_j) / log(n_items)`` with the first negative within the margin; if
      it is draw k, rank is estimated as ``(n_items - 1) / k`` (Weston, Bengio and Usunier 2011, WSABIE).
    - ``"softmax"``: ``-log [e^s_i / (e^s_i + sum_j e^(s_j - log(n q_j)))]`` over n negatives; the correction makes up
      for how often each is drawn (Bengio and Senecal 2008, Adaptive Importance Sampling).

    To each step belongs the penalty ``regularization / 2`` times the squared vectors and biases it touches. All weights
    above 0 count alike.

    Parameters
    ----------
    factors : int
        Length of the vectors, d.
    loss : {"bpr", "warp", "softmax"}
    learning_rate, regularization : float
    iterations : int
        Epochs at most, each one step for every observed pair.
    optimizer : {"adagrad", "sgd"}
        Steps of ``learning_rate / sqrt(sum of squared gradients)``, one sum for each vector and bias, or of
        `learning_rate` alone.
    negatives : int
        Drawn for each positive. By default 32, but for ``"bpr"`` one for every 512 items of the catalogue, 64 at most:
        the highest of them then stands at about the same place in the list.
    popularity_exponent : float
        0 draws all items alike, 1 as often as they occur.
    asynchronous : bool
        Train on all `threads` without locks (Recht et al. 2011, Hogwild). The draws stay the same, but steps meet in
        another order every time and now and then one overwrites another: two fits are alike in quality and differ in
        their numbers. Without it one thread trains, and the same seed gives the same bits.
    tolerance : float
        Training ends early when an epoch lowers the loss by a smaller share than this; 0 never.
    patience : int
        Epochs without a better score of `on_epoch` after which training ends.
    threads, seed : int

    Attributes
    ----------
    loss : list of float
        Mean over the observed pairs during each epoch, without the penalty; it comes for free.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> pairs = [("anna", "tea", 1.0), ("anna", "milk", 1.0), ("bo", "tea", 1.0), ("cleo", "rice", 1.0)]
    >>> dataset = Dataset.from_interactions(interactions_from_tuples(pairs))
    >>> model = BPR(factors=2).fit(dataset)
    >>> model.recommend(["bo"], k=1).lists()[0][0][0]
    'milk'
    """

    kind = "bpr"

    def __init__(
        self,
        *,
        factors: int = 64,
        loss: str = "bpr",
        learning_rate: float = 1.0,
        regularization: float = 0.03,
        iterations: int = 30,
        optimizer: str = "adagrad",
        negatives: int | None = None,
        popularity_exponent: float = 0.0,
        asynchronous: bool = False,
        tolerance: float = 0.0,
        patience: int = 5,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        if min(factors, iterations, patience, threads, 1 if negatives is None else negatives) < 1:
            raise ConfigError("factors, iterations, negatives, patience and threads are at least 1")
        if not (0 < learning_rate < np.inf and 0 <= regularization < np.inf):
            raise ConfigError("learning_rate is above 0, regularization 0 or more, and both are finite")
        if not (0 <= popularity_exponent <= 2 and 0 <= tolerance < 1):
            raise ConfigError("popularity_exponent is between 0 and 2, tolerance from 0 to below 1")
        if seed < 0:
            raise ConfigError("seed is 0 or more")
        if loss not in ("bpr", "warp", "softmax"):
            raise ConfigError(f"loss is 'bpr', 'warp' or 'softmax', not {loss!r}")
        if optimizer not in ("adagrad", "sgd"):
            raise ConfigError(f"optimizer is 'adagrad' or 'sgd', not {optimizer!r}")
        self.factors = factors
        self.ranking_loss = loss
        self.learning_rate = learning_rate
        self.regularization = regularization
        self.iterations = iterations
        self.optimizer = optimizer
        self.negatives = negatives
        self.popularity_exponent = popularity_exponent
        self.asynchronous = asynchronous
        self.tolerance = tolerance
        self.patience = patience
        self.threads = threads
        self.seed = seed
        self.loss: list[float] = []
        self.scores: list[float] = []
        self._sums: Sums = (None, None, None)

    def fit(
        self,
        dataset: Dataset,
        *,
        progress: Progress | None = None,
        on_epoch: OnEpoch | None = None,
        start: ServableRecommender | None = None,
    ) -> Self:
        """Train, from `start` on if given.

        Parameters
        ----------
        dataset : Dataset
            A weight of 0 counts as not observed.
        progress : callable, optional
            Called with (epochs done, epochs in all).
        on_epoch : callable, optional
            Called with the model after each epoch; may return a validation score.
        start : ServableRecommender, optional
            A fitted model, of other users and items maybe; a `BPR` also brings the sums of its AdaGrad.

        Raises
        ------
        DataError
            If a weight is negative.
        TrainingDivergedError
            If the numbers grow beyond all bounds, even with a learning rate halved several times.
        """
        user_items = _observed(dataset)
        rng = np.random.default_rng(self.seed)
        counts = np.bincount(user_items.indices, minlength=len(dataset.items)).astype(np.float32)
        objective = RankingLoss(
            self.ranking_loss,
            Positives.of(user_items, rng),
            Negatives.of(counts, self.popularity_exponent),
            self._draws(len(dataset.items)),
            self.regularization,
            self.threads if self.asynchronous else 1,
        )
        tables = self._start(dataset, np.diff(user_items.indptr) > 0, rng)
        if start is not None:
            carry_over(start, dataset, tables.x[:, : self.factors], tables.y[:, : self.factors])
            _carry_columns(start, dataset, tables)

        def factors(_last: bool) -> Factors:
            x, y = (table[:, : self.factors].copy() for table in (tables.x, tables.y))
            return Factors(x, y, tables.bias.copy())

        self._train(dataset, self._epochs(objective, tables, rng), factors, progress, on_epoch)
        self._sums = tables.sums
        return self

    def export(self) -> Factors:
        """Return the published form: its scores are the model's, and new users are folded in by a map of theirs."""
        return self._exported

    @cached_property
    def _exported(self) -> Factors:
        factors = super().export()
        return replace(factors, fold_in=fit_history_map(factors, _observed(self.dataset), centre=None))

    def _draws(self, n_items: int) -> int:
        if self.negatives is not None:
            return self.negatives
        return max(1, min(64, n_items // 512)) if self.ranking_loss == "bpr" else 32

    def _start(self, dataset: Dataset, active: NDArray[np.bool_], rng: np.random.Generator) -> Tables:
        """Small random vectors; zero for users without an item, who are then ranked by the bias."""
        tables = Tables.zeros(len(dataset.users), len(dataset.items), self.factors, adagrad=self.optimizer == "adagrad")
        scale = np.float32(_START / self.factors**0.5)
        for table in (tables.x, tables.y):
            table[:, : self.factors] = rng.standard_normal((len(table), self.factors), np.float32) * scale
        tables.x[~active] = 0
        return tables

    def _epochs(self, objective: RankingLoss, tables: Tables, rng: np.random.Generator) -> Iterator[float]:
        rate = self.learning_rate
        for _ in range(self.iterations):
            blocks, key = objective.positives.blocks(rng), int(rng.integers(2**63))
            work = partial(objective.descend, tables, blocks, key)
            loss, rate = guarded(tables.all(), work, rate, ceiling=_WORSE_THAN_NONE + objective.of_nothing())
            yield loss


def _observed(dataset: Dataset) -> sp.csr_matrix:
    """Pairs of a weight above 0; `DataError` if one is below."""
    user_items = dataset.user_items.copy()
    user_items.eliminate_zeros()  # no weight: not observed
    if user_items.nnz and user_items.data.min() < 0:
        raise DataError(
            "implicit feedback has no negative weights",
            field="weight",
            remedy="Drop what is no sign of interest with min_weight, or use weights='binary'",
        )
    return user_items


def _carry_columns(start: ServableRecommender, dataset: Dataset, tables: Tables) -> None:
    """Overwrite the biases of items an earlier model knows, and AdaGrad's sums where it has them."""
    users = start.dataset.users.encode(dataset.users.ids())
    items = start.dataset.items.encode(dataset.items.ids())
    sums = start._sums if isinstance(start, BPR) else (None, None, None)
    columns = zip((start.export().item_bias, *sums), (tables.bias, *tables.sums), strict=True)
    for (source, target), rows in zip(columns, (items, users, items, items), strict=True):
        if source is not None and target is not None:
            target[rows >= 0] = source[rows[rows >= 0]]
