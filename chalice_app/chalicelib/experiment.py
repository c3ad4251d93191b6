"""The body of PUT experiment."""

from typing import Annotated, Any, Literal

import msgspec
from chalice.app import Request

from chalicelib.bodies import Id, json_body
from recsys.serving.experiments import MAX_EPSILON, MAX_POOL, MAX_VARIANTS


class ExplorationIn(msgspec.Struct, forbid_unknown_fields=True):
    """Places filled at random: each with probability `epsilon`, from the `pool` best items."""

    kind: Literal["epsilon"]
    epsilon: Annotated[float, msgspec.Meta(ge=0, le=MAX_EPSILON)]
    pool: Annotated[int, msgspec.Meta(ge=2, le=MAX_POOL)]


class VariantIn(msgspec.Struct, forbid_unknown_fields=True):
    """One way to answer, for a share of the users."""

    name: Id
    share: Annotated[float, msgspec.Meta(ge=0, le=1)]
    version: Id = "current"
    exploration: ExplorationIn | None = None


class ExperimentIn(msgspec.Struct, forbid_unknown_fields=True):
    """Variants side by side; their shares sum to 1, and the first is what the others are compared with."""

    name: Id
    variants: Annotated[list[VariantIn], msgspec.Meta(min_length=1, max_length=MAX_VARIANTS)]
    salt: Id | None = None


def sent_experiment(request: Request) -> dict[str, Any]:
    """Return the document of the body, its types checked."""
    sent = msgspec.to_builtins(json_body(request, ExperimentIn))
    return {name: value for name, value in sent.items() if value is not None}
