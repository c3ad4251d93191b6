"""`InteractionEvent`: one thing a user did, as it is sent, stored and folded in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys.errors import DataError
from recsys.ids import encode_id

YEAR_2100_S = 4_102_444_800
LARGEST_VALUE = 1e30  # leaves room for sums in float32
LARGEST_CONTEXT_BYTES = 4096


def check_time(timestamp_s: float) -> None:
    """Raise `DataError` if something that is told cannot have been then."""
    if not 0 <= timestamp_s < YEAR_2100_S:
        raise DataError(f"{timestamp_s} is not a time in UTC seconds between 1970 and 2100", field="timestamp")


def context_text(context: Mapping[str, object]) -> str:
    """Write a context as canonical JSON: equal contexts are equal text.

    Keys are sorted and nothing is between the signs. Values are text, finite numbers, booleans or lists of text.

    Raises
    ------
    DataError
        Naming the field, as ``context.device``, that is none of these, or if it all has more than 4,096 bytes.

    Examples
    --------
    >>> context_text({"hour": 9, "device": "phone"})
    '{"device":"phone","hour":9}'
    """
    if not isinstance(context, Mapping):
        raise DataError(f"is an object of fields, not {type(context).__name__}", field="context")
    for name, value in context.items():
        is_list = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        is_number = isinstance(value, int | float) and abs(value) <= LARGEST_VALUE
        if not (isinstance(name, str) and name and (isinstance(value, str) or is_number or is_list)):
            reason = "is text, a finite number, true, false or a list of text; leave out what is not known"
            raise DataError(reason, field=f"context.{name}")
    text = json.dumps(context, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise DataError("holds a lone surrogate, which is not text", field="context") from None
    if size > LARGEST_CONTEXT_BYTES:
        raise DataError(f"has {size:,} bytes; {LARGEST_CONTEXT_BYTES:,} are the most", field="context")
    return text


@dataclass(frozen=True)
class InteractionEvent:
    """A user did something with an item.

    Parameters
    ----------
    event_id : str
        Chosen by the sender; the same id sent again is the same event.
    user, item : str
        External ids.
    timestamp_s : float
        UTC seconds since 1970.
    event : str
        What it was: view, purchase, rating, ...
    value : float
        Raw weight, 0 or more: 1 for a view, the stars of a rating, the number bought.
    context : mapping, optional
        Under which circumstances, as `context_text` allows; an empty one is none.

    Raises
    ------
    DataError
        Naming the field that cannot be used.
    """

    event_id: str
    user: str
    item: str
    timestamp_s: float
    event: str = "interaction"
    value: float = 1.0
    context: Mapping[str, object] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        """Validate, so that whatever is stored can be read by every worker."""
        for name in ("event_id", "user", "item", "event"):
            encode_id(getattr(self, name), name)
        if not 0 <= self.value <= LARGEST_VALUE:
            raise DataError(f"{self.value} is not a weight: it must be 0 or more and finite", field="value")
        if self.context is not None:
            context_text(self.context)
            object.__setattr__(self, "context", self.context or None)
        check_time(self.timestamp_s)
