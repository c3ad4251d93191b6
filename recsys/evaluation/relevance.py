"""Who is judged on what: the relevant items of each user, and an account of what was left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.errors import InsufficientDataError


@dataclass(frozen=True, eq=False)
class Relevance:
    """Relevant items of the users that can be judged.

    Parameters
    ----------
    users : ndarray of shape (n,), int64
        Rows of the dataset's users, ascending.
    n_relevant : ndarray of shape (n,), int64
        At least 1 each.
    pairs : ndarray of shape (sum of n_relevant,), int64
        ``user row * n_items + item row``, ascending.
    n_items : int
        Size of the catalogue.
    counts : dict of str to int
        What is judged and what is not, see `relevant_items`.
    """

    users: NDArray[np.int64]
    n_relevant: NDArray[np.int64]
    pairs: NDArray[np.int64]
    n_items: int
    counts: dict[str, int]

    def hits(self, users: NDArray[np.int64], rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which entries of the lists are relevant.

        Parameters
        ----------
        users : ndarray of shape (n,), int64
            Rows of the users, each one of `self.users`.
        rows : ndarray of shape (n, k), int32
            Their lists, padded with -1.

        Returns
        -------
        ndarray of shape (n, k), bool
        """
        wanted = users[:, None] * self.n_items + rows
        found = self.pairs[np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)]
        # Without the mask, padding would read as the last item of the user in the row before.
        hits: NDArray[np.bool_] = (found == wanted) & (rows >= 0)
        return hits


def relevant_items(dataset: Dataset, test: Interactions) -> Relevance:
    """Distinct test items of each user that the model knows and the user did not have in training.

    The counts are

    - ``users``: users that are judged,
    - ``relevant``: their relevant items together,
    - ``users_unknown``: test users that are not in the dataset,
    - ``items_unknown``: test items that are not in the dataset,
    - ``repeats``: pairs of known user and item that are in the training part already,
    - ``users_without_relevant``: known test users who are left with no relevant item.

    Raises
    ------
    InsufficientDataError
        If no user remains.
    """
    n_items = len(dataset.items)
    user = dataset.users.encode(test.users.ids())[test.user].astype(np.int64)
    item = dataset.items.encode(test.items.ids())[test.item].astype(np.int64)
    known = (user >= 0) & (item >= 0)
    pairs = np.unique(user[known] * n_items + item[known])
    new = pairs[~np.isin(pairs, _training_pairs(dataset, np.unique(user[known])), assume_unique=True)]
    users, n_relevant = np.unique(new // n_items, return_counts=True)
    counts = {
        "users": len(users),
        "relevant": len(new),
        "users_unknown": len(np.unique(test.user[user < 0])),
        "items_unknown": len(np.unique(test.item[item < 0])),
        "repeats": len(pairs) - len(new),
        "users_without_relevant": len(np.unique(user[user >= 0])) - len(users),
    }
    if not len(users):
        raise InsufficientDataError(
            "no user can be judged: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            remedy="Check that training and test part use the same ids, and that the test part holds something new",
        )
    return Relevance(users, n_relevant.astype(np.int64), new, n_items, counts)


def _training_pairs(dataset: Dataset, users: NDArray[np.int64]) -> NDArray[np.int64]:
    history = dataset.seen_items[users]
    pairs: NDArray[np.int64] = np.repeat(users, np.diff(history.indptr)) * len(dataset.items) + history.indices
    return pairs
