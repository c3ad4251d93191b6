"""Power-law interactions in seconds and in little memory; `recsys.data.synthetic` invents tastes and times as well."""

import numpy as np
import scipy.sparse as sp

MEAN_HISTORY = 100  # draws of a user; somewhat fewer remain, as nobody has an item twice
USERS_AT_ONCE = 1 << 14


def power_law(draws: int, seed: int = 0) -> sp.csr_matrix:
    """Lognormal histories of users, items by popularity ``rank ** -0.8``, weights 1 to 5; 2.5 users to an item."""
    rng = np.random.default_rng(seed)
    n_users = draws // MEAN_HISTORY
    n_items = n_users * 2 // 5
    spread = rng.lognormal(size=n_users)
    lengths = np.maximum(1, MEAN_HISTORY * spread / spread.mean()).astype(np.int64)
    names = rng.permutation(n_items)  # so that an item's row says nothing about its popularity
    indices, counts = [], []
    for start in range(0, n_users, USERS_AT_ONCE):
        part = lengths[start : start + USERS_AT_ONCE]
        u = rng.random(part.sum())
        ranks = (n_items * (u * u) * (u * u) * u).astype(np.int64)  # the distribution function is (rank / n) ** 0.2
        keys = np.unique(np.repeat(np.arange(len(part)), part) * n_items + names[ranks])
        indices.append((keys % n_items).astype(np.int32))
        counts.append(np.bincount(keys // n_items, minlength=len(part)))
    columns, indptr = np.concatenate(indices), np.append(0, np.cumsum(np.concatenate(counts)))
    weights = rng.integers(1, 6, len(columns)).astype(np.float32)
    return sp.csr_matrix((weights, columns, indptr), shape=(n_users, n_items))
