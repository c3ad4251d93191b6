"""How good lists and ratings are for users folded in: held out of training whole, known by their training part alone.

One user in ten is held out. "trained" is the same model fitted on everybody, "popularity" and "item alone" know nothing
of the user. Gowalla as it is split; of ml-latest-small a random fifth of the ratings is the test part.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from recsys.data import Dataset, Interactions, read_interactions
from recsys.factors import Factors
from recsys.index import Exclusions, ItemIndex
from recsys.models import BPR, BiasedMF, ImplicitALS
from recsys.serving.fold_in import fold_in
from tests.benchmarks.harness import options, report
from tests.benchmarks.quality import GOWALLA

MODELS = {
    "als": lambda: ImplicitALS(factors=64, unobserved_weight=0.02, regularization=0.003, threads=2),
    "bpr": lambda: BPR(factors=64, iterations=15, threads=2, asynchronous=True),
}


def points_of(factors: Factors, histories: sp.csr_matrix, users: np.ndarray) -> np.ndarray:
    """Vector and bias of each of these users, from their histories alone."""
    found = []
    for user in users:
        own = slice(*histories.indptr[user : user + 2])
        folded = fold_in(factors, (histories.indices[own], histories.data[own]), None)
        assert folded is not None
        found.append(folded.point)
    return np.array(found)


def recall(
    vectors: np.ndarray, factors: Factors, histories: sp.csr_matrix, test: sp.csr_matrix, users: np.ndarray
) -> float:
    """Mean recall@20 of the users over their new test items."""
    seen = histories[users]
    exclude = Exclusions(seen.indptr.astype(np.int64), seen.indices.astype(np.int32))
    index = ItemIndex(factors.item_vectors, factors.item_bias)
    rows, _ = index.search(np.ascontiguousarray(vectors, np.float32), 20, exclude=exclude, threads=2)
    hits = []
    for place, user in enumerate(users):
        relevant = np.setdiff1d(test[user].indices, seen[place].indices)
        if len(relevant):
            hits.append(np.isin(relevant, rows[place]).mean())
    return float(np.mean(hits))


def lists(quick: bool) -> list[dict[str, object]]:
    """Recall@20 of held-out users on gowalla."""
    train, test = (read_interactions(GOWALLA / f"{part}.txt", format="lists") for part in ("train", "test"))
    histories, relevant = train.to_csr(), test.recode(train.users, train.items)[0].to_csr()
    held, users = held_out(train)
    rows: list[dict[str, object]] = []
    for name in ("bpr",) if quick else MODELS:
        everybody = MODELS[name]().fit(Dataset.from_interactions(train)).export()
        model = MODELS[name]().fit(Dataset.from_interactions(train.select(~held[train.user])))
        factors, none = model.export(), np.zeros((len(train.items), 0), np.float32)
        popular = Factors(np.zeros((0, 0), np.float32), none, model.dataset.item_counts)
        for how, vectors, by in (
            ("trained", everybody.user_vectors[users], everybody),
            ("folded in", points_of(factors, histories, users)[:, :-1], factors),
            ("popularity", np.zeros((len(users), 0)), popular),
        ):
            found = recall(vectors, by, histories, relevant, users)
            rows.append({"data": "gowalla", "model": name, "users": how, "metric": "recall@20", "value": found})
    return rows


def ratings() -> list[dict[str, object]]:
    """RMSE of held-out users on ml-latest-small, mean of four parts."""
    every = read_interactions(GOWALLA.with_name("ml-latest-small"), format="movielens")
    errors: dict[str, list[float]] = {}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        held, _ = held_out(every, seed)
        tested = rng.random(len(every)) < 0.2
        for how, error in rating_errors(every, held[every.user], tested, seed).items():
            errors.setdefault(how, []).append(error)
    return [
        {
            "data": "ml-latest-small",
            "model": "biased_mf",
            "users": how,
            "metric": "rmse",
            "value": float(np.mean(found)),
        }
        for how, found in errors.items()
    ]


def rating_errors(every: Interactions, held: np.ndarray, tested: np.ndarray, seed: int) -> dict[str, float]:
    """RMSE over the test ratings of held-out users."""

    def fitted(part: np.ndarray) -> BiasedMF:
        settings = {"factors": 32, "iterations": 20, "threads": 2, "seed": seed}
        return BiasedMF(**settings).fit(Dataset.from_interactions(every.select(part)))

    test = every.select(held & tested)
    everybody, factors = fitted(~tested).export(), fitted(~tested & ~held).export()
    users, place = np.unique(test.user, return_inverse=True)
    points = points_of(factors, every.select(~tested).to_csr(), users)[place]
    alone = factors.item_bias[test.item].astype(np.float64)
    folded = alone + np.einsum("ij,ij->i", points[:, :-1], factors.item_vectors[test.item]) + points[:, -1]
    found = {"trained": everybody.rate(test.user, test.item), "folded in": folded, "item alone": alone}
    return {
        how: float(np.sqrt(np.mean((factors.queries.predictions(one) - test.weight) ** 2)))
        for how, one in found.items()
    }


def held_out(interactions: Interactions, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mask of one user in ten, and their rows."""
    n_users = len(interactions.users)
    held = np.zeros(n_users, bool)
    held[np.random.default_rng(seed).choice(n_users, n_users // 10, replace=False)] = True
    return held, np.flatnonzero(held)


if __name__ == "__main__":
    flags = options(__doc__.partition("\n")[0])
    report("Users folded in", [*lists(flags.quick), *ratings()], flags.json or Path("var/bench/fold_in.jsonl"))
