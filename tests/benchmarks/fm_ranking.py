"""WARP with features of items: an epoch of ours against one of lightfm, in turn, on one core.

Both draw evenly, up to ten times, without a penalty, and make AdaGrad's steps; lightfm with a sum for each number, ours
with one for each vector, at the rate that makes steps as long. After the last epoch both rank the same held-out triples
(user, held item, item the user does not have), as in the benchmark of BPR.
"""

import statistics
import time
from importlib.util import find_spec

import numpy as np
import scipy.sparse as sp

from recsys.data.features import FeatureMatrix
from recsys.data.synthetic import generate
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters
from recsys.models.fm.ranking import ranking_epochs
from tests.benchmarks.bpr import DRAWS, RATE, Scores, judged, split
from tests.benchmarks.fm_data import MOVIELENS, movielens

Data = tuple[sp.csr_matrix, FeatureMatrix, FeatureMatrix]  # interactions, features of users, features of items


def one_hot(columns: np.ndarray, sizes: list[int], name: str) -> FeatureMatrix:
    """Fields of one feature a row: ids first, then some columns of integers."""
    n = len(columns)
    every = np.concatenate([np.arange(n)[:, None], columns], axis=1).astype(np.int32)
    fields = [
        FeatureMatrix.of_ids(np.ascontiguousarray(every[:, f]), size, f"{name}{f}")
        for f, size in enumerate([n, *sizes])
    ]
    return FeatureMatrix.side_by_side(fields)


def power_law(users: int) -> Data:
    """The item and its category."""
    made = generate(users=users, items=users * 2 // 5, mean_history=100, categories=16, seed=1)
    items = one_hot(made.category[:, None], [int(made.category.max()) + 1], "item")
    return made.interactions.to_csr(), one_hot(np.empty((users, 0)), [], "user"), items


def planted(n: int) -> Data:
    """`n` interactions, five one-hot fields a side: the best, with some luck, of what a user meets by popularity."""
    rng = np.random.default_rng(0)
    n_users, n_items, met, kept = n // 25, n // 50, 250, 26  # somebody meets an item twice: about 25 are left
    values, fields, d = n // 200, 4, 16
    sides, vectors = [], []
    for size, name in ((n_users, "user"), (n_items, "item")):
        columns = rng.integers(0, values, (size, fields))
        sides.append(one_hot(columns, [values] * fields, name))
        shared = rng.normal(0, 1, (fields, values, d))
        vectors.append(sum((shared[f][columns[:, f]] for f in range(fields)), rng.normal(0, 1, (size, d))) / d**0.25)
    names, pairs = rng.permutation(n_items), []
    for start in range(0, n_users, 1000):
        p = vectors[0][start : start + 1000]
        items = names[(n_items * rng.random((len(p), met)) ** 2).astype(np.int64)]
        liked = np.einsum("ud,uid->ui", p, vectors[1][items]) + rng.gumbel(0, 2, items.shape)
        best = np.take_along_axis(items, np.argpartition(-liked, kept, axis=1)[:, :kept], axis=1)
        pairs.append(np.stack([np.repeat(np.arange(start, start + len(p)), kept), best.ravel()]))
    rows, columns = np.concatenate(pairs, axis=1)
    matrix = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (n_users, n_items))
    matrix.data[:] = 1
    return matrix, *sides


