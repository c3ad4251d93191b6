"""`QueryFeatures`: what a query brings besides a known user, and what makes a score a prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.encoding import Encoder
from recsys.errors import DataError

LINKS = ("identity", "logistic", "probit")
_ARRAYS = ("weights", "vectors", "signs", "user_bias", "mean_user")


def predictions(
    y: NDArray[np.floating], link: str, lowest: float = -math.inf, highest: float = math.inf
) -> NDArray[np.float64]:
    """Turn y, of shape (n,), into ratings or probabilities: one of `LINKS`, then clipping."""
    y = y.astype(np.float64)
    if link == "logistic":
        y = 0.5 * (1 + np.tanh(0.5 * y))
    elif link == "probit":
        y = np.array([0.5 * math.erfc(-one / math.sqrt(2)) for one in y.tolist()])
    return np.clip(y, lowest, highest)


def _encoded(
    encoder: Encoder, context: Mapping[str, Any], first: int, first_missing: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Features and values of one side, with those of the fields that gave none."""
    if not encoder.names:
        return np.empty(0, np.int32), np.empty(0, np.float32)
    features, values = encoder.encode_one({name: context[name] for name in encoder.names if name in context})
    there = np.searchsorted(encoder.offsets, features, side="right") - 1
    given = np.zeros(len(encoder.names), bool)
    given[there] = True
    missing = np.flatnonzero(~given)
    numbered = np.concatenate([features + first, missing + first_missing]).astype(np.int32)
    return numbered, np.concatenate([values, np.ones(len(missing), np.float32)])


