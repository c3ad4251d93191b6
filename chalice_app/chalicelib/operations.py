"""The routes as a table: who may call them, what goes in and comes out, and an example that works on the sample.

The OpenAPI document, the examples of the README and the tests are made from it. What a route does stands in the
docstring of its view.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib import schemas
from chalicelib.bodies import AskIn, EventsIn, FieldsIn, ScoresIn

Metadata = dict[str, Any]
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
    """

    answer: dict[str, Any]
    python: str = ""
    path: Mapping[str, str] = NOTHING
    query: str = ""
    body: dict[str, Any] | None = None


class Operation(NamedTuple):
    """One method of one route.

    Parameters
    ----------
    method, path : str
    scope : {"read", "write", "admin"}, optional
        Of the credential; None for what is public.
    answer : type
        Of the body of an answer.
    examples : tuple of Example
    body : type, optional
        Of the body of a request.
    lists : bool
        Takes ``?k=`` and rules as parameters.
    status : int
    media : str
        Content type of the answer.
    """

    method: str
    path: str
    scope: str | None
    answer: Any
    examples: tuple[Example, ...] = ()
    body: Any = None
    lists: bool = False
    status: int = 200
    media: str = "application/json"


VERSION = "20260102T030405Z-9f3b2c1d"
U132, I299, I999 = {"user": "u132"}, {"item": "i299"}, {"item": "i999"}
FIELDS = {"genres": "keywords", "year": "number", "launched": "timestamp"}
NEWEST = {"title": "The Newest Orbit", "genres": ["Space Opera"], "year": 2026, "launched": "2026-01-01"}


def _listed(strategy: str, **more: Any) -> dict[str, Any]:
    items = [{"item": "i365", "score": 0.731, "reason": strategy}, {"item": "i041", "score": 0.702, "reason": strategy}]
    return {"items": items, "model_version": VERSION, "strategy": strategy, "degraded": False, **more}


OPERATIONS = (
    Operation(
        *("GET", "/v1/{ns}/users/{user}/recommendations", "read", schemas.ListOut),
        (
            Example(_listed("als"), 'shop.recommend("u132", k=5)', U132, "k=5"),
            Example(
                _listed("als"),
                'shop.recommend("u132", k=5, filter={"any": {"genres": ["Space Opera"]}})',
                U132,
                "k=5&genres=Space%20Opera",
            ),
        ),
        lists=True,
    ),
    Operation(
        *("POST", "/v1/{ns}/users/{user}/recommendations", "read", schemas.ListOut),
        (
            Example(
                _listed("als"),
                'shop.recommend("u132", k=5, min_score=-1.0, exclude=["i299"])',
                U132,
                body={
                    "k": 5,
                    "filter": {
                        "must": [{"range": {"year": {"gte": 2000}}}],
                        "must_not": [{"any": {"genres": ["Romance", "Gothic Horror"]}}],
                    },
                    "boost": [{"when": {"match": {"genres": "Space Opera"}}, "multiply": 1.5}],
                    "exclude": ["i299"],
                    "promotions": [{"when": {"range": {"launched": {"gte": "2026-01-01"}}}, "share": 0.2}],
                    "diversity": {"weight": 0.3, "caps": [{"field": "genres", "most": 3}]},
                    "freshness": {"field": "launched", "half_life_s": 31536000},
                },
            ),
            Example(
                _listed("fm"),
                'moods.recommend("u132", k=5, context={"month": 12})',
                {"ns": "moods", **U132},
                body={"k": 5, "context": {"month": 12}},
            ),
        ),
        body=AskIn,
    ),
    Operation(
        *("POST", "/v1/{ns}/recommendations", "read", schemas.ListOut),
        (
            Example(
                _listed("fold_in"),
                'shop.recommend(None, k=5, events=[{"item": "i365"}, {"item": "i299", "value": 4}])',
                body={"k": 5, "events": [{"item": "i365"}, {"item": "i299", "value": 4}], "context": {}},
            ),
        ),
        body=AskIn,
    ),
    Operation(
        *("POST", "/v1/{ns}/users/{user}/scores", "read", schemas.ScoresOut),
        (
            Example(
                _listed(
                    "als",
                    items=[
                        {
                            "item": "i299",
                            "score": 0.412,
                            "raw_score": 0.412,
                            "explanation": [{"source": "history", "name": "i041", "value": 0.2}],
                        }
                    ],
                ),
                'shop.scores("u132", ["i299", "i365"], explain=True)',
                U132,
                body={"items": ["i299", "i365"], "context": {}, "explain": True},
            ),
        ),
        body=ScoresIn,
    ),
    Operation(
        *("GET", "/v1/{ns}/items/{item}/similar", "read", schemas.ListOut),
        (Example(_listed("similar"), 'shop.similar("i299", k=5)', I299, "k=5"),),
        lists=True,
    ),
    Operation(
        *("GET", "/v1/{ns}/popular", "read", schemas.ListOut),
        (
            Example(
                _listed("popular"),
                'shop.popular(k=5, genres=["Space Opera", "Romance"], year=2023)',
                query="k=5&genres=Space%20Opera&genres=Romance&year=2023",
            ),
        ),
        lists=True,
    ),
    Operation(
        *("POST", "/v1/{ns}/events", "write", schemas.EventsOut),
        (
            Example(
                {"accepted": 1, "duplicates": 0},
                'shop.send([{"event_id": "e-1", "user": "u132", "item": "i365", "timestamp": 1767225600}])',
                body={
                    "events": [{"event_id": "e-1", "user": "u132", "item": "i365", "timestamp": 1767225600, "value": 5}]
                },
            ),
        ),
        body=EventsIn,
        status=202,
    ),
    Operation(
        *("PUT", "/v1/{ns}/catalogue", "admin", schemas.FieldsOut),
        (Example({"fields": FIELDS}, f"shop.put_catalogue({FIELDS!r})", body={"fields": FIELDS}),),
        body=FieldsIn,
    ),
    Operation(
        *("GET", "/v1/{ns}/catalogue", "read", schemas.FieldsOut),
        (Example({"fields": FIELDS}, "shop.catalogue()"),),
    ),
    Operation(
        *("PUT", "/v1/{ns}/items/{item}", "write", schemas.ItemOut),
        (Example({"item": "i999", "metadata": NEWEST}, f'shop.put_item("i999", {NEWEST!r})', I999, body=NEWEST),),
        body=Metadata,
    ),
    Operation(
        *("GET", "/v1/{ns}/items/{item}", "read", schemas.ItemOut),
        (Example({"item": "i999", "metadata": NEWEST}, 'shop.item("i999")', I999),),
    ),
    Operation(
        *("DELETE", "/v1/{ns}/items/{item}", "write", schemas.DeletedItemOut),
        (Example({"item": "i999", "deleted": True}, 'shop.delete_item("i999")', I999),),
    ),
    Operation("GET", "/health/live", None, schemas.LiveOut, (Example({"status": "live"}),)),
    Operation("GET", "/health/ready", None, schemas.ReadyOut, (Example({"status": "ready"}),)),
    Operation("GET", "/v1/openapi.json", None, Metadata),
)
