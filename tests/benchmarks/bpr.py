"""Ranking losses per epoch: our steps against implicit's BPR and, where it can be imported, lightfm's WARP.

Both train on the same pairs and run in turn, an epoch each. implicit draws one negative a positive, by popularity, and
makes plain steps; so do we against it. lightfm draws evenly, up to ten times, without a penalty, and makes AdaGrad's
steps with a sum for each number; so do we with a sum for each row, at the rate that makes steps as long.
After the last epoch both rank the same held-out triples (user, held item, item the user does not have): the mean BPR
loss and the share ranked rightly, the AUC.
"""

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from implicit.cpu.bpr import BayesianPersonalizedRanking

from recsys.data import read_interactions
from recsys.data.synthetic import generate
from recsys.models.bpr_steps import Positives, RankingLoss, Tables
from recsys.models.negatives import Negatives
from tests.benchmarks.harness import options, report

RATE, PENALTY, DRAWS = 0.05, 0.01, 10
GOWALLA = Path(__file__).parents[3] / "shared" / "datasets" / "gowalla" / "train.txt"
Scores = tuple[np.ndarray, np.ndarray, np.ndarray]  # user vectors, item vectors, item biases


class Ours:
    """The steps behind `BPR`."""

    def __init__(self, matrix: sp.csr_matrix, d: int, threads: int, loss: str) -> None:
        self.rng = np.random.default_rng(0)
        self.tables = Tables.zeros(*matrix.shape, d, adagrad=loss == "warp")
        for table in (self.tables.x, self.tables.y):
            table[:] = (self.rng.random(table.shape, np.float32) - 0.5) / d
        negatives = Negatives.of(np.bincount(matrix.indices, minlength=matrix.shape[1]), float(loss == "bpr"))
        draws = 1 if loss == "bpr" else DRAWS
        self.rate, penalty = (RATE, PENALTY) if loss == "bpr" else (RATE * d**0.5, 0.0)
        self.loss = RankingLoss(loss, Positives.of(matrix, self.rng), negatives, draws, penalty, threads)

    def epoch(self) -> None:
        self.loss.descend(self.tables, self.loss.positives.blocks(self.rng), int(self.rng.integers(2**63)), self.rate)

    def scores(self) -> Scores:
        return self.tables.x, self.tables.y, self.tables.bias


def implicit_epochs(
    matrix: sp.csr_matrix, d: int, threads: int, epochs: int, after: Callable[[float], object]
) -> Scores:
    """Train implicit's BPR; `after` hears the seconds of each epoch, as implicit takes them."""
    peer = BayesianPersonalizedRanking(
        factors=d, learning_rate=RATE, regularization=PENALTY, iterations=epochs, num_threads=threads, random_state=0
    )  # verifies its negatives by default
    peer.fit(matrix, show_progress=False, callback=lambda _epoch, seconds, _correct, _skipped: after(seconds))
    return peer.user_factors[:, :-1], peer.item_factors[:, :-1], peer.item_factors[:, -1]


def lightfm_epochs(
    matrix: sp.csr_matrix, d: int, threads: int, epochs: int, after: Callable[[float], object]
) -> Scores:
    """Train lightfm's WARP, an epoch a call; its fixed cost of a call is a small part of the seconds."""
    from lightfm import LightFM

    peer = LightFM(no_components=d, loss="warp", learning_rate=RATE, max_sampled=DRAWS, random_state=0)
    pairs = sp.coo_matrix((np.ones(matrix.nnz, np.float32), matrix.nonzero()), matrix.shape)
    for _ in range(epochs):
        began = time.perf_counter()
        peer.fit_partial(pairs, epochs=1, num_threads=threads)
        after(time.perf_counter() - began)
    return peer.user_embeddings, peer.item_embeddings, peer.item_biases


PEERS = {"implicit": ("bpr", implicit_epochs), "lightfm": ("warp", lightfm_epochs)}


def split(matrix: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray]:
    """Hold out a twentieth of the pairs, each with an item the user does not have: triples of shape (3, n)."""
    rng = np.random.default_rng(1)
    users, items = matrix.nonzero()
    held = rng.random(len(users)) < 0.05
    others = rng.integers(0, matrix.shape[1], held.sum())
    new = np.asarray(matrix[users[held], others]).ravel() == 0
    train = sp.csr_matrix((np.ones((~held).sum(), np.float32), (users[~held], items[~held])), matrix.shape)
    return train, np.stack([users[held], items[held], others])[:, new]


def judged(scores: Scores, triples: np.ndarray) -> tuple[float, float]:
    """Mean BPR loss and AUC."""
    (x, y, bias), (u, i, j) = scores, triples
    margin = np.einsum("nd,nd->n", x[u], y[i] - y[j]) + bias[i] - bias[j]
    return float(np.logaddexp(0, -margin).mean()), float((margin > 0).mean())


def contest(name: str, matrix: sp.csr_matrix, d: int, threads: int, peer: str, epochs: int) -> dict[str, object]:
    """Epochs of both in turn; medians, without the first."""
    train, triples = split(matrix)
    loss, peer_epochs = PEERS[peer]
    ours = Ours(train, d, threads, loss)
    seconds: list[tuple[float, float]] = []

    def one_more(peer_seconds: float) -> None:
        began = time.perf_counter()
        ours.epoch()
        seconds.append((time.perf_counter() - began, peer_seconds))

    theirs = judged(peer_epochs(train, d, threads, epochs, one_more), triples)
    own = judged(ours.scores(), triples)
    return {
        "data": name,
        "nnz": train.nnz,
        "d": d,
        "threads": threads,
        "peer": peer,
        "seconds": statistics.median(one for one, _ in seconds[1:]),
        "peer_seconds": statistics.median(one for _, one in seconds[1:]),
        "ratio": statistics.median(b / a for a, b in seconds[1:]),
        "loss": own[0],
        "peer_loss": theirs[0],
        "auc": own[1],
        "peer_auc": theirs[1],
    }


def main() -> None:
    """Run all sizes: synthetic power-law data, and gowalla where it is."""
    chosen = options(__doc__ or "")
    peers = [peer for peer in PEERS if find_spec(peer)]
    for peer in set(PEERS) - set(peers):
        print(f"{peer} cannot be imported here and is left out")
    users = 10_000 if chosen.quick else 50_000
    made = generate(users=users, items=users * 2 // 5, mean_history=100, categories=16, seed=1)
    data = {"power law": made.interactions.to_csr()}
    if GOWALLA.is_file():
        data["gowalla"] = read_interactions(GOWALLA, format="lists").to_csr()
    rows = [
        contest(name, matrix, d, threads, peer, 6 if chosen.quick else 8)
        for name, matrix in data.items()
        for d in ((64, 128) if chosen.quick else (64, 128, 256))
        for threads in (1, 2)
        for peer in peers
    ]
    report("Ranking losses, one epoch", rows, chosen.json or Path("var/bench/bpr.jsonl"))


if __name__ == "__main__":
    main()
