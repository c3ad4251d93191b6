"""`Dataset`, what a model is fitted on, and `Split`, what it is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.described import context_features, context_records, described
from recsys.data.features import Encoders, Features
from recsys.data.interactions import Interactions
from recsys.encoding import Record
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
    user_features, item_features : Features, optional
        What is known of users and items besides their ids, a row for each; see `with_features`.
    context : Features, optional
        Distinct circumstances of events.
    context_rows : ndarray of shape (n_interactions,), int32, optional
        Row of `context` of each of `interactions`.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> data = Dataset.from_interactions(interactions_from_tuples([("anna", "tea", 2.0), ("bo", "tea", 1.0)]))
    >>> data.user_items.toarray().tolist()
    [[2.0], [1.0]]
    """

    interactions: Interactions
    history: Interactions | None = None
    user_features: Features | None = None
    item_features: Features | None = None
    context: Features | None = None
    context_rows: NDArray[np.int32] | None = None

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

    def with_features(
        self,
        *,
        users: Mapping[str, Record] | None = None,
        user_fields: Sequence[str] = (),
        items: Mapping[str, Record] | None = None,
        item_fields: Sequence[str] = (),
        context_fields: Sequence[str] = (),
        known: Encoders | None = None,
    ) -> Dataset:
        """Return the dataset with features of users, items and contexts.

        Users and items that only the tables know are appended to the ids: nobody has met them, but what is known of
        them may be enough. Contexts are those of the interactions; ``hour``, ``weekday`` and ``month`` (UTC) come from
        the time of an event where its context has no such field.

        Parameters
        ----------
        users, items : mapping of str to mapping, optional
            External id to fields; needed where fields are asked for.
        user_fields, item_fields, context_fields : sequence of str
            Fields as `Encoder.fit` takes them.
        known : Encoders, optional
            Of an earlier fit: extended instead of fitted anew, so that known features keep their place in a field.

        Raises
        ------
        ConfigError
            If a field exists in no record, cannot be read, or is not the one of the earlier fit; or if time fields are
            asked for and there are no times.
        DataError
            If a value is of a wrong type for its field.

        Examples
        --------
        >>> from recsys.data import Dataset, interactions_from_tuples
        >>> data = Dataset.from_interactions(interactions_from_tuples([("anna", "tea", 2.0)]))
        >>> data = data.with_features(items={"tea": {"tags": ["hot"]}, "cola": {"tags": []}}, item_fields=["tags"])
        >>> data.items.ids(), data.item_features.matrix.to_csr().toarray().tolist()
        (['tea', 'cola'], [[1.0], [0.0]])
        """
        known = known or Encoders()
        user_ids, user_features = described("user", self.users, users, user_fields, known.user)
        item_ids, item_features = described("item", self.items, items, item_fields, known.item)
        interactions = replace(self.interactions, users=user_ids, items=item_ids)
        history = None if self.history is None else replace(self.history, users=user_ids, items=item_ids)
        dataset = Dataset(interactions, history, user_features, item_features)
        if not context_fields:
            return dataset
        context, rows = context_features(interactions, context_fields, known.context)
        return replace(dataset, context=context, context_rows=rows)

    @property
    def encoders(self) -> Encoders:
        """Encoders of the features, for a later fit."""
        sides = (self.user_features, self.item_features, self.context)
        return Encoders(*(None if one is None else one.encoder for one in sides))

    def join(self, later: Interactions) -> Dataset:
        """Return the dataset with later events, in any maps; known ids keep their rows.

        Features stay as they were fitted: a new user or item has none, and neither has a value of a context that no
        earlier one had. `with_features` with the `encoders` of this one learns them.
        """
        joined = self.interactions.join(later)
        history = None if self.history is None else self.history.join(later)
        dataset = Dataset.from_interactions(joined, history)
        users, items, context, rows = self.user_features, self.item_features, self.context, self.context_rows
        if users is not None:
            users = users.append([{}] * (len(joined.users) - len(self.users)))
        if items is not None:
            items = items.append([{}] * (len(joined.items) - len(self.items)))
        if context is not None and rows is not None:
            records, added = context_records(later, context.encoder.names)
            rows = np.append(rows, added + np.int32(len(context.matrix)))
            context = context.append(records)
        return replace(dataset, user_features=users, item_features=items, context=context, context_rows=rows)

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
            self.interactions, user=user, item=item, weight=np.ones(len(user), np.float32), timestamp=None, context=None
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