def item_side(machine: Parameters, items: FeatureMatrix, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and biases of items whose features begin at a number: their part of y, pairs within an item included."""
    here, x = slice(first, first + items.n_features), items.to_csr()
    vectors = x @ machine.vectors[here]
    lengths = np.einsum("jk,jk->j", machine.vectors[here], machine.vectors[here])
    own = np.einsum("ik,ik->i", vectors, vectors) - x.multiply(x) @ lengths
    return vectors, x @ machine.weights[here] + own / 2


class Ours:
    """The epochs behind WARP."""

    def __init__(
        self, matrix: sp.csr_matrix, users: FeatureMatrix, items: FeatureMatrix, d: int, epochs: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        rows, columns = (part.astype(np.int32) for part in matrix.nonzero())
        self.users, self.items = users, items
        self.design = Design((users, items), np.stack([rows, columns], axis=1))
        self.parameters = Parameters.random(self.design, d, (12 * d) ** -0.5, rng)  # as long as lightfm's
        self.epochs = ranking_epochs(
            self.design, rows, matrix, None, self.parameters, item_block=1, loss="warp", optimizer="adagrad",
            learning_rate=RATE * d**0.5, regularization=0.0, weight_regularization=0.0, negatives=DRAWS,
            sampling="uniform", popularity_exponent=0.0, iterations=epochs, asynchronous=False, threads=1, rng=rng,
        )  # fmt: skip

    def epoch(self) -> None:
        next(self.epochs)

    def scores(self) -> Scores:
        n = self.users.n_features
        users = self.users.to_csr() @ self.parameters.vectors[:n]
        return users, *item_side(self.parameters, self.items, n)


class Lightfm:
    """lightfm, an epoch a call; its fixed cost of a call is a small part of the seconds. No pairs within an item."""

    def __init__(
        self, matrix: sp.csr_matrix, users: FeatureMatrix, items: FeatureMatrix, d: int, _epochs: int, seed: int
    ) -> None:
        from lightfm import LightFM

        self.peer = LightFM(no_components=d, loss="warp", learning_rate=RATE, max_sampled=DRAWS, random_state=seed)
        self.pairs = sp.coo_matrix((np.ones(matrix.nnz, np.float32), matrix.nonzero()), matrix.shape)
        self.users, self.items = users.to_csr(), items.to_csr()

    def epoch(self) -> None:
        self.peer.fit_partial(self.pairs, self.users, self.items, epochs=1, num_threads=1)

    def scores(self) -> Scores:
        biases, vectors = self.peer.get_item_representations(self.items)
        return self.peer.get_user_representations(self.users)[1], vectors, biases


def contest(name: str, data: Data, d: int, epochs: int, seed: int = 0) -> dict[str, object]:
    """Epochs of both in turn; medians of processor time, without the first."""
    matrix, users, items = data
    train, triples = split(matrix)
    train.sort_indices()
    both = [kind(train, users, items, d, epochs, seed) for kind in (Ours, Lightfm)]
    seconds: list[list[float]] = [[], []]
    for _ in range(epochs):
        for one, taken in zip(both, seconds, strict=True):
            began = time.process_time()
            one.epoch()
            taken.append(time.process_time() - began)
    (own, auc), (theirs, peer_auc) = (judged(one.scores(), triples) for one in both)
    medians = [statistics.median(taken[1:]) for taken in seconds]
    return {
        "data": name, "nnz": train.nnz, "d": d, "threads": 1, "peer": "lightfm", "seconds": medians[0],
        "peer_seconds": medians[1], "ratio": statistics.median(b / a for a, b in zip(*seconds, strict=True)),
        "loss": own, "peer_loss": theirs, "auc": auc, "peer_auc": peer_auc,
    }  # fmt: skip


def rows(quick: bool) -> list[dict[str, object]]:
    """All sizes: planted one-hot fields, power-law data, and ml-latest-small with genres where it is."""
    if not find_spec("lightfm"):
        print("lightfm left out: not installed, see make bench")
        return []
    data = {"planted": planted(100_000 if quick else 1_000_000), "power law": power_law(5_000 if quick else 50_000)}
    if MOVIELENS.is_dir():
        design, ratings = movielens()
        data["ml-latest-small"] = ratings.to_csr(), *design.blocks[:2]
    return [
        contest(name, some, d, 6 if quick else 8)
        for name, some in data.items()
        for d in ((16, 64) if quick else (16, 64, 128))
    ]
