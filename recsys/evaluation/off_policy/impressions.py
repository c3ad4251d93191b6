"""`LoggedImpressions`: what was shown, how likely that was, and what came of it, as columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError, InsufficientDataError
from recsys.ids import IdMap


@dataclass(frozen=True, eq=False)
class LoggedImpressions:
    """One row per item shown, in columns; a list of k items is k rows with one request.

    Parameters
    ----------
    users, items : IdMap
        External ids, those of the models to be judged.
    user : ndarray of shape (n,), int32
        Who asked, as rows of `users`. Users are independent of each other, the requests of one are not. Where nothing
        is known of users, every request is a user.
    item : ndarray of shape (n,), int32
        What was shown, as rows of `items`; -1 for an item that is not in them, which the models cannot show.
    reward : ndarray of shape (n,), float64
        What came of it, finite: 1 for a click, the price of what was bought.
    propensity : ndarray of shape (n,), float64
        Probability, above 0 and at most 1, with which the logging policy showed this item to this user at this
        position, whatever stood elsewhere in the list.
    request, position : ndarray of shape (n,), int64 and int32, optional
        Which list a row is of, by any numbers (``np.unique(ids, return_inverse=True)[1]`` of request ids), and its
        place there, 0 first. Without them every row is a request.

    Raises
    ------
    DataError
        Naming column and row, if a column has another length or dtype or a value that cannot be, if a position occurs
        twice in a request, or if a request has two users.
    InsufficientDataError
        If there is no row.

    Examples
    --------
    >>> from recsys.data import Dataset, interactions_from_tuples
    >>> data = Dataset.from_interactions(interactions_from_tuples([("anna", "tea", 1.0), ("bo", "milk", 1.0)]))
    >>> LoggedImpressions(
    ...     users=data.users,
    ...     items=data.items,
    ...     user=data.users.encode(["anna", "anna", "bo"]),
    ...     item=data.items.encode(["tea", "milk", "tea"]),
    ...     reward=np.array([1.0, 0.0, 1.0]),
    ...     propensity=np.array([0.9, 0.1, 0.5]),
    ... )
    LoggedImpressions(3 rows, 3 requests of 2 users, reward 0.6667 per request)
    """

    users: IdMap
    items: IdMap
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    reward: NDArray[np.float64]
    propensity: NDArray[np.float64]
    request: NDArray[np.int64] | None = None
    position: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        """Validate once, so that nothing downstream has to."""
        if not len(self.user):
            raise InsufficientDataError("there are no impressions to judge a policy by", field="user")
        dtypes = {"user": np.int32, "item": np.int32, "reward": np.float64, "propensity": np.float64}
        for name, dtype in dtypes.items():
            _check_column(name, getattr(self, name), dtype, len(self))
        check_rows("user", self.user, (self.user >= 0) & (self.user < len(self.users)), "is no row of users")
        check_rows("item", self.item, (self.item >= -1) & (self.item < len(self.items)), "is no row of items, nor -1")
        check_rows("reward", self.reward, np.isfinite(self.reward), "is not finite")
        valid = (self.propensity > 0) & (self.propensity <= 1)
        check_rows("propensity", self.propensity, valid, "is no probability above 0 and at most 1")
        if (self.request is None) != (self.position is None):
            raise DataError("a list needs both, which request it is and the position", field="request")
        if self.request is not None and self.position is not None:
            self._check_lists(self.request, self.position)

    def _check_lists(self, request: NDArray[np.int64], position: NDArray[np.int32]) -> None:
        _check_column("request", request, np.int64, len(self))
        _check_column("position", position, np.int32, len(self))
        check_rows("position", position, position >= 0, "is below 0")
        order = np.lexsort((position, request))
        same = request[order][1:] == request[order][:-1]
        for name, column, wrong, reason in (
            ("position", position, np.diff(position[order]) == 0, "occurs twice in its request"),
            ("user", self.user, np.diff(self.user[order]) != 0, "is another one than the rest of the request has"),
        ):
            valid = np.ones(len(self), bool)
            valid[order[1:]] = ~(same & wrong)
            check_rows(name, column, valid, reason)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.user)

    def __repr__(self) -> str:
        """Show sizes and the mean reward, not the columns."""
        users = len(np.unique(self.user))
        mean = self.reward.sum() / self.n_requests
        return f"LoggedImpressions({len(self):,} rows, {self.n_requests:,} requests of {users:,} users, " + (
            f"reward {mean:.4g} per request)"
        )

    @cached_property
    def request_numbers(self) -> NDArray[np.int64]:
        """Request of each row, numbered from 0."""
        if self.request is None:
            return np.arange(len(self))
        return np.unique(self.request, return_inverse=True)[1]

    @property
    def n_requests(self) -> int:
        """Number of requests: what a value is the mean over."""
        return int(self.request_numbers.max()) + 1

    @cached_property
    def places(self) -> NDArray[np.int32]:
        """Position of each row, 0 where there are no lists."""
        return np.zeros(len(self), np.int32) if self.position is None else self.position

    def select(self, rows: NDArray[Any]) -> LoggedImpressions:
        """Return the rows of a mask or an index array; the maps stay as they are."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            reward=self.reward[rows],
            propensity=self.propensity[rows],
            request=None if self.request is None else self.request[rows],
            position=None if self.position is None else self.position[rows],
        )


def check_rows(name: str, column: NDArray[Any], valid: NDArray[np.bool_], reason: str) -> None:
    """Raise `DataError` naming the column and the first row that is not valid."""
    if not valid.all():
        row = int(np.argmin(valid))
        raise DataError(f"row {row}, {column[row]}, {reason}", field=name)


def _check_column(name: str, column: NDArray[Any], dtype: type, length: int) -> None:
    if column.dtype != dtype or column.shape != (length,):
        raise DataError(
            f"is {column.dtype} of shape {column.shape}; expected {np.dtype(dtype)} of shape ({length},)", field=name
        )
