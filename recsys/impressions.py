"""`ImpressionEvent`: a list that was shown, and how likely each of its items was; nothing a user did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from recsys.errors import DataError
from recsys.events import check_time
from recsys.ids import encode_id

MAX_SHOWN = 500
MAX_BYTES = 200_000
"""Of a row as ASCII JSON: so much goes through any queue."""


class Shown(NamedTuple):
    """An item at its place of a list, and the probability that it was there if the answer said one."""

    item: str
    propensity: float | None = None


@dataclass(frozen=True)
class ImpressionEvent:
    """A list was shown to a user.

    Parameters
    ----------
    event_id : str
        Chosen by the sender; the same id sent again is the same event.
    user : str
        Who saw it; for somebody unknown the id of the session.
    timestamp_s : float
        UTC seconds since 1970.
    request_id, model_version : str
        Of the answer that is shown.
    items : tuple of Shown
        As shown, the first one first: 1 to 500, none twice.
    variant, strategy : str, optional
        Of the answer.

    Raises
    ------
    DataError
        Naming the field that cannot be used.
    """

    event_id: str
    user: str
    timestamp_s: float
    request_id: str
    model_version: str
    items: tuple[Shown, ...]
    variant: str | None = None
    strategy: str | None = None

    def __post_init__(self) -> None:
        """Validate, so that whatever is stored can be read by every worker."""
        for name in ("event_id", "user", "request_id", "model_version", "variant", "strategy"):
            value = getattr(self, name)
            if value is not None or name not in ("variant", "strategy"):
                encode_id(value, name)
        check_time(self.timestamp_s)
        if not 1 <= len(self.items) <= MAX_SHOWN:
            raise DataError(f"are 1 to {MAX_SHOWN}, not {len(self.items)}", field="items")
        for place, one in enumerate(self.items):
            encode_id(one.item, f"items[{place}].item")
            if one.propensity is not None and not 0 < one.propensity <= 1:
                reason = "is a probability, above 0 and at most 1; leave out what is not known"
                raise DataError(reason, field=f"items[{place}].propensity")
        if len({one.item for one in self.items}) < len(self.items):
            raise DataError("hold an item twice", field="items")
        if (size := len(json.dumps(self.row()))) > MAX_BYTES:
            raise DataError(f"have ids of {size:,} bytes; {MAX_BYTES:,} are the most", field="items")

    def row(self) -> dict[str, Any]:
        """Return what is stored, sent through queues and logged: the columns of the log, JSON through and through."""
        return {
            "event_id": self.event_id,
            "user_id": self.user,
            "ts": round(self.timestamp_s * 1e6),
            "request_id": self.request_id,
            "model_version": self.model_version,
            "variant": self.variant,
            "strategy": self.strategy,
            "items": [{"item_id": one.item, "propensity": one.propensity} for one in self.items],
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> ImpressionEvent:
        """Read what `row` returned; `DataError` if it is anything else."""
        try:
            told = dict(row)
            items = tuple(Shown(one["item_id"], one["propensity"]) for one in told.pop("items"))
            return cls(user=told.pop("user_id"), timestamp_s=told.pop("ts") / 1e6, items=items, **told)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"is no impression of this release: {type(error).__name__}") from None
