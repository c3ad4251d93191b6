"""The bodies of answers about users, models, experiments and the process itself."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from chalicelib.bodies import Id
from chalicelib.openapi.answers import Count, Out, Version

Sequence = Annotated[int, msgspec.Meta(ge=1, description="Of the pointer; one more with every move")]


class HeldEventOut(msgspec.Struct, forbid_unknown_fields=True):
    """An event as it is stored."""

    event_id: Id
    item: Id
    event: Id
    value: float
    timestamp: float


class UserOut(Out):
    """What is held of a user: of `history_total` events the newest 200, newest first."""

    user: Id
    profile: dict[str, Any]
    history: list[HeldEventOut]
    history_total: Count
    trained: Annotated[bool, msgspec.Meta(description="Whether the model in service was trained with the user")]
    model_version: Version


class RemovedOut(msgspec.Struct, forbid_unknown_fields=True):
    """What was removed of a user at once."""

    events: Count
    states: Count
    profile: bool


class ErasedOut(Out):
    """What was removed, and what jobs remove; it is in no answer and no training from now on."""

    user: Id
    erased: RemovedOut
    pending: list[str]


class ModelOut(msgspec.Struct, forbid_unknown_fields=True):
    """A version that is or was in service."""

    version: Version
    kind: str
    created_at: str
    metrics: dict[str, float]
    in_service: bool


class ModelsOut(Out):
    """Versions, newest first."""

    models: list[ModelOut]


class MovedOut(Out):
    """What is in service after a move of the pointer; `previous` is 0 where there was nothing before."""

    version: Version
    sequence: Sequence
    previous: Count


class CurrentModelOut(MovedOut):
    """The version in service."""

    kind: str
    created_at: str
    metrics: dict[str, float]
    in_service: Literal[True]


class ExploringOut(msgspec.Struct, forbid_unknown_fields=True):
    """Places filled at random."""

    kind: Literal["epsilon"]
    epsilon: float
    pool: int


class VariantOut(msgspec.Struct, forbid_unknown_fields=True):
    """One way to answer, for a share of the users."""

    name: str
    share: float
    version: str
    exploration: ExploringOut | None


class SplitOut(msgspec.Struct, forbid_unknown_fields=True):
    """An experiment; `ended_at` where it was ended."""

    name: str
    salt: str
    variants: list[VariantOut]
    started_at: str
    ended_at: str | UnsetType = UNSET


class ExperimentOut(Out):
    """The last experiment, null where there never was one."""

    experiment: SplitOut | None


class RouteOut(msgspec.Struct, forbid_unknown_fields=True):
    """What was answered on a route; times are ends of buckets."""

    route: str
    method: str
    count: Count
    errors: Annotated[int, msgspec.Meta(ge=0, description="Answers of 5xx")]
    p50_ms: float
    p99_ms: float


class MetricsOut(Out):
    """The numbers of this process."""

    since_s: float
    routes: list[RouteOut]
    strategies: dict[str, int]
    degraded: Count
