"""The bodies of answers, as the OpenAPI document describes them; the tests decode every answer into these."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from chalicelib.bodies import Id, Kind

VERSION = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
Count = Annotated[int, msgspec.Meta(ge=0)]
Version = Annotated[str, msgspec.Meta(pattern=VERSION)]
RequestId = Annotated[str, msgspec.Meta(description="Id of the request in the log")]


class Out(msgspec.Struct, forbid_unknown_fields=True):
    """What every answer has."""

    request_id: RequestId


class ListedOut(msgspec.Struct, forbid_unknown_fields=True):
    """An item of a list; `reason` says why it is there."""

    item: Id
    score: float
    reason: str
    propensity: Annotated[float, msgspec.Meta(gt=0, le=1)] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    raw_score: float | UnsetType = UNSET
    explanation: list["PartOut"] | UnsetType = UNSET


class FromModelOut(Out):
    """From which version an answer is, and how; `degraded` where something it should have used was out of reach."""

    model_version: Version
    strategy: str
    degraded: bool
    variant: Annotated[str | None, msgspec.Meta(description="Of the experiment, null without one")]


class ListOut(FromModelOut):
    """A list, best first: exactly `k` items wherever the catalogue and the rules allow it."""

    items: list[ListedOut]
    cursor: Annotated[str | None, msgspec.Meta(description="Of the next page; none after the last")]


class PartOut(msgspec.Struct, forbid_unknown_fields=True):
    """What a source adds to a score, and the name of the feature or past item where it has one."""

    source: str
    name: str
    value: float


class ScoreOut(msgspec.Struct, forbid_unknown_fields=True):
    """The prediction for an item; with `explain` also what it consists of."""

    item: Id
    score: float
    raw_score: float | UnsetType = UNSET
    explanation: list[PartOut] | UnsetType = UNSET


class ScoresOut(FromModelOut):
    """Predictions in the order they were asked for."""

    items: list[ScoreOut]


class RowOut(msgspec.Struct, forbid_unknown_fields=True):
    """Items like one that the user liked."""

    because: Id
    items: list[ListedOut]


class RowsOut(FromModelOut):
    """Rows, of the item liked last first; none for somebody of whom nothing is known."""

    rows: list[RowOut]


class PartAnswerOut(msgspec.Struct, forbid_unknown_fields=True):
    """Status and body that a request of a batch would have had alone."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    body: dict[str, Any]


class BatchOut(Out):
    """An answer for each request, in order; one that fails is a problem in its place."""

    answers: list[PartAnswerOut]


class EventsOut(Out):
    """How many events were new and are stored; the others were known, or of before the erasure of their user."""

    accepted: Count
    duplicates: Count


class ItemOut(Out):
    """What is known of an item."""

    item: Id
    metadata: dict[str, Any]


class DeletedItemOut(Out):
    """An item that is in no list."""

    item: Id
    deleted: Literal[True]


class FieldsOut(Out):
    """The declared fields."""

    fields: dict[str, Kind]


class LiveOut(Out):
    """The process answers."""

    status: Literal["live"]


class ReadyOut(Out):
    """The stores answer and the models are warm."""

    status: Literal["ready"]


class ProblemOut(msgspec.Struct, forbid_unknown_fields=True):
    """An error (RFC 9457): `detail` says what is wrong, `field` where."""

    type: Literal["about:blank"]
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str
    request_id: RequestId
    field: str | UnsetType = UNSET
