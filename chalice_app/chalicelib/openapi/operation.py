"""What the table of operations consists of; what a route does and its scope are said where it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

NOTHING: Mapping[str, str] = {}


class Example(NamedTuple):
    """A request and its answer.

    Parameters
    ----------
    answer : dict
        Without the request id.
    python : str
        The same with `recsys.client`.
    path : mapping of str to str
        Values in the path; the namespace is shop where it is not told.
    query : str
        What comes after the question mark.
    body : dict, optional
    in_readme : bool
        False for what moves the model in service.
    """

    answer: dict[str, Any]
    python: str = ""
    path: Mapping[str, str] = NOTHING
    query: str = ""
    body: dict[str, Any] | None = None
    in_readme: bool = True


class Operation(NamedTuple):
    """One method of one route.

    Parameters
    ----------
    method, path : str
    answer : type
        Of the body of an answer in JSON; None where it is never JSON.
    examples : tuple of Example
    body : type, optional
        Of the body of a request.
    parameters : tuple of str
        Of the query and the headers, by their names.
    errors : tuple of int
        Statuses beside those that follow from the rest.
    status : int
    text : str
        Content type of an answer that is no JSON.
    """

    method: str
    path: str
    answer: Any
    examples: tuple[Example, ...] = ()
    body: Any = None
    parameters: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    status: int = 200
    text: str = ""


VERSION = "20260102T030405Z-9f3b2c1d"
U132, I299, I999 = {"user": "u132"}, {"item": "i299"}, {"item": "i999"}


def places(*items: str, reason: str) -> list[dict[str, Any]]:
    """Return items of a list."""
    return [{"item": item, "score": 0.7, "reason": reason} for item in items]


def from_model(strategy: str, **told: Any) -> dict[str, Any]:
    """Return an answer of a model."""
    return {**told, "model_version": VERSION, "strategy": strategy, "degraded": False, "variant": None}


def listed(strategy: str) -> dict[str, Any]:
    """Return a list that has no second page."""
    return from_model(strategy, items=places("i365", "i041", reason=strategy), cursor=None)
