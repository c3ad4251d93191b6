"""Factorization machines by stochastic gradient on pointwise losses: what stands between kernel and model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys import kernels
from recsys.models.fm.design import Design, Table
from recsys.models.fm.parameters import Parameters
from recsys.models.sgd import guarded

_BLOCK = 2048  # samples
_WORK = 2**28  # features of the samples of a kernel call times their numbers: a fraction of a second
_FIRST_SUM = 1.0  # AdaGrad's sums begin here: the first steps are those of the learning rate itself
_WORSE_THAN_NONE = 10.0  # a mean loss this many times that of a machine that says nothing: the training diverges


def gradient_epochs(
    design: Design,
    targets: NDArray[np.float32],
    sample_weight: NDArray[np.float32] | None,
    parameters: Parameters,
    *,
    loss: str,
    optimizer: str,
    learning_rate: float,
    regularization: float,
    weight_regularization: float,
    momentum: float,
    iterations: int,
    asynchronous: bool,
    threads: int,
    rng: np.random.Generator,
    train_field_weights: bool,
) -> Iterator[float]:
    """Train a factorization machine in place; yield the mean loss of every epoch, each before its own step.

    An epoch is a step on every sample of a weight above 0, against the gradient of ::

        weight [loss(y, target) + 1/2 sum_j (regularization |v_j|^2 + weight_regularization w_j^2)]

    over the features j of the sample. Samples are shuffled once, so that neighbours have nothing in common; after that
    blocks of them are permuted, which misses the cache less. Of the weights only the ratios count.

    Parameters
    ----------
    design : Design
    targets : ndarray of shape (n,), float32
        Finite; -1 or 1 for the logistic and the hinge loss, best centred and scaled for the squared one.
    sample_weight : ndarray of shape (n,), float32, or None
        Finite, 0 or more. The loss is their weighted mean.
    parameters : Parameters
        Of the features of the design; updated.
    loss : {"squared", "logistic", "hinge"}
        ``1/2 (y - t)^2``, ``log(1 + exp(-t y))``, ``max(0, 1 - t y)``.
    optimizer : {"sgd", "momentum", "adagrad"}
    learning_rate : float
        Halved where training diverges.
    regularization, weight_regularization : float
        Of the vectors, and of w.
    momentum : float
        Share of its velocity that a feature keeps with every step of any sample; from 0 to below 1.
    iterations : int
        Number of epochs.
    asynchronous : bool
        All `threads` at once, without locks (Recht et al. 2011, Hogwild); the numbers then depend on their timing.
        Without it one thread trains, and the same seed gives the same bits.
    threads : int
    rng : numpy.random.Generator
    train_field_weights : bool
        Train the field weights too, where the parameters have any.

    Raises
    ------
    TrainingDivergedError
        If the numbers grow beyond all bounds, even with a learning rate halved several times.
    """
    samples = Samples.shuffled(design, targets, sample_weight, rng)
    objective = PointwiseLoss(
        samples, loss, regularization, weight_regularization, momentum, threads if asynchronous else 1
    )
    state = State.of(parameters, optimizer, train_field_weights)
    ceiling = _WORSE_THAN_NONE * max(1.0, objective.of_nothing)
    for _ in range(iterations):
        epoch = partial(objective.descend, state, samples.blocks(rng))
        mean, learning_rate = guarded(state.changing(), epoch, learning_rate, ceiling)
        yield mean


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples in random order.

    Parameters
    ----------
    table : Table
    rows : ndarray of shape (n, n_blocks), int32
        Rows of the table that make up each sample.
    targets : ndarray of shape (n,), float32
    sample_weight : ndarray of shape (n,), float32, or None
        With mean 1; None where all are alike.
    """

    table: Table
    rows: NDArray[np.int32]
    targets: NDArray[np.float32]
    sample_weight: NDArray[np.float32] | None

    @classmethod
    def shuffled(
        cls,
        design: Design,
        targets: NDArray[np.float32],
        sample_weight: NDArray[np.float32] | None,
        rng: np.random.Generator,
    ) -> Samples:
        """Shuffle the samples of a weight above 0; rows of a single block are written out in that order."""
        weight = np.ones(len(design), np.float32) if sample_weight is None else sample_weight
        order = rng.permutation(np.flatnonzero(weight > 0))
        weight = weight[order].astype(np.float64)
        alike = not len(weight) or weight.min() == weight.max()
        single = len(design.blocks) == 1
        table, rows = _written_out(design, order) if single else (design.table, design.table_rows[order])
        return cls(table, rows, targets[order], None if alike else (weight / weight.mean()).astype(np.float32))

    def blocks(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """Return all blocks in a new order."""
        return rng.permutation(-(-len(self.rows) // _BLOCK)).astype(np.int32)


def _written_out(design: Design, order: NDArray[np.int64]) -> tuple[Table, NDArray[np.int32]]:
    """Return the rows of a single block in that order, to be read one after the other."""
    (block,) = design.blocks
    rows = block.to_csr()[design.parts[order, 0]]
    values = None if (block.values == 1).all() else rows.data
    table = Table(rows.indptr.astype(np.int64), rows.indices.astype(np.int32, copy=False), values)
    return table, np.arange(len(order), dtype=np.int32)[:, None]


@dataclass(frozen=True, eq=False)
class State:
    """What is trained, and what the optimizer keeps: arrays that the kernel changes, by its names for them.

    Parameters
    ----------
    bias, weights, vectors : ndarray of shape (1,), (n_features,) and (n_features, padded d), float32
    bias_state : ndarray of shape (1,), float32, or None
        AdaGrad's sum of squared gradients, or the velocity, of w0.
    squares : ndarray of shape (n_features, 2), float32, or None
        AdaGrad: of w and of the whole of v.
    velocity, weight_velocity, touched : float32 of the shape of v and of w, int64 of the shape of w, or None
        Momentum: of v and w, and number of the last step of the epoch that has moved them.
    field_of : ndarray of shape (n_features,), int32, or None
    field_weights : ndarray of shape (n_fields, n_fields), float32, or None
    field_state : ndarray of shape (n_fields, n_fields), float32, or None
        As `bias_state`; None where field weights are not trained.
    """

    bias: NDArray[np.float32]
    weights: NDArray[np.float32]
    vectors: NDArray[np.float32]
    bias_state: NDArray[np.float32] | None = None
    squares: NDArray[np.float32] | None = None
    velocity: NDArray[np.float32] | None = None
    weight_velocity: NDArray[np.float32] | None = None
    touched: NDArray[np.int64] | None = None
    field_of: NDArray[np.int32] | None = None
    field_weights: NDArray[np.float32] | None = None
    field_state: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, parameters: Parameters, optimizer: str, train_field_weights: bool) -> State:
        """Wrap parameters, to be changed in place, and what an optimizer begins with."""
        state: dict[str, NDArray[Any]] = {}
        n = len(parameters.weights)
        first = np.float32(_FIRST_SUM if optimizer == "adagrad" else 0)
        if optimizer == "adagrad":
            squares = np.zeros((n, 2), np.float32) if parameters.squares is None else parameters.squares
            state = {"bias_state": np.full(1, first), "squares": np.maximum(squares, first, out=squares)}
        if optimizer == "momentum":
            velocities = {"velocity": np.zeros_like(parameters.vectors), "weight_velocity": np.zeros(n, np.float32)}
            state = {"bias_state": np.full(1, first), **velocities, "touched": np.zeros(n, np.int64)}
        if parameters.field_weights is not None:
            state |= {"field_of": parameters.field_of, "field_weights": parameters.field_weights}
            if train_field_weights:
                state["field_state"] = np.full(parameters.field_weights.shape, first)
        return cls(parameters.bias, parameters.weights, parameters.vectors, **state)

    def changing(self) -> list[NDArray[Any]]:
        """Return every array an epoch changes."""
        return [table for name, table in vars(self).items() if table is not None and name != "field_of"]

    def catch_up(self, momentum: float, step: int) -> None:
        """Make up for the steps without a feature since it was last touched, and count from 0 again."""
        if self.velocity is None or self.weight_velocity is None or self.touched is None:
            return
        left = momentum ** (step - self.touched)
        moved = (momentum * (1 - left) / (1 - momentum)).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # an epoch that diverges is noticed as a whole
            for table, velocity in ((self.vectors.T, self.velocity.T), (self.weights, self.weight_velocity)):
                table += moved * velocity
                velocity *= left.astype(np.float32)
        self.touched[:] = 0


@dataclass(frozen=True, eq=False)
class PointwiseLoss:
    """A loss of samples one by one, with its penalty, as `gradient_epochs` has it.

    Parameters
    ----------
    samples : Samples
    loss : {"squared", "logistic", "hinge"}
    regularization, weight_regularization, momentum : float
    threads : int
        With more than one, updates of different threads meet in no fixed order.
    """

    samples: Samples
    loss: str
    regularization: float
    weight_regularization: float
    momentum: float
    threads: int

    @cached_property
    def of_nothing(self) -> float:
        """Mean loss where y is 0."""
        squares = self.samples.targets.astype(np.float64) ** 2
        mean = np.average(squares, weights=self.samples.sample_weight) if len(squares) else 0.0
        return {"squared": 0.5 * float(mean), "logistic": math.log(2), "hinge": 1.0}[self.loss]

    @cached_property
    def limit(self) -> float:
        """What the squared loss's derivative by y is held within: no target is farther from any other."""
        return 2 * float(np.abs(self.samples.targets).max(initial=0)) or 1.0

    def descend(self, state: State, blocks: NDArray[np.int32], learning_rate: float) -> float:
        """Take one step for every sample, in place; return the mean loss on the way.

        The kernel is called for a bounded amount of work at a time, so that Ctrl-C is answered in between.
        """
        each = self._blocks_at_once(state.vectors.shape[1])
        total = 0.0
        for start in range(0, len(blocks), each):
            total += self._steps(state, blocks[start : start + each], start * _BLOCK, learning_rate)
        state.catch_up(self.momentum, len(blocks) * _BLOCK)
        return total / max(len(self.samples.rows), 1)

    def _blocks_at_once(self, width: int) -> int:
        table, rows = self.samples.table, self.samples.rows
        per_row = len(table.features) / max(len(table.indptr) - 1, 1)
        return max(1, int(_WORK / (_BLOCK * rows.shape[1] * (per_row + 1) * (width + 8))))

    def _steps(self, state: State, blocks: NDArray[np.int32], step: int, learning_rate: float) -> float:
        samples, table = self.samples, self.samples.table
        return kernels.fm_sgd(
            table.indptr,
            table.features,
            table.values,
            samples.rows,
            samples.targets,
            samples.sample_weight,
            blocks,
            _BLOCK,
            self.loss,
            self.limit,
            learning_rate,
            self.regularization,
            self.weight_regularization,
            state.bias,
            state.weights,
            state.vectors,
            self.threads,
            bias_state=state.bias_state,
            squares=state.squares,
            momentum=self.momentum,
            step=step,
            velocity=state.velocity,
            weight_velocity=state.weight_velocity,
            touched=state.touched,
            field_of=state.field_of,
            field_weights=state.field_weights,
            field_state=state.field_state,
        )
