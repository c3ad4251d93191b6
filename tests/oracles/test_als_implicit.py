"""Our ALS on implicit's own objective, judged by implicit's own loss."""

import numpy as np
import scipy.sparse as sp
from implicit.cpu import _als
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from recsys.data.synthetic import generate
from recsys.models.als_steps import Objective, Side, Solver, padded

ALPHA, REGULARIZATION, WIDTH, ITERATIONS = 20.0, 5.0, 24, 8


def interactions():
    made = generate(users=600, items=300, mean_history=20, categories=6, seed=4)
    return made.interactions.to_csr()


def implicits_losses(matrix):
    losses = []
    with threadpool_limits(limits=1, user_api="blas"):
        peer = AlternatingLeastSquares(
            factors=WIDTH, alpha=ALPHA, regularization=REGULARIZATION, iterations=ITERATIONS, num_threads=1,
            random_state=0, calculate_training_loss=True,
        )  # fmt: skip
        peer.fit(matrix, show_progress=False, callback=lambda iteration, seconds, loss: losses.append(loss))
    return losses


def our_losses(matrix, steps):
    """Implicit's objective is ours with a0 = 1, no frequency scaling, c = alpha r - 1 and a shift of 1."""
    objective = Objective(ALPHA, REGULARIZATION, unobserved_weight=1.0, frequency_exponent=0.0, shift=1.0)
    solver = Solver(objective, WIDTH, steps=steps, threads=1)
    users, items = Side.of(matrix, objective), Side.of(sp.csr_matrix(matrix.T), objective)
    rng = np.random.default_rng(0)
    x = np.zeros((matrix.shape[0], padded(WIDTH)), np.float32)
    y = rng.standard_normal((matrix.shape[1], padded(WIDTH)), np.float32) * 0.01
    confidence, losses, own = (ALPHA * matrix).tocsr(), [], []
    for _ in range(ITERATIONS):
        solver.half_step(users, x, y)
        _, loss = solver.half_step(items, y, x)
        own.append(loss + REGULARIZATION * float((x.astype(float) ** 2).sum()))
        losses.append(_als.calculate_loss(confidence, x, y, REGULARIZATION, num_threads=1))
    return losses, own


def test_the_mapped_objective_reaches_implicits_loss():
    matrix = interactions()
    theirs = implicits_losses(matrix)
    for steps in (3, 0):
        ours, _ = our_losses(matrix, steps)
        assert ours[-1] <= theirs[-1] * 1.001
        assert (np.diff(ours) <= 1e-6 * ours[0]).all()


def test_the_free_loss_is_implicits_up_to_its_scale():
    matrix = interactions()
    theirs, free = our_losses(matrix, steps=3)
    entries = (ALPHA * matrix.data).sum() + matrix.shape[0] * matrix.shape[1] - matrix.nnz
    np.testing.assert_allclose(np.array(free) / entries, theirs, rtol=1e-3)
