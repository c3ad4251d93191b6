"""What lists are like apart from being right: how much of the catalogue they show, how evenly, how obvious it is.

Lists are ``rows``, ndarray of shape (n_users, k), integer item rows padded with -1. Popularity of an item is the number
of training users who have it. Values over no list at all are NaN.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def exposure(rows: NDArray[np.integer], n_items: int) -> NDArray[np.int64]:
    """How many lists show each item of the catalogue, shape (n_items,)."""
    return np.bincount(rows[rows >= 0], minlength=n_items).astype(np.int64)


def coverage(shown: NDArray[np.int64]) -> float:
    """Share of the catalogue that is in at least one list (Herlocker et al. 2004, catalogue coverage).

    Parameters
    ----------
    shown : ndarray of shape (n_items,)
        `exposure` of the whole catalogue, zeros included.
    """
    return np.count_nonzero(shown) / len(shown)


def gini(shown: NDArray[np.int64]) -> float:
    """Inequality of exposure: 0 if all items are shown equally often, 1 - 1/n_items if only one is shown.

    ``sum_i (2 i - n - 1) x_i / (n sum_i x_i)`` over exposures x in ascending order, i from 1 (Shani and Gunawardana
    2011). Items that no list shows count as zeros. NaN where nothing is shown.

    Parameters
    ----------
    shown : ndarray of shape (n_items,)
        `exposure` of the whole catalogue, zeros included.
    """
    ascending = np.sort(shown).astype(np.float64)
    n, total = len(ascending), ascending.sum()
    if total == 0:
        return float("nan")
    return float(((2.0 * np.arange(1, n + 1) - n - 1.0) * ascending).sum() / (n * total))


def self_information(popularity: NDArray[np.floating], n_users: int) -> NDArray[np.float64]:
    """``-log2(share of users who have the item)``, shape (n_items,) (Zhou et al. 2010, PNAS 107(10)).

    An item that nobody has would be infinitely surprising; it counts as if one user had it, log2(n_users), which is
    the largest value that any other item can reach.
    """
    return np.log2(n_users / np.maximum(popularity.astype(np.float64), 1.0))


def list_means(rows: NDArray[np.integer], item_values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of an item value over each list, shape (n_users,); NaN for an empty list."""
    shown = rows >= 0
    total = np.cumsum(np.where(shown, item_values[rows], 0.0), axis=1, dtype=np.float64)[:, -1]
    length = shown.sum(axis=1)
    return np.where(length > 0, total / np.maximum(length, 1), np.nan)


def intra_list_diversity(rows: NDArray[np.integer], features: sp.csr_matrix) -> NDArray[np.float64]:
    """Mean of ``1 - cosine`` over the pairs of a list's items, shape (n_users,) (Vargas and Castells 2011).

    0 where all have the same features, 1 where none has a feature in common with another. Items without any feature
    are left out: nothing known is not diverse. NaN for a list with fewer than two items that have some.

    Parameters
    ----------
    rows : ndarray of shape (n_users, k), integer
    features : csr_matrix of shape (n_items, n_features)
    """
    features = features.astype(np.float64)
    length = np.sqrt(np.asarray(features.multiply(features).sum(axis=1)).ravel())
    unit = sp.diags_array(1.0 / np.where(length > 0, length, 1.0)).tocsr() @ features
    described = (rows >= 0) & (length > 0)[rows]
    n = described.sum(axis=1)
    indptr = np.append(0, np.cumsum(n))
    lists = sp.csr_matrix((np.ones(indptr[-1]), rows[described], indptr), shape=(len(rows), features.shape[0]))
    # The squared length of the sum of n unit vectors is n and twice the cosines of all pairs.
    total = lists @ unit
    cosines = np.asarray(total.multiply(total).sum(axis=1)).ravel() - n
    return np.where(n > 1, np.maximum(1.0 - cosines / np.maximum(n * (n - 1), 1), 0.0), np.nan)


def popularity_lift(lists: NDArray[np.float64], profiles: NDArray[np.float64]) -> float:
    """How much more popular the lists are than what their users had before; 0 is equally, 1 twice as popular.

    ``(mean of lists - mean of profiles) / mean of profiles``, over users with both (Abdollahpouri et al. 2020, The
    Connection Between Popularity Bias, Calibration, and Fairness in Recommendation).

    Parameters
    ----------
    lists, profiles : ndarray of shape (n_users,)
        Mean popularity of the items of each user's list and training history, NaN where that is empty.
    """
    both = ~(np.isnan(lists) | np.isnan(profiles))
    if not both.any():
        return float("nan")
    return float(lists[both].mean() / profiles[both].mean() - 1.0)
