"""`InteractionEvent`: one thing a user did, as it is sent, stored and folded in."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.errors import DataError
from recsys.ids import encode_id

YEAR_2100_S = 4_102_444_800
LARGEST_VALUE = 1e30  # leaves room for sums in float32


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

    def __post_init__(self) -> None:
        """Validate, so that whatever is stored can be read by every worker."""
        for name in ("event_id", "user", "item", "event"):
            try:
                encode_id(getattr(self, name))
            except DataError as error:
                raise DataError(error.reason, field=name) from None
        if not 0 <= self.value <= LARGEST_VALUE:
            raise DataError(f"{self.value} is not a weight: it must be 0 or more and finite", field="value")
        if not 0 <= self.timestamp_s < YEAR_2100_S:
            raise DataError(f"{self.timestamp_s} is not a time in UTC seconds between 1970 and 2100", field="timestamp")
