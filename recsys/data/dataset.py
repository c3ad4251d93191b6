"""`Dataset`, what a model is fitted on, and `Split`, what it is judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.errors import InsufficientDataError
from recsys.ids import IdMap


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions with one row per user and item, ready to train on.

    Build with `from_interactions`; clean first (`recsys.data.clean`) where duplicates should not simply add up.

    Parameters
    ----------
    interactions : Interactions
        What is learned from.
    history : Interactions, optional
        Everything the same users did with the same items, also what cleaning took out: lists leave these items out. A
        film somebody gave one star is no sign of interest, but not to be offered again either. In the same maps.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> data = Dataset.from_interactions(interactions_from_tuples([("anna", "tea", 2.0), ("bo", "tea", 1.0)]))
    >>> data.user_items.toarray().tolist()
    [[2.0], [1.0]]
    """

    interactions: Interactions
    history: Interactions | None = None

    def __repr__(self) -> str:
        """Show size and window."""
        return f"Dataset({self.interactions.described()})"

    @classmethod
    def from_interactions(cls, interactions: Interactions, history: Interactions | None = None) -> Dataset:
        """Wrap interactions, and a history in any maps; `InsufficientDataError` if there are no interactions."""
        if not len(interactions):
            raise InsufficientDataError(
                "there are no interactions to train on", remedy="Check the input and the cleaning settings"
            )
        if history is None:
            return cls(interactions)
        return cls(interactions, history.recode(interactions.users, interactions.items)[0])

    def join(self, later: Interactions) -> Dataset:
        """Return the dataset with later events, in any maps; known ids keep their rows."""
        joined = self.interactions.join(later)
        return Dataset.from_interactions(joined, None if self.history is None else self.history.join(later))

    @property
    def users(self) -> IdMap:
        """External user ids."""
        return self.interactions.users

    @property
    def items(self) -> IdMap:
        """External item ids."""
        return self.interactions.items

    @cached_property
    def user_items(self) -> sp.csr_matrix:
        """Weights, users x items, CSR float32 with sorted indices; duplicates are summed."""
        return self.interactions.to_csr()

    @cached_property
    def seen_items(self) -> sp.csr_matrix:
        """Items lists leave out, users x items, CSR with sorted indices; the values mean nothing."""
        if self.history is None:
            return self.user_items
        both = (self.history, self.interactions)
        user, item = (np.concatenate([getattr(one, name) for one in both]) for name in ("user", "item"))
        return replace(
            self.interactions, user=user, item=item, weight=np.ones(len(user), np.float32), timestamp=None
        ).to_csr()

    @cached_property
    def item_counts(self) -> NDArray[np.float32]:
        """Number of distinct users per item, shape (n_items,)."""
        return np.bincount(self.user_items.indices, minlength=len(self.items)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Split:
    """A training part and the events to be predicted.

    Parameters
    ----------
    train, test : Interactions
        In maps of their own or in common ones; `evaluate` matches them by external id.
    name : str
        The protocol in words, for tables: ``time 0.2``, ``leave-last 1``, ``leave-last 1 by position``,
        ``given``.
    cutoff : int, optional
        UTC seconds; test events are not earlier. None where the protocol has no single cut.
    """

    train: Interactions
    test: Interactions
    name: str
    cutoff: int | None = None
