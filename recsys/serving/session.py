"""What somebody does in a session, as a request tells it."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.errors import DataError
from recsys.events import LARGEST_VALUE
from recsys.ids import encode_id


@dataclass(frozen=True)
class SessionEvent:
    """Something done in this session, sent with the request and not stored.

    Parameters
    ----------
    item : str
    value : float
        Raw weight, as that of an `InteractionEvent`.

    Raises
    ------
    DataError
        Naming the field that cannot be used.
    """

    item: str
    value: float = 1.0

    def __post_init__(self) -> None:
        """Validate."""
        encode_id(self.item, "item")
        if not 0 <= self.value <= LARGEST_VALUE:
            raise DataError(f"{self.value} is not a weight: it must be 0 or more and finite", field="value")
