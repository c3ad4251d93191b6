"""From raw event weights to the one number per user and item that a model trains on.

Training and serving must agree on this number to the last bit, or a user folded in at request time is solved from
other data than the model knows. So both call `WeightRule.apply`: cleaning for all users at once, the server for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError, DataError

DUPLICATES = ("sum", "mean", "max", "min", "first", "last", "raise")
TRANSFORMS = ("none", "binary", "log1p", "sqrt")
LARGEST_WEIGHT = float(np.finfo(np.float32).max)


def _name_item(key: int) -> str:
    return f"item {key}"


@dataclass(frozen=True)
class WeightRule:
    """Drop light events, merge the events of one key, transform what they add up to; in this order.

    Parameters
    ----------
    duplicates : {"sum", "mean", "max", "min", "first", "last", "raise"}
        How raw weights of one key become one. First and last are by timestamp, then by position.
    transform : {"none", "binary", "log1p", "sqrt"}
        Applied to the merged weight. Binary gives 1 to every event that is left, so that negative feedback
        has to be dropped by `min_weight`.
    min_weight : float, optional
        Raw events below it are dropped before anything else: a rating under 4 is not positive feedback.
        Compared in float32, in which the weights are stored: a stored 4.1 is not below 4.1.

    Raises
    ------
    ConfigError
        If a name is not one of those above, or `min_weight` is not a finite float32.

    Examples
    --------
    >>> import numpy as np
    >>> rule = WeightRule(duplicates="sum", transform="sqrt")
    >>> rows, weights = rule.apply(np.array([7, 3, 7]), np.array([1, 9, 3], np.float32))
    >>> rows.tolist(), weights.tolist()
    ([1, 2], [3.0, 2.0])
    """

    duplicates: str = "sum"
    transform: str = "none"
    min_weight: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings that no event could be treated by."""
        for name, value, known in (
            ("duplicates", self.duplicates, DUPLICATES),
            ("weight transform", self.transform, TRANSFORMS),
        ):
            if value not in known:
                raise ConfigError(f"{name} is {value!r}. Choose one of {', '.join(known)}")
        # A NaN fails the comparison too.
        if self.min_weight is not None and not abs(self.min_weight) <= LARGEST_WEIGHT:
            raise ConfigError(f"min_weight is {self.min_weight}. Give a finite number, or none")

    def keeps(self, weights: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Mask of the raw events that are heavy enough."""
        floor = -math.inf if self.min_weight is None else self.min_weight
        kept: NDArray[np.bool_] = weights >= np.float32(floor)
        return kept

    def apply(
        self,
        keys: NDArray[np.integer],
        weights: NDArray[np.float32],
        timestamps: NDArray[np.int64] | None = None,
        *,
        name: Callable[[int], str] = _name_item,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Merge the events of each key.

        Parameters
        ----------
        keys : ndarray of shape (n,), integer
            What makes two events duplicates: the item row of one user's events, a number for the pair of many users'.
        weights : ndarray of shape (n,), float32
            Raw and finite.
        timestamps : ndarray of shape (n,), int64, optional
            UTC seconds.
        name : callable, optional
            A key in words, for error messages.

        Returns
        -------
        rows : ndarray of shape (m,), int64
            Position of the latest event of each key that is left, ascending: a merged event stands where, and when,
            its latest one did.
        weights : ndarray of shape (m,), float32
            The merged and transformed weights. Computed in float64 and rounded once, in an order that other keys,
            and the arrival order of events of different seconds, cannot change.

        Raises
        ------
        DataError
            If a key repeats under "raise", a merged weight is negative under log1p or sqrt, or it leaves float32.
        """
        kept = np.flatnonzero(self.keeps(weights))
        if not len(kept):
            return kept, np.empty(0, np.float32)
        keys = keys[kept]
        order = np.argsort(keys, kind="stable") if timestamps is None else np.lexsort((timestamps[kept], keys))
        keys, events = keys[order], kept[order]
        last = np.flatnonzero(np.append(keys[1:] != keys[:-1], True))
        first = np.append(0, last[:-1] + 1)
        if self.duplicates == "raise" and len(last) < len(keys):
            raise _repeated(keys, events, first, last, name)
        merged = self._transformed(self._merged(weights[events].astype(np.float64), first, last), keys[last], name)
        rows = events[last]
        back = np.argsort(rows)
        return rows[back], merged[back]

    def _merged(
        self, values: NDArray[np.float64], first: NDArray[np.int64], last: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        if self.duplicates == "first":
            return values[first]
        if self.duplicates == "last" or len(last) == len(values):
            return values[last]
        if self.duplicates in ("max", "min"):
            best = np.maximum if self.duplicates == "max" else np.minimum
            chosen: NDArray[np.float64] = best.reduceat(values, first)
            return chosen
        # bincount adds one after the other. A blocked sum could depend on where in the array a key happens to lie.
        sizes = last - first + 1
        total = np.bincount(np.repeat(np.arange(len(first)), sizes), weights=values).astype(np.float64, copy=False)
        return total / sizes if self.duplicates == "mean" else total

    def _transformed(
        self, values: NDArray[np.float64], keys: NDArray[np.integer], name: Callable[[int], str]
    ) -> NDArray[np.float32]:
        if self.transform in ("log1p", "sqrt"):
            if values.min() < 0:
                worst = int(values.argmin())
                raise DataError(
                    f"{name(int(keys[worst]))} has the weight {values[worst]:g}, but {self.transform} needs 0 or more",
                    remedy="Set min_weight to 0 or more, or choose another transform",
                )
            values = np.log1p(values) if self.transform == "log1p" else np.sqrt(values)
        elif self.transform == "binary":
            values = np.ones_like(values)
        largest = int(np.abs(values).argmax())
        if not abs(values[largest]) <= LARGEST_WEIGHT:
            raise DataError(
                f"the weights of {name(int(keys[largest]))} merge into {values[largest]:g}, more than float32 holds",
                remedy="Scale the weights down, or choose another way to merge duplicates",
            )
        return values.astype(np.float32)


def _repeated(
    keys: NDArray[np.integer],
    events: NDArray[np.int64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    name: Callable[[int], str],
) -> DataError:
    """Error for the repeated key that the input shows first; the arrays are sorted by key."""
    repeated = np.flatnonzero(last > first)
    shown = np.minimum.reduceat(events, first)[repeated]
    group = repeated[shown.argmin()]
    others = len(repeated) - 1
    return DataError(
        f"{name(int(keys[first[group]]))} stands {last[group] - first[group] + 1} times"
        + (f", and {others:,} more repeat" if others else ""),
        remedy="Remove the repeats, or choose how to merge them: sum, mean, max, min, first or last",
    )
