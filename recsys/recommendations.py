"""What every search returns: rows and scores of the best items, one list per query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.ids import IdMap


@dataclass(frozen=True, eq=False)
class Recommendations:
    """Ranked lists of items.

    Parameters
    ----------
    rows : ndarray of shape (n_queries, k), int32
        Item rows, best first, ties by ascending row; padded with -1 where fewer than k items qualify.
    scores : ndarray of shape (n_queries, k), float32
        Their scores; padded with -inf.
    items : IdMap
        External ids of the item rows.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    items: IdMap

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Show the beginning of the first three lists."""
        n, k = self.rows.shape
        first = Recommendations(self.rows[:3, :5], self.scores[:3, :5], self.items).lists()
        lines = [", ".join(f"{item} {score:.4g}" for item, score in one) or "(empty)" for one in first]
        return "\n  ".join([f"Recommendations({n:,} lists, k={k})", *lines, *(["..."] if n > 3 else [])])

    def lists(self) -> list[list[tuple[str, float]]]:
        """``(external item id, score)`` of each list, without the padding."""
        return [
            [(self.items.id(row), score) for row, score in zip(rows, scores, strict=True) if row >= 0]
            for rows, scores in zip(self.rows.tolist(), self.scores.tolist(), strict=True)
        ]
