"""The model around the row solvers: its loss, its solvers, its seeds, its mistakes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from recsys.data import Dataset, interactions_from_tuples
from recsys.data.synthetic import generate
from recsys.errors import ConfigError, DataError
from recsys.models import ImplicitALS


@pytest.fixture(scope="module")
def dataset():
    made = generate(users=400, items=250, mean_history=15, categories=5, seed=2)
    return Dataset.from_interactions(made.interactions)


def objective(model, dataset):
    """The docstring's formula in float64, over every pair."""
    factors, matrix = model.export(), dataset.user_items.toarray().astype(float)
    x, y = factors.user_vectors.astype(float), factors.item_vectors.astype(float)
    scores, observed = x @ y.T, matrix > 0
    a0, nu = model.unobserved_weight, model.frequency_exponent
    users = (observed.sum(1) + a0 * len(y)) ** nu @ (x * x).sum(1)
    items = (observed.sum(0) + a0 * len(x)) ** nu @ (y * y).sum(1)
    seen = (model.alpha * matrix * (1 - scores) ** 2)[observed].sum()
    return seen + a0 * (scores**2).sum() + model.regularization * (users + items)


@pytest.mark.parametrize("factors", [5, 16])
def test_the_loss_it_reports_is_the_objective_of_its_docstring(dataset, factors):
    model = ImplicitALS(factors=factors, alpha=2.0, iterations=40).fit(dataset)
    assert len(model.loss) == 40
    assert objective(model, dataset) == pytest.approx(model.loss[-1], rel=1e-3)


@pytest.mark.parametrize("nu", [0.5, 1.0])
def test_conjugate_gradients_end_where_exact_solutions_do(dataset, nu):
    settings = {"factors": 8, "frequency_exponent": nu, "iterations": 200, "regularization": 0.05}
    cg, exact = (ImplicitALS(solver=solver, **settings).fit(dataset) for solver in ("cg", "cholesky"))
    assert cg.loss[-1] == pytest.approx(exact.loss[-1], rel=5e-3)
    assert objective(exact, dataset) == pytest.approx(exact.loss[-1], rel=1e-3)


def test_the_exact_loss_never_rises(dataset):
    losses = ImplicitALS(factors=12, solver="cholesky", iterations=12).fit(dataset).loss
    falls = -np.diff(losses)
    assert (falls >= -1e-6 * losses[0]).all()


def test_training_ends_early_when_little_is_gained(dataset):
    full = ImplicitALS(factors=8, iterations=50).fit(dataset)
    short = ImplicitALS(factors=8, iterations=50, tolerance=1e-2).fit(dataset)
    assert len(full.loss) == 50
    assert 2 < len(short.loss) < 30
    assert short.loss == full.loss[: len(short.loss)]


SCRIPT = """
import hashlib, sys
from recsys.data import Dataset
from recsys.data.synthetic import generate
from recsys.models import ImplicitALS
data = Dataset.from_interactions(generate(users=5000, items=900, mean_history=15, categories=5, seed=2).interactions)
factors = ImplicitALS(factors=20, iterations=3, threads=int(sys.argv[1]), seed=7).fit(data).export()
print(hashlib.sha256(factors.user_vectors.tobytes() + factors.item_vectors.tobytes()).hexdigest())
"""


def test_same_seed_same_bits_on_one_and_two_threads_and_in_another_process():
    digests = {
        subprocess.run([sys.executable, "-c", SCRIPT, threads], capture_output=True, text=True, check=True).stdout
        for threads in ("1", "2", "1")
    }
    assert len(digests) == 1


def test_ctrl_c_ends_training_within_a_second_and_leaves_no_half_model():
    script = SCRIPT.replace("iterations=3", "iterations=100000").replace(
        "factors = ", "print('on', flush=True); factors = "
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout.readline() == "on\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - sent < 3  # a second, on a machine that others use too
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0


def test_negative_weights_are_refused_with_the_remedy():
    with pytest.raises(DataError, match=r"no negative weights.*min_weight"):
        ImplicitALS().fit(Dataset.from_interactions(interactions_from_tuples([("u", "i", -1.0)])))


@pytest.mark.parametrize(
    "settings",
    [
        {"factors": 0}, {"iterations": 0}, {"threads": 0}, {"steps": 0}, {"regularization": 0.0}, {"alpha": -1.0},
        {"alpha": float("nan")}, {"unobserved_weight": 0.0}, {"unobserved_weight": float("inf")},
        {"frequency_exponent": -0.1}, {"tolerance": 1.0}, {"solver": "magic"}, {"seed": -1},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigError):
        ImplicitALS(**settings)


def test_rank_above_the_number_of_items_and_a_single_item():
    for pairs in ([("u", "i", 1.0)], [("u", "i", 1.0), ("v", "j", 2.0), ("v", "i", 1.0)]):
        model = ImplicitALS(factors=32).fit(Dataset.from_interactions(interactions_from_tuples(pairs)))
        assert np.isfinite(model.loss).all()
        assert model.recommend(["u"], k=3, exclude_seen=False).rows[0, 0] >= 0


def test_a_weight_of_zero_is_as_good_as_no_event_but_the_item_is_not_offered():
    pairs = [("u", "i", 1.0), ("v", "j", 2.0), ("v", "i", 1.0)]
    without = ImplicitALS(factors=4).fit(Dataset.from_interactions(interactions_from_tuples(pairs)))
    having = ImplicitALS(factors=4).fit(Dataset.from_interactions(interactions_from_tuples([*pairs, ("u", "j", 0.0)])))
    np.testing.assert_array_equal(without.export().item_vectors, having.export().item_vectors)
    assert without.recommend(["u"], k=1).lists() != [[]]
    assert having.recommend(["u"], k=1).lists() == [[]]
