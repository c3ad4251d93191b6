"""Implicit ALS by three hands: our solver, implicit 0.7.3 and irspack 0.5.2, each an epoch at a time on one objective.

Every contestant takes interactions, an `Objective`, the item factors to start from and a number of threads, and has
`iterate()`, `tables()` and `own_loss()`, the loss as its own library states it.
"""

from importlib.util import find_spec

import numpy as np
import scipy.sparse as sp
from implicit.cpu import _als

from recsys.models import ImplicitALS
from recsys.models.als_steps import Objective, Side, Solver, padded

STEPS = 3  # of conjugate gradients, for all
MOST = 1000  # epochs of a race; whoever drives it ends it

# implicit: c = alpha r instead of 1 on observed pairs, plain squared lengths. irspack: Rendle et al., arXiv 2110.14037.
OBJECTIVES = {
    "implicit": Objective(40.0, 10.0, unobserved_weight=1.0, frequency_exponent=0.0, shift=1.0),
    "irspack": Objective(1.0, 0.003, unobserved_weight=0.05, frequency_exponent=1.0),
}


def loss_of(matrix: sp.csr_matrix, objective: Objective, x: np.ndarray, y: np.ndarray) -> float:
    """The objective from its definition, sums in float64; the sum over all pairs is that of (X'X) * (Y'Y)."""
    x_gram, y_gram = (table.T.astype(np.float64) @ table.astype(np.float64) for table in (x, y))
    total = objective.unobserved_weight * float((x_gram * y_gram).sum())
    for table, other, counts in ((x, y, np.diff(matrix.indptr)), (y, x, matrix.getnnz(axis=0))):
        size = counts + objective.unobserved_weight * len(other)
        lengths = np.einsum("ij,ij->i", table, table, dtype=np.float64)
        total += objective.regularization * float(size**objective.frequency_exponent @ lengths)
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
    for start in range(0, matrix.nnz, 2**12):  # small enough to stay in cache
        part = slice(start, start + 2**12)
        s = np.einsum("ij,ij->i", x[rows[part]], y[matrix.indices[part]]).astype(np.float64)
        c = objective.alpha * matrix.data[part].astype(np.float64) - objective.shift
        total += float((c * (1 - s) ** 2 + objective.shift * (1 - 2 * s)).sum())
    return total


class Ours:
    """The loop of `ImplicitALS`, with rows in order of their entries as its `fit` numbers them."""

    def __init__(self, matrix: sp.csr_matrix, objective: Objective, start: np.ndarray, threads: int) -> None:
        self.order = [np.argsort(-count, kind="stable") for count in (np.diff(matrix.indptr), matrix.getnnz(axis=0))]
        matrix = matrix[self.order[0]]
        matrix.indices = np.argsort(self.order[1]).astype(np.int32)[matrix.indices]
        users, items = Side.of(matrix, objective), Side.of(matrix.T.tocsr(), objective)
        solver = Solver(objective, start.shape[1], steps=STEPS, threads=threads)
        self.x = np.zeros((matrix.shape[0], padded(start.shape[1])), np.float32)
        self.y = np.zeros((len(start), padded(start.shape[1])), np.float32)
        self.y[:, : start.shape[1]] = start[self.order[1]]
        self.losses = ImplicitALS(iterations=MOST)._alternate(solver, users, items, self.x, self.y)
        self.loss = np.nan

    def iterate(self) -> None:
        self.loss = next(self.losses)

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = (table[np.argsort(order)] for table, order in zip((self.x, self.y), self.order, strict=True))
        return x, y

    def own_loss(self) -> float:
        return self.loss


class Implicit:
    """implicit's compiled half-steps, called as its `fit` calls them."""

    def __init__(self, matrix: sp.csr_matrix, objective: Objective, start: np.ndarray, threads: int) -> None:
        self.regularization, self.threads = objective.regularization, threads
        self.users = (objective.alpha * matrix).tocsr()
        self.items = self.users.T.tocsr()
        self.x, self.y = np.zeros((matrix.shape[0], start.shape[1]), np.float32), start.copy()

    def iterate(self) -> None:
        sides = (self.users, self.x, self.y), (self.items, self.y, self.x)
        for side in sides:
            _als.least_squares_cg(*side, self.regularization, num_threads=self.threads, cg_steps=STEPS)

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        return self.x, self.y

    def own_loss(self) -> float:
        scale = self.users.data.sum(dtype=np.float64) + np.prod(self.users.shape) - self.users.nnz
        return scale * _als.calculate_loss(self.users, self.x, self.y, self.regularization, num_threads=self.threads)


class Irspack:
    """irspack's trainer, driven epoch by epoch with conjugate gradients, its default."""

    def __init__(self, matrix: sp.csr_matrix, objective: Objective, start: np.ndarray, threads: int) -> None:
        from irspack.recommenders import _ials_core as core

        config = core.IALSModelConfigBuilder().set_K(start.shape[1]).set_alpha0(objective.unobserved_weight)
        config = config.set_reg(objective.regularization).set_nu(objective.frequency_exponent)
        self.trainer = core.IALSTrainer(config.set_loss_type(core.LossType.IALSPP).build(), objective.alpha * matrix)
        self.trainer.user, self.trainer.item = np.zeros((matrix.shape[0], start.shape[1]), np.float32), start
        steps = core.IALSSolverConfigBuilder().set_solver_type(core.SolverType.CG).set_max_cg_steps(STEPS)
        self.solver = steps.set_n_threads(threads).build()

    def iterate(self) -> None:
        self.trainer.step(self.solver)

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        return self.trainer.user, self.trainer.item

    def own_loss(self) -> float:
        return 2 * self.trainer.compute_loss(self.solver)  # irspack halves its objective


CONTESTANTS = {"ours": Ours, "implicit": Implicit, "irspack": Irspack}


def installed() -> list[str]:
    """Names of the peers that are here; a missing one is named on the terminal."""
    missing = [name for name in OBJECTIVES if not find_spec(name)]
    if missing:
        print(f"{', '.join(missing)} not installed, left out; make bench installs it in .venv-bench")
    return [name for name in OBJECTIVES if name not in missing]


def check_objectives(peers: list[str]) -> None:
    """Assert on a small case that ours and the peer's own loss are what `loss_of` says, at the same factors."""
    matrix = sp.csr_matrix(sp.random_array((60, 40), density=0.2, rng=np.random.default_rng(0)), dtype=np.float32)
    matrix.data += 1
    start = np.random.default_rng(1).standard_normal((40, 8), np.float32) / 8
    for peer in peers:
        for name in ("ours", peer):
            one = CONTESTANTS[name](matrix, OBJECTIVES[peer], start, 1)
            one.iterate()
            np.testing.assert_allclose(one.own_loss(), loss_of(matrix, OBJECTIVES[peer], *one.tables()), rtol=1e-4)
