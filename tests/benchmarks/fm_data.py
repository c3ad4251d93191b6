"""Rows for the benchmarks of factorization machines, and the files their peers read."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from recsys.data import Interactions, read_interactions
from recsys.data.features import FeatureMatrix
from recsys.models.fm.design import Design

MOVIELENS = Path(__file__).parents[3] / "shared" / "datasets" / "ml-latest-small"
FIELDS, VALUES, FACTORS = 10, 10_000, 16
TIMES = 64  # quantile buckets of the time of a rating


@dataclass(frozen=True, eq=False)
class Rows:
    """Samples to learn from and to be judged on, over the same features; targets are numbers, or -1 and 1."""

    train: Design
    y: np.ndarray
    test: Design
    test_y: np.ndarray
    loss: str  # "squared" or "logistic"

    def save(self, folder: Path) -> None:
        """Write the rows for us, for readers of libsvm (features from 0), fields of features and namespaces for VW."""
        (folder / "rows.pickle").write_bytes(pickle.dumps(self, protocol=5))
        (folder / "fields.txt").write_text("".join(f"{field}\n" for field in self.train.field_of))
        for name, design, y in (("train", self.train, self.y), ("test", self.test, self.test_y)):
            rows = design.flat()
            words = [f"{j}:{x:g}" for j, x in zip(rows.features.tolist(), rows.values.tolist(), strict=True)]
            spaces = [
                f"|{chr(97 + field)} {word}"
                for field, word in zip(rows.field_of[rows.features].tolist(), words, strict=True)
            ]
            for ending, entries in (("txt", words), ("vw", spaces)):
                with (folder / f"{name}.{ending}").open("w") as file:
                    for target, (first, end) in zip(y, zip(rows.indptr, rows.indptr[1:], strict=False), strict=True):
                        file.write(f"{target:g} {' '.join(entries[first:end])}\n")

    @classmethod
    def load(cls, folder: Path) -> "Rows":
        """Read what `save` wrote."""
        with (folder / "rows.pickle").open("rb") as file:
            rows = pickle.load(file)
        assert isinstance(rows, cls)
        return rows

    def csr(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """Return both parts written out, float64."""
        train, test = (design.flat().to_csr().astype(np.float64) for design in (self.train, self.test))
        return train, test

    def error(self, predicted: np.ndarray) -> float:
        """RMSE within the range of the targets, or the mean logistic loss of probabilities, on the test part."""
        if self.loss == "squared":
            return float(np.sqrt(np.mean((np.clip(predicted, self.y.min(), self.y.max()) - self.test_y) ** 2)))
        right = np.where(self.test_y > 0, predicted, 1 - predicted)
        return float(-np.log(np.clip(right, 1e-7, 1)).mean())


def planted(n: int, loss: str, values: int = VALUES) -> Rows:
    """`n` rows of ten one-hot fields, values drawn evenly; an FM of 16 factors and noise, or its sign."""
    rng = np.random.default_rng(0)
    total = n + n // 10
    columns = rng.integers(0, values, (total, FIELDS), np.int32)
    fields = [FeatureMatrix.of_ids(np.ascontiguousarray(columns[:, f]), values, f"f{f}") for f in range(FIELDS)]
    design = Design.of_rows(FeatureMatrix.side_by_side(fields))
    weights = rng.normal(0, 0.3, (FIELDS, values))
    pairs = FIELDS * (FIELDS - 1) / 2
    vectors = rng.normal(0, (pairs * FACTORS) ** -0.25, (FIELDS, values, FACTORS))  # so that pairs have variance 1
    y = rng.normal(0, 0.5, total)
    for start in range(0, total, 2**16):
        part = columns[start : start + 2**16]
        found = np.stack([vectors[f][part[:, f]] for f in range(FIELDS)])
        squares = (found.sum(axis=0) ** 2).sum(axis=1) - (found**2).sum(axis=(0, 2))
        y[start : start + 2**16] += 0.5 * squares + sum(weights[f][part[:, f]] for f in range(FIELDS))
    targets = (y if loss == "squared" else np.sign(y)).astype(np.float32)
    return _divided(design, targets, np.arange(total) >= n, loss)


def movielens(path: Path = MOVIELENS) -> tuple[Design, Interactions]:
    """Ratings of ml-latest-small with blocks (user), (item, genres), (time)."""
    ratings = read_interactions(path / "ratings.csv", format="csv")
    lines = (line.rsplit(",", 1) for line in (path / "movies.csv").read_text("utf-8").splitlines()[1:])
    genres = {before.split(",", 1)[0]: after.split("|") for before, after in lines}
    names = sorted({name for every in genres.values() for name in every})
    found = [
        sorted(names.index(name) for name in genres[item]) for item in ratings.items.ids(np.arange(len(ratings.items)))
    ]
    lengths = np.array([len(one) for one in found])
    tags = FeatureMatrix(
        np.append(0, np.cumsum(lengths)).astype(np.int64),
        np.array([j for one in found for j in one], np.int32),
        np.repeat(lengths**-0.5, lengths).astype(np.float32),
        ("genres",),
        np.array([0, len(names)]),
    )
    users, items = (
        FeatureMatrix.of_ids(np.arange(n, dtype=np.int32), n, name)
        for n, name in zip(ratings.shape, ("user", "item"), strict=True)
    )
    assert ratings.timestamp is not None
    edges = np.quantile(ratings.timestamp, np.arange(1, TIMES) / TIMES)
    times = FeatureMatrix.of_ids(np.arange(TIMES, dtype=np.int32), TIMES, "time")
    bucket = np.searchsorted(edges, ratings.timestamp).astype(np.int32)
    parts = np.stack([ratings.user, ratings.item, bucket], axis=1)
    return Design((users, FeatureMatrix.side_by_side([items, tags]), times), parts), ratings


def divided(design: Design, ratings: Interactions, held: np.ndarray) -> Rows:
    """The ratings of a mask as the test part of the others."""
    return _divided(design, ratings.weight, held, "squared")


def _divided(design: Design, y: np.ndarray, held: np.ndarray, loss: str) -> Rows:
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    return Rows(design.take(train), y[train], design.take(test), y[test], loss)
