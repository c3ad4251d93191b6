"""`Negatives`: the distribution that ranking losses draw items from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Negatives:
    """The distribution negatives are drawn from: ``q_i`` in proportion to ``max(1, count_i) ** exponent``.

    Parameters
    ----------
    threshold, alias : ndarray of shape (n_items,), uint32 and int32, or None
        Alias table (Walker 1977): a slot drawn evenly stands for itself where 32 random bits are below its threshold,
        else for its alias. None when all items are alike.
    log_q : ndarray of shape (n_items,), float32
    """

    threshold: NDArray[np.uint32] | None
    alias: NDArray[np.int32] | None
    log_q: NDArray[np.float32]

    @classmethod
    def of(cls, counts: NDArray[np.float32], exponent: float) -> Negatives:
        """Distribution over items that have `counts` users each; nobody's items can be drawn too."""
        weight = np.maximum(counts, 1).astype(np.float64) ** exponent
        q = weight / weight.sum()
        threshold, alias = alias_table(q) if exponent else (None, None)
        return cls(threshold, alias, np.log(q).astype(np.float32))


def alias_table(q: NDArray[np.float64]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Thresholds and aliases that turn even draws of a slot into draws from `q`.

    Items below the mean leave a gap in their slot, the others have a surplus. Laid end to end in one order, each gap is
    filled by the surplus it begins in; the item whose surplus ends within a gap is thereby left with a gap of its own,
    as long as what ran over, and the next one fills it. So all gaps are filled without a loop.
    """
    filled = q * len(q)
    is_below = filled < min(1.0, filled.max())
    below, above = np.flatnonzero(is_below), np.flatnonzero(~is_below)
    gaps, surpluses = np.append(0, np.cumsum(1 - filled[below])), np.cumsum(filled[above] - 1)
    share, alias = np.ones(len(q)), np.arange(len(q), dtype=np.int32)
    share[below] = filled[below]
    alias[below] = above[np.minimum(np.searchsorted(surpluses, gaps[:-1], side="right"), len(above) - 1)]
    end = np.minimum(np.searchsorted(gaps, surpluses[:-1]), len(below))  # of the gap each surplus ends in
    share[above[:-1]], alias[above[:-1]] = np.clip(1 - (gaps[end] - surpluses[:-1]), 0, 1), above[1:]
    return np.minimum(share * 2.0**32, 2.0**32 - 1).astype(np.uint32), alias
