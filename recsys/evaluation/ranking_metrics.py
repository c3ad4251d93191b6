"""Accuracy of ranked lists: per-user values at one list length.

Every function takes ``hits``, ndarray of shape (n_users, k), bool: whether the item at each rank is relevant, best rank
first, padding False; and ``n_relevant``, ndarray of shape (n_users,), integer, at least 1: how many items are relevant
to the user, in the list or not. It returns ndarray of shape (n_users,), float64; ``hits[:, :10]`` gives values at 10.

Sums run along ranks one after the other, so that a perfect list gives exactly 1 and a user's value does not depend on
which users are judged with it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]
Counts = NDArray[np.integer]
Values = NDArray[np.float64]


def precision(hits: Hits, n_relevant: Counts, k: int | None = None) -> Values:
    """Share of the list that is relevant, ``hits / k`` (Manning, Raghavan and Schütze 2008, section 8.4).

    A list of fewer than k items counts as padded with misses; k is the width of `hits` if not given. A user with fewer
    than k relevant items cannot reach 1.
    """
    return _per_user(hits) / float(k or hits.shape[1])


def recall(hits: Hits, n_relevant: Counts) -> Values:
    """Share of the relevant items that are in the list, ``hits / n_rel`` (Manning et al. 2008, section 8.4).

    Divided by all relevant items, not by min(k, n_rel): a user with more than k of them cannot reach 1.
    """
    return _per_user(hits) / n_relevant.astype(np.float64)


def hit_rate(hits: Hits, n_relevant: Counts) -> Values:
    """Return 1 where any item of the list is relevant, else 0 (Deshpande and Karypis 2004)."""
    return np.minimum(_per_user(hits), 1.0)


def mrr(hits: Hits, n_relevant: Counts) -> Values:
    """Reciprocal rank of the first hit, ``1 / rank``, 0 without one (Voorhees 1999, TREC-8 question answering)."""
    first: Values = np.max(hits / _ranks(hits), axis=1)
    return first


def mean_average_precision(hits: Hits, n_relevant: Counts) -> Values:
    """Sum of the precision at each hit over ``min(k, n_rel)`` (Manning et al. 2008, section 8.4, cut off at k)."""
    precisions = np.cumsum(hits, axis=1) / _ranks(hits)
    return _per_user(hits * precisions) / np.minimum(hits.shape[1], n_relevant).astype(np.float64)


def ndcg(hits: Hits, n_relevant: Counts) -> Values:
    """Discounted gain over that of the ideal list, with gain 1 per hit and discount ``1 / log2(rank + 1)``.

    The ideal list has its ``min(k, n_rel)`` hits at the top (Järvelin and Kekäläinen 2002, with the discount of
    Burges et al. 2005).
    """
    discounts = 1.0 / np.log2(_ranks(hits) + 1.0)
    ideal: Values = np.cumsum(discounts)[np.minimum(len(discounts), n_relevant) - 1]
    return _per_user(hits * discounts) / ideal


def _ranks(hits: Hits) -> Values:
    return np.arange(1, hits.shape[1] + 1, dtype=np.float64)


def _per_user(gains: NDArray[np.bool_] | Values) -> Values:
    total: Values = np.cumsum(gains, axis=1, dtype=np.float64)[:, -1]
    return total


RANKING_METRICS: dict[str, Callable[[Hits, Counts], Values]] = {
    "precision": precision,
    "recall": recall,
    "hit_rate": hit_rate,
    "mrr": mrr,
    "map": mean_average_precision,
    "ndcg": ndcg,
}
"""Functions by the name that stands before the ``@`` in results."""
