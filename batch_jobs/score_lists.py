"""Lists of many users at once, equal to what the service answers each of them while nothing newer is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts import Artifact
from recsys.index import Exclusions, ItemIndex
from recsys.serving.loader import ServedModel
from recsys.serving.query import CONTEXT
from recsys.serving.searches import POPULAR


@dataclass(frozen=True, eq=False)
class Lists:
    """Ranked lists of some users.

    Parameters
    ----------
    rows : ndarray of shape (n_users, k), int32
        Item rows, best first; padded with -1.
    scores : ndarray of shape (n_users, k), float32
    strategies : ndarray of shape (n_users,), str
        Where the scores of each list come from, as of `RankedList`.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    strategies: NDArray[np.str_]


class ListMaker:
    """Makes the lists of users by row.

    Parameters
    ----------
    model : ServedModel
        What requests are ranked by.
    artifact : Artifact
        The same version whole: the users' vectors, and the histories their lists leave out.
    k : int
    context : mapping of str to str
        The same for all. A field it does not name counts as in the mean of training, the time fields too.
    threads : int
        Results do not depend on it.

    Raises
    ------
    DataError
        Naming a field of the context that the model does not know, or whose value has a wrong type.
    """

    def __init__(
        self, model: ServedModel, artifact: Artifact, k: int, context: Mapping[str, str], *, threads: int = 1
    ) -> None:
        self._model = model
        self._artifact = artifact
        self._k = k
        self._threads = threads
        queries, width = model.factors.queries, model.factors.width
        mean_user = queries.mean_user.astype(np.float64)
        # A point's vector does not depend on the user; only its constant, which ranks nothing, does.
        self._context = queries.points(np.zeros(width), *queries.encode(context, known_user=True)).sum(axis=0)[:-1]
        stranger = queries.points(mean_user, *queries.encode(context, known_user=False)).sum(axis=0)[:-1]
        self._stranger = (mean_user + stranger).astype(np.float32) if context else None

    def known(self, users: slice) -> NDArray[np.bool_]:
        """Mask of the users training has found a vector for; without vectors at all, a machine knows everybody."""
        factors = self._artifact.factors
        if factors.query is not None and not factors.width:
            return np.ones(users.stop - users.start, bool)
        return np.asarray(factors.user_vectors[users].any(axis=1))

    def make(self, users: slice) -> Lists:
        """Return the lists of consecutive users."""
        known, otherwise = self.known(users), POPULAR if self._stranger is None else CONTEXT
        rows = np.empty((len(known), self._k), np.int32)
        scores = np.empty((len(known), self._k), np.float32)
        for some in (known, ~known):
            asked = np.flatnonzero(some)
            if len(asked):
                queries, index = self._asked(users.start + asked, known=bool(known[asked[0]]))
                exclude = self._seen(users.start + asked)
                rows[asked], scores[asked] = index.search(queries, self._k, exclude=exclude, threads=self._threads)
        return Lists(rows, scores, np.where(known, self._model.manifest.kind, otherwise))

    def _asked(self, users: NDArray[np.int64], *, known: bool) -> tuple[NDArray[np.float32], ItemIndex]:
        """Query vectors, and what is searched with them."""
        if known:
            vectors = self._artifact.factors.user_vectors[users].astype(np.float64)
            return np.ascontiguousarray(vectors + self._context, np.float32), self._model.index
        if self._stranger is None:
            return np.zeros((len(users), 0), np.float32), self._model.popularity
        return np.tile(self._stranger, (len(users), 1)), self._model.index

    def _seen(self, users: NDArray[np.int64]) -> Exclusions:
        """Distinct items of the users' histories."""
        histories, n_items = self._artifact.histories, len(self._artifact.items)
        starts = histories.indptr[users]
        lengths = histories.indptr[users + 1] - starts
        firsts = np.cumsum(lengths) - lengths
        events = np.arange(lengths.sum()) + np.repeat(starts - firsts, lengths)
        query = np.repeat(np.arange(len(users)), lengths)
        pairs = np.unique(query * n_items + histories.items[events])
        indptr = np.searchsorted(pairs, np.arange(len(users) + 1) * n_items)
        return Exclusions(indptr.astype(np.int64), (pairs % n_items).astype(np.int32))
