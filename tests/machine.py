"""A random factorization machine with field weights: its samples written out, and what it publishes."""

from dataclasses import replace

import numpy as np

from recsys.data import Dataset, Interactions
from recsys.data.features import FeatureMatrix
from recsys.encoding import Encoder
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.models.fm.design import Design
from recsys.models.fm.parameters import Parameters
from recsys.models.history import fit_history_map
from recsys.query_features import QueryFeatures

N_USERS, N_ITEMS = 40, 25
COUNTRIES, DEVICES, GENRES = ("at", "de", "it"), ("phone", "desktop"), ("drama", "war", "noir")


class Machine:
    """Fields: user and country, age; item and genres; device and hour."""

    kind = "fm"

    def __init__(self, seed=0, link="identity", factors=3, **range_of_predictions):
        self.rng = np.random.default_rng(seed)
        self.link, self.range = link, range_of_predictions
        self.user_records = [
            {"country": COUNTRIES[n % 3] if n % 4 else None, "age": float(n % 7 * 10)} for n in range(N_USERS)
        ]
        self.item_records = [{"genres": list(GENRES[: n % 4])} for n in range(N_ITEMS)]
        contexts = [{"device": DEVICES[n % 2], "hour": str(n)} for n in range(24)]
        self.users = Encoder.fit(["country", "age:number"], self.user_records)
        self.items = Encoder.fit(["genres:tags"], self.item_records)
        self.context = Encoder.fit(["device", "hour:category"], contexts)
        self.blocks = (
            with_ids(self.users, self.user_records, "user"),
            with_ids(self.items, self.item_records, "item"),
            matrix(self.context, contexts),
        )
        self.dataset = random_dataset(self.rng)
        self.parameters = self._random(factors)

    def _random(self, factors):
        empty = Design(self.blocks, np.zeros((0, 3), np.int32))
        found = Parameters.random(empty, factors, 1.0, self.rng)
        r = self.rng.standard_normal((len(empty.fields),) * 2).astype(np.float32)
        weights = self.rng.standard_normal(len(found.weights)).astype(np.float32)
        return replace(found, bias=np.full(1, 0.7, np.float32), weights=weights, field_weights=r + r.T)

    def y(self, user, context, items):
        """Predict for a user row, a context and item rows with the whole machine, every sample written out."""
        blocks = (*self.blocks[:2], matrix(self.context, [context]))
        parts = np.array([[user, item, 0] for item in items], np.int32)
        return self.parameters.predict(Design(blocks, parts))

    def export(self):
        plain, signs = self.parameters.plain()
        weights, vectors = plain.weights, np.ascontiguousarray(plain.vectors[:, : plain.factors])
        signs = signs[: plain.factors]
        starts = Design(self.blocks, np.zeros((0, 3), np.int32)).first_features
        user, item = (slice(*starts[n : n + 2]) for n in range(2))
        user_vectors, user_bias = own(self.blocks[0], weights[user], vectors[user], signs)
        item_vectors, item_bias = own(self.blocks[1], weights[item], vectors[item], signs)
        n_fields = len(self.users.names) + len(self.context.names)
        asked = np.r_[np.arange(N_USERS, starts[1]), np.arange(starts[2], starts[3])]
        query = QueryFeatures(
            self.users,
            self.context,
            np.append(weights[asked], np.zeros(n_fields, np.float32)),  # what is not given says nothing here
            np.concatenate([vectors[asked], np.zeros((n_fields, len(signs)), np.float32)]),
            signs,
            user_bias,
            vectors[:N_USERS].mean(axis=0),
            float(weights[:N_USERS].mean()),
            float(plain.bias[0]),
            self.link,
            **self.range,
        )
        factors = Factors(user_vectors, item_vectors * signs, item_bias, query=query)
        return replace(factors, fold_in=fit_history_map(factors, self.dataset.user_items, centre=None))


def matrix(encoder, records):
    return FeatureMatrix(*encoder.encode(records), encoder.names, encoder.offsets)


def with_ids(encoder, records, field):
    ids = FeatureMatrix.of_ids(np.arange(len(records), dtype=np.int32), len(records), field)
    return FeatureMatrix.side_by_side([ids, matrix(encoder, records)])


def own(block, weights, vectors, signs):
    """Sum of the vectors of each row, and everything of y that its features make among themselves."""
    x, v, w = block.to_csr().astype(np.float64), vectors.astype(np.float64), weights.astype(np.float64)
    sums = x @ v
    pairs = 0.5 * ((sums * sums) @ signs - x.multiply(x) @ ((v * v) @ signs))
    return sums.astype(np.float32), (x @ w + pairs).astype(np.float32)


def random_dataset(rng):
    ids = [IdMap.from_ids(f"{prefix}{n}" for n in range(count)) for prefix, count in (("u", N_USERS), ("i", N_ITEMS))]
    pairs = sorted({(u, int(i)) for u in range(N_USERS) for i in rng.integers(0, N_ITEMS, 6)})
    user, item = np.array(pairs, np.int32).T.copy()
    return Dataset.from_interactions(Interactions(*ids, user, item, np.ones(len(user), np.float32)))
