"""Queries offline: users in contexts, many at a time, over the `Factors` of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.encoding import Encoder
from recsys.errors import ConfigError
from recsys.factors import Factors

Context = Mapping[str, object]
"""Values of context fields by name, and of a user's fields, which count where the user is not known."""


@dataclass(frozen=True, eq=False)
class Queries:
    """What is asked: query vectors, and what of the prediction belongs to the query alone.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), float32
    constants : ndarray of shape (n,), float64
    """

    vectors: NDArray[np.float32]
    constants: NDArray[np.float64]

    @classmethod
    def of(cls, factors: Factors, users: NDArray[np.int32], context: Context | Sequence[Context] | None) -> Queries:
        """Put users, -1 for one nobody knows, and contexts together: one for all, one for each, or none.

        With u the vector of a user and p the sum of x_j v_j of a context, the constant is that of the user, that of the
        context, ``sum x_j w_j + 1/2 (|p|^2 - sum x_j^2 |v_j|^2)``, and ``<u, p>``; see `QueryFeatures`.
        """
        query, unknown = factors.queries, users < 0
        contexts = [{}] if context is None else [context] if isinstance(context, Mapping) else context
        if len(contexts) not in (1, len(users)):
            raise ConfigError(
                f"context is one mapping for all or one for each of {len(users):,}, not {len(contexts):,}"
            )
        known_fields = query.known_fields
        for name in {name for one in contexts for name in one} - set(known_fields):
            raise ConfigError(f"the model knows no field {name!r}; it knows {', '.join(known_fields) or 'none'}")
        if not known_fields:
            constants = query.bias + np.where(unknown, query.mean_user_bias, query.user_bias[users].astype(np.float64))
            vectors = np.where(unknown[:, None], query.mean_user, factors.user_vectors[users])
            return cls(vectors, constants)
        place = np.zeros(len(users), np.int64) if len(contexts) == 1 else np.arange(len(users))
        sides = [_rows(side, contexts) for side in (query.user_encoder, query.context_encoder)]
        (of_users, no_users), (of_contexts, no_contexts) = [(given[place], missing[place]) for given, missing in sides]
        asked = sp.diags(unknown.astype(np.float64))
        x = sp.hstack([asked @ of_users, of_contexts, asked @ no_users, no_contexts]).tocsr()
        u = factors.user_vectors[users].astype(np.float64)
        u[unknown] = query.mean_user
        p, constants = summed(x, query.weights, query.vectors, query.signs)
        constants += query.bias + np.where(unknown, query.mean_user_bias, query.user_bias[users])
        constants += np.einsum("nd,nd->n", u * query.signs, p)
        return cls((u + p).astype(np.float32), constants)

    def take(self, some: slice) -> Queries:
        """Return some of them."""
        return Queries(self.vectors[some], self.constants[some])

    def predict(self, factors: Factors, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the prediction for one item each, float32; -1 stands for an average one."""
        vectors, bias = factors.item_vectors[items], factors.item_bias[items].astype(np.float64)
        if (items < 0).any():
            vectors[items < 0], bias[items < 0] = factors.item_vectors.mean(axis=0), factors.item_bias.mean()
        y = self.constants + bias + np.einsum("nd,nd->n", self.vectors, vectors, dtype=np.float64)
        return factors.queries.predictions(y).astype(np.float32)


def summed(
    x: sp.csr_matrix, weights: NDArray[np.float32], vectors: NDArray[np.float32], signs: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum of x_j v_j of each row, and all of y that its features make among themselves, in float64.

    Parameters
    ----------
    x : csr_matrix of shape (n, n_features), float64
    weights, vectors, signs : ndarray of shape (n_features,), (n_features, d) and (d,)
        As of `QueryFeatures`.
    """
    v = vectors.astype(np.float64)
    sums = np.asarray(x @ v)
    pairs = 0.5 * (sums**2 @ signs - x.multiply(x) @ (v**2 @ signs))
    return sums, x @ weights.astype(np.float64) + pairs


def _rows(encoder: Encoder, contexts: Sequence[Context]) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Features of contexts, and a 1 for each field that gave none."""
    indptr, features, values = encoder.encode(contexts)
    given = sp.csr_matrix((values.astype(np.float64), features, indptr), shape=(len(contexts), encoder.n_features))
    there = np.zeros((len(contexts), len(encoder.names)))
    fields = np.searchsorted(encoder.offsets, features, side="right") - 1
    there[np.repeat(np.arange(len(contexts)), np.diff(indptr)), fields] = 1
    return given, sp.csr_matrix(1 - there)
