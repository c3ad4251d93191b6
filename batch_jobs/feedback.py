"""What came of what was shown: impressions and events of the log side by side, row by row and user by user."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.evaluation.ab_test import Metric
from recsys.evaluation.off_policy import LoggedImpressions
from recsys.ids import IdMap

Rows = NDArray[np.int64]
CLICK_THROUGH, CONVERSIONS, VALUE = "click_through", "conversions_per_user", "value_per_user"


@dataclass(frozen=True, eq=False)
class Feedback:
    """One row per item shown, in columns.

    Parameters
    ----------
    users, items, variants : pyarrow.Array of str
        Names by number.
    user, item, variant, impression, place : ndarray of int64
        Numbers of a row: a variant of -1 is none, an impression is a list, a place one of its positions.
    propensity : ndarray of float64
        NaN where none was logged.
    acted : ndarray of bool
        Whether an event of any kind is due to the row.
    conversions, value : ndarray of float64
        Events of the kind that counts, and the sum of their values, due to the row.
    """

    users: pa.Array
    items: pa.Array
    variants: pa.Array
    user: Rows
    item: Rows
    variant: Rows
    impression: Rows
    place: Rows
    propensity: NDArray[np.float64]
    acted: NDArray[np.bool_]
    conversions: NDArray[np.float64]
    value: NDArray[np.float64]

    @classmethod
    def of(cls, shown: pa.Table, events: pa.Table, *, kind: str | None, window_s: float) -> Feedback:
        """Find what events are due to.

        An event that names its request in its context, as ``request_id``, is due to that list, if it had the item and
        the same user saw it; any other one to the last list before it, not longer than the window, that had.

        Parameters
        ----------
        shown : pyarrow.Table
            Of `IMPRESSION_SCHEMA`.
        events : pyarrow.Table
            Of `EVENT_SCHEMA`.
        kind : str, optional
            Of the events that are conversions; without it all are.
        window_s : float
        """
        lists = np.asarray(pc.list_parent_indices(shown["items"]), np.int64)
        lengths = pc.list_value_length(shown["items"]).to_numpy()
        flat = pc.list_flatten(shown["items"]).combine_chunks()
        place = np.arange(len(lists)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        user, acting, users = _numbered(shown["user_id"], events["user_id"])
        item, acted_on, items = _numbered(flat.field("item_id"), events["item_id"])
        request, naming, _ = _numbered(shown["request_id"], _requests(events["context"]))
        variant, _, variants = _numbered(shown["variant"], pa.chunked_array([], pa.string()))
        pair, act_pair = user[lists] * len(items) + item, acting * len(items) + acted_on
        moment, act_moment = _seconds(shown["ts"])[lists], _seconds(events["ts"])
        due = _due(pair, moment, act_pair, act_moment, window_s)
        named = _due_by_request(request[lists], pair, naming, act_pair)
        due = np.where(named >= 0, named, due)
        counted = due >= 0
        if kind is not None:
            counted &= pc.equal(events["event"], kind).to_numpy()
        values = events["value"].to_numpy().astype(np.float64)
        n = len(lists)
        return cls(
            users, items, variants, user[lists], item, variant[lists], lists, place,
            flat.field("propensity").to_numpy(zero_copy_only=False),
            np.bincount(due[due >= 0], minlength=n) > 0,
            np.bincount(due[counted], minlength=n).astype(np.float64),
            np.bincount(due[counted], values[counted], minlength=n).astype(np.float64),
        )  # fmt: skip

    def split(self) -> tuple[dict[str, NDArray[np.bool_]], int]:
        """Return the rows of each variant by its name, without the users of several variants, and how many these are.

        Rows without a variant are in none.
        """
        told = np.unique(np.stack([self.user, self.variant])[:, self.variant >= 0], axis=1)
        user, variants = np.unique(told[0], return_counts=True)
        torn = np.zeros(len(self.users), bool)
        torn[user[variants > 1]] = True
        names = enumerate(self.variants.to_pylist())
        return {name: (self.variant == number) & ~torn[self.user] for number, name in names}, int(torn.sum())

    def metrics(self, rows: NDArray[np.bool_]) -> dict[str, Metric]:
        """Return what is compared, user by user, over some rows."""
        _, user = np.unique(self.user[rows], return_inverse=True)

        def total(column: NDArray[Any]) -> NDArray[np.float64]:
            return np.bincount(user, column[rows]).astype(np.float64)

        places = total(np.ones(len(rows)))
        one = np.ones(len(places))
        return {
            CLICK_THROUGH: (total(self.acted), places),
            CONVERSIONS: (total(self.conversions), one),
            VALUE: (total(self.value), one),
        }

    def logged(self, rows: NDArray[np.bool_]) -> LoggedImpressions | None:
        """Return the rows that were logged with a propensity, and the conversions due to them; None if none was."""
        rows = rows & ~np.isnan(self.propensity)
        if not rows.any():
            return None
        return LoggedImpressions(
            IdMap.from_ids(self.users.to_pylist()),
            IdMap.from_ids(self.items.to_pylist()),
            self.user[rows].astype(np.int32),
            self.item[rows].astype(np.int32),
            self.conversions[rows],
            self.propensity[rows],
            self.impression[rows],
            self.place[rows].astype(np.int32),
        )


def _numbered(some: pa.ChunkedArray | pa.Array, others: pa.ChunkedArray) -> tuple[Rows, Rows, pa.Array]:
    """Return numbers for the texts of two columns, -1 for null, and the texts by number."""
    chunks = [*(some.chunks if isinstance(some, pa.ChunkedArray) else [some]), *others.chunks]
    encoded = pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes[: len(some)], codes[len(some) :], encoded.dictionary


def _requests(contexts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return what contexts say under ``request_id``."""
    told = [
        json.loads(one).get("request_id") if one and '"request_id"' in one else None for one in contexts.to_pylist()
    ]
    return pa.chunked_array([[one if isinstance(one, str) else None for one in told]], pa.string())


def _seconds(times: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return times as numbers, NaN for none."""
    numbers = times.cast(pa.int64()).to_numpy()
    return np.asarray(numbers, np.float64) / 1e6


def _due(
    pair: Rows, moment: NDArray[np.float64], act_pair: Rows, act_moment: NDArray[np.float64], window_s: float
) -> Rows:
    """Return the last row of the same pair before each act, -1 where there is none within the window."""
    _, pairs = np.unique(np.concatenate([pair, act_pair]), return_inverse=True)
    times, ranks = np.unique(np.concatenate([moment, act_moment]), return_inverse=True)
    keys = pairs.astype(np.int64) * len(times) + ranks
    order = np.argsort(keys[: len(pair)], kind="stable")
    at = np.searchsorted(keys[: len(pair)][order], keys[len(pair) :], side="right") - 1
    found = order[at] if len(order) else at
    fits = (at >= 0) & (len(order) > 0)
    fits[fits] = (pair[found[fits]] == act_pair[fits]) & (act_moment[fits] - moment[found[fits]] <= window_s)
    return np.where(fits, found, -1)


def _due_by_request(request: Rows, pair: Rows, naming: Rows, act_pair: Rows) -> Rows:
    """Return the first row of the same request and pair for each act, -1 where there is none."""
    _, pairs = np.unique(np.concatenate([pair, act_pair]), return_inverse=True)
    width = int(pairs.max()) + 1 if len(pairs) else 1
    keys, first = np.unique(request * width + pairs[: len(pair)], return_index=True)
    wanted = naming * width + pairs[len(pair) :]
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    return np.where((naming >= 0) & (keys[at] == wanted), first[at], -1) if len(keys) else np.full(len(naming), -1)