@dataclass(frozen=True, eq=False)
class QueryFeatures:
    """The query side of a factorization machine (Rendle 2010), for users and contexts nobody has seen.

    With ``p = sum_j x_j v_j`` over the features of a context and <.,.>_s an inner product in which a coordinate counts
    by its sign::

        y = bias + user_bias + constant + <user_vector + p, item_vector> + item_bias
        constant = sum_j x_j (w_j + <user_vector, v_j>_s + <p - x_j v_j, v_j>_s / 2)

    The item vectors carry the signs already. For ranking only ``user_vector + p`` matters. Attributes of somebody
    unknown are features like those of the context; those of a known user are in the user's own vector and bias. A field
    that is not given, or whose value nobody has met, counts as it did in the mean of training: a feature of its own.

    Parameters
    ----------
    user_encoder, context_encoder : Encoder
        Features are numbered through: those of users, those of contexts, then one for each of these fields not given.
    weights : ndarray of shape (n_features,), float32
        w.
    vectors : ndarray of shape (n_features, d), float32
        v.
    signs : ndarray of shape (d,), float32
        1 or -1.
    user_bias : ndarray of shape (n_users,), float32
        All of y that belongs to the features of a known user alone.
    mean_user : ndarray of shape (d,), float32
    mean_user_bias : float
        In place of a user's, for somebody nobody knows.
    bias : float
    link : {"identity", "logistic", "probit"}
        Turns y into a prediction.
    lowest, highest : float
        Range predictions are clipped to; may be infinite.
    """

    user_encoder: Encoder
    context_encoder: Encoder
    weights: NDArray[np.float32]
    vectors: NDArray[np.float32]
    signs: NDArray[np.float32]
    user_bias: NDArray[np.float32]
    mean_user: NDArray[np.float32]
    mean_user_bias: float = 0.0
    bias: float = 0.0
    link: str = "identity"
    lowest: float = -math.inf
    highest: float = math.inf

    @classmethod
    def nothing(cls, n_users: int, width: int) -> QueryFeatures:
        """Return what leaves a model of users and items as it is."""
        no_fields = Encoder.fit([], [])
        n, d = np.zeros(0, np.float32), np.zeros(width, np.float32)
        return cls(no_fields, no_fields, n, n.reshape(0, width), d + np.float32(1), np.zeros(n_users, np.float32), d)

    def check(self, n_users: int, width: int) -> None:
        """Raise `DataError` unless everything fits so many users and item vectors of that width."""
        sides = self.user_encoder, self.context_encoder
        n_features = sum(one.n_features + len(one.names) for one in sides)
        for name, shape in (
            ("weights", (n_features,)),
            ("vectors", (n_features, width)),
            ("signs", (width,)),
            ("user_bias", (n_users,)),
            ("mean_user", (width,)),
        ):
            check_array(f"query_{name}", getattr(self, name), shape)
        if not (np.abs(self.signs) == 1).all():
            raise DataError("query_signs holds something that is neither 1 nor -1")
        if not all(isinstance(name, str) for name in (*self.user_encoder.names, *self.context_encoder.names)):
            raise DataError("a field has a name that is no text")
        if self.link not in LINKS or not (-math.inf < self.highest >= self.lowest < math.inf):
            raise DataError(f"link is one of {', '.join(LINKS)}, and lowest not above highest")

    @property
    def known_fields(self) -> tuple[str, ...]:
        """Names of everything a query may say."""
        return tuple(dict.fromkeys([*self.context_encoder.names, *self.user_encoder.names]))

    def encode(self, context: Mapping[str, Any], *, known_user: bool) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Turn fields of a query into features.

        Parameters
        ----------
        context : mapping of str to value
            By field name.
        known_user : bool
            Whether the user's own vector is at hand: attributes of the user are then checked, and not used again.

        Returns
        -------
        features : ndarray of shape (n,), int32
        values : ndarray of shape (n,), float32

        Raises
        ------
        DataError
            Naming a field the model does not know, or one with a value of a wrong type.
        """
        for name in context:
            if name not in self.known_fields:
                known = f"it knows {', '.join(self.known_fields)}" if self.known_fields else "it knows none"
                raise DataError(f"the model knows no field {name[:100]!r}; {known}", field=name[:100])
        n_user, n_given = self.user_encoder.n_features, self.user_encoder.n_features + self.context_encoder.n_features
        of_user = _encoded(self.user_encoder, context, 0, n_given)
        of_context = _encoded(self.context_encoder, context, n_user, n_given + len(self.user_encoder.names))
        if known_user:
            return of_context
        return np.concatenate([of_user[0], of_context[0]]), np.concatenate([of_user[1], of_context[1]])

    def feature_name(self, feature: int) -> str:
        """Return ``field=value`` of a feature."""
        n_user = self.user_encoder.n_features
        if feature < n_user:
            return self.user_encoder.feature_name(feature)
        if feature < n_user + self.context_encoder.n_features:
            return self.context_encoder.feature_name(feature - n_user)
        fields = (*self.user_encoder.names, *self.context_encoder.names)
        return f"{fields[feature - n_user - self.context_encoder.n_features]} not given"

    def points(
        self, user: NDArray[np.floating], features: NDArray[np.int32], values: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return what each feature adds to the query's vector and, last, to its constant.

        Parameters
        ----------
        user : ndarray of shape (d,)
        features, values : ndarray of shape (n,)
            As `encode` returns them.

        Returns
        -------
        ndarray of shape (n, d + 1), float64
        """
        if not len(features):
            return np.empty((0, self.vectors.shape[1] + 1))
        x = values.astype(np.float64)
        p = self.vectors[features].astype(np.float64) * x[:, None]
        others = p.sum(axis=0) - p
        constants = x * self.weights[features] + (p * self.signs) @ user
        constants += 0.5 * np.einsum("ij,ij->i", p * self.signs, others)
        return np.column_stack([p, constants])

    def predictions(self, y: NDArray[np.floating]) -> NDArray[np.float64]:
        """Turn y, of shape (n,), into ratings or probabilities: link and clipping."""
        return predictions(y, self.link, self.lowest, self.highest)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays, by the names they are published under."""
        own = {f"query_{name}": getattr(self, name) for name in _ARRAYS}
        for side, encoder in (("user", self.user_encoder), ("context", self.context_encoder)):
            own |= {f"{side}_encoder_{name}": array for name, array in encoder.to_parts()[1].items()}
        return own

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the arrays, as plain JSON; an infinite bound is null."""
        return {
            "user_encoder": self.user_encoder.to_parts()[0],
            "context_encoder": self.context_encoder.to_parts()[0],
            "mean_user_bias": self.mean_user_bias,
            "bias": self.bias,
            "link": self.link,
            "lowest": self.lowest if math.isfinite(self.lowest) else None,
            "highest": self.highest if math.isfinite(self.highest) else None,
        }


def check_array(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type = np.float32) -> None:
    """Raise `DataError` unless an array is C-contiguous, of that shape and dtype, float32 where none is given."""
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        flaw = "" if array.flags.c_contiguous else ", not contiguous"
        raise DataError(
            f"{name} is {array.dtype} of shape {array.shape}{flaw}; "
            f"expected C-contiguous {np.dtype(dtype)} of shape {shape}"
        )
