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


def power_law(users: int) -> tuple[sp.csr_matrix, FeatureMatrix]:
    """Interactions, and the item and its category as one-hot fields."""
    made = generate(users=users, items=users * 2 // 5, mean_history=100, categories=16, seed=1)
    items = len(made.category)
    fields = [
        FeatureMatrix.of_ids(np.arange(items, dtype=np.int32), items, "item"),
        FeatureMatrix.of_ids(made.category, int(made.category.max()) + 1, "category"),
    ]
    return made.interactions.to_csr(), FeatureMatrix.side_by_side(fields)


def item_side(machine: Parameters, items: FeatureMatrix, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and biases of items whose features begin at a number: their part of y, pairs within an item included."""
    here, x = slice(first, first + items.n_features), items.to_csr()
    vectors = x @ machine.vectors[here]
    lengths = np.einsum("jk,jk->j", machine.vectors[here], machine.vectors[here])
    own = np.einsum("ik,ik->i", vectors, vectors) - x.multiply(x) @ lengths
    return vectors, x @ machine.weights[here] + own / 2


class Ours:
    """The epochs behind WARP."""

    def __init__(self, matrix: sp.csr_matrix, items: FeatureMatrix, d: int, epochs: int) -> None:
        rng = np.random.default_rng(0)
        rows, columns = (part.astype(np.int32) for part in matrix.nonzero())
        self.n_users = matrix.shape[0]
        users = FeatureMatrix.of_ids(np.arange(self.n_users, dtype=np.int32), self.n_users, "user")
        self.items = items
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
        return self.parameters.vectors[: self.n_users], *item_side(self.parameters, self.items, self.n_users)


class Lightfm:
    """lightfm, an epoch a call; its fixed cost of a call is a small part of the seconds. No pairs within an item."""

    def __init__(self, matrix: sp.csr_matrix, items: FeatureMatrix, d: int, _epochs: int) -> None:
        from lightfm import LightFM

        self.peer = LightFM(no_components=d, loss="warp", learning_rate=RATE, max_sampled=DRAWS, random_state=0)
        self.pairs = sp.coo_matrix((np.ones(matrix.nnz, np.float32), matrix.nonzero()), matrix.shape)
        self.items = items.to_csr()

    def epoch(self) -> None:
        self.peer.fit_partial(self.pairs, item_features=self.items, epochs=1, num_threads=1)

    def scores(self) -> Scores:
        biases, vectors = self.peer.get_item_representations(self.items)
        return self.peer.user_embeddings, vectors, biases


def contest(name: str, matrix: sp.csr_matrix, items: FeatureMatrix, d: int, epochs: int) -> dict[str, object]:
    """Epochs of both in turn; medians of processor time, without the first."""
    train, triples = split(matrix)
    train.sort_indices()
    both = [kind(train, items, d, epochs) for kind in (Ours, Lightfm)]
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
    """All sizes: power-law data, and ml-latest-small with genres where it is."""
    if not find_spec("lightfm"):
        print("lightfm left out: not installed, see make bench")
        return []
    data = {"power law": power_law(5_000 if quick else 50_000)}
    if MOVIELENS.is_dir():
        design, ratings = movielens()
        data["ml-latest-small"] = ratings.to_csr(), design.blocks[1]
    return [
        contest(name, matrix, items, d, 6 if quick else 8)
        for name, (matrix, items) in data.items()
        for d in ((16, 64) if quick else (16, 64, 128))
    ]
