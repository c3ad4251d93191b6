"""Lists, scores and rows."""

from chalicelib.batch import BatchIn
from chalicelib.bodies import AskIn, ListIn, ScoresIn
from chalicelib.openapi.answers import BatchOut, ListOut, RowsOut, ScoresOut
from chalicelib.openapi.operation import I299, U132, Example, Operation, from_model, listed, places
from chalicelib.rows import RerankIn, RowsIn, TrendingIn

LIST = ("k", "cursor", "include", "fields")
TAGGED = (*LIST, "If-None-Match")
OF_USER, SIMILAR = "/v1/{ns}/users/{user}", "/v1/{ns}/items/{item}/similar"
SPACE = {"match": {"genres": "Space Opera"}}
SESSION = [{"item": "i365"}, {"item": "i299", "value": 4}]
PART = {"source": "history", "name": "i041", "value": 0.2}
RULES = {
    "k": 5,
    "filter": {
        "must": [{"range": {"year": {"gte": 2000}}}],
        "must_not": [{"any": {"genres": ["Romance", "Gothic Horror"]}}],
    },
    "boost": [{"when": SPACE, "multiply": 1.5}],
    "exclude": ["i299"],
    "promotions": [{"when": {"range": {"launched": {"gte": "2026-01-01"}}}, "share": 0.2}],
    "diversity": {"weight": 0.3, "caps": [{"field": "genres", "most": 3}]},
    "freshness": {"field": "launched", "half_life_s": 31536000},
    "include": ["title"],
    "explain": True,
}
EXPLAINED = {
    **listed("als"),
    "items": [
        {
            **places("i365", reason="als")[0],
            "metadata": {"title": "Airlock of the Exiled Sun"},
            "raw_score": 0.7,
            "explanation": [PART],
        }
    ],
}

LISTS = (
    Operation(
        *("GET", f"{OF_USER}/recommendations", ListOut),
        (
            Example(listed("als"), 'shop.recommend("u132", k=5)', U132, "k=5"),
            Example(
                *(listed("als"), f'shop.recommend("u132", k=5, filter={SPACE!r}, include=["title"])', U132),
                "k=5&genres=Space%20Opera&include=title,year",
            ),
        ),
        parameters=TAGGED,
    ),
    Operation(
        *("POST", f"{OF_USER}/recommendations", ListOut),
        (
            Example(
                *(EXPLAINED, 'shop.recommend("u132", k=5, exclude=["i299"], min_score=-1.0, explain=True)', U132),
                body=RULES,
            ),
            Example(
                *(listed("fm"), 'moods.recommend("u132", k=5, context={"month": 12})', {"ns": "moods", **U132}),
                body={"k": 5, "context": {"month": 12}},
            ),
        ),
        AskIn,
    ),
    Operation(
        *("POST", "/v1/{ns}/recommendations", ListOut),
        (
            Example(
                *(
                    listed("fold_in"),
                    'shop.recommend(None, k=5, events=[{"item": "i365"}, {"item": "i299", "value": 4}])',
                ),
                body={"k": 5, "events": [{"item": "i365"}, {"item": "i299", "value": 4}], "context": {}},
            ),
        ),
        AskIn,
    ),
    Operation(
        *("POST", f"{OF_USER}/scores", ScoresOut),
        (
            Example(
                from_model("als", items=[{"item": "i299", "score": 0.4, "raw_score": 0.4, "explanation": [PART]}]),
                *('shop.scores("u132", ["i299", "i365"], explain=True)', U132),
                body={"items": ["i299", "i365"], "context": {}, "explain": True},
            ),
        ),
        ScoresIn,
    ),
    Operation(
        *("POST", f"{OF_USER}/rerank", ListOut),
        (
            Example(
                *(listed("als"), 'shop.rerank("u132", ["i041", "i365", "i299"])', U132),
                body={"items": ["i041", "i365", "i299"]},
            ),
        ),
        RerankIn,
    ),
    Operation(
        *("GET", f"{OF_USER}/rows", RowsOut),
        (
            Example(
                from_model("similar", rows=[{"because": "i299", "items": places("i365", "i041", reason="similar")}]),
                *('shop.rows("u132", rows=2, k=5)', U132, "rows=2&k=5"),
            ),
        ),
        parameters=("rows", "k", "include", "fields"),
    ),
    Operation(
        *("POST", f"{OF_USER}/rows", RowsOut),
        (
            Example(
                *(from_model("no_history", rows=[]), f'shop.rows("u132", k=5, filter={SPACE!r})', U132),
                body={"rows": 2, "k": 5, "filter": SPACE},
            ),
        ),
        RowsIn,
    ),
    Operation(
        *("GET", SIMILAR, ListOut),
        (Example(listed("similar"), 'shop.similar("i299", k=5)', I299, "k=5"),),
        parameters=TAGGED,
    ),
    Operation(
        *("POST", SIMILAR, ListOut),
        (
            Example(
                listed("similar"), f'shop.similar("i299", k=5, filter={SPACE!r})', I299, body={"k": 5, "filter": SPACE}
            ),
        ),
        ListIn,
    ),
    Operation(
        *("GET", "/v1/{ns}/popular", ListOut),
        (Example(listed("popular"), "shop.popular(k=5)", query="k=5&genres=Space%20Opera&genres=Romance&year=2023"),),
        parameters=TAGGED,
    ),
    Operation(
        *("POST", "/v1/{ns}/popular", ListOut),
        (Example(listed("popular"), f"shop.popular(k=5, filter={SPACE!r})", body={"k": 5, "filter": SPACE}),),
        ListIn,
    ),
    Operation(
        *("GET", "/v1/{ns}/trending", ListOut),
        (Example(listed("trending"), "shop.trending(k=5, half_life_h=24)", query="k=5&half_life_h=24"),),
        parameters=(*LIST, "half_life_h"),
    ),
    Operation(
        *("POST", "/v1/{ns}/trending", ListOut),
        (
            Example(
                *(listed("trending"), f"shop.trending(k=5, filter={SPACE!r})"),
                body={"k": 5, "half_life_h": 24, "filter": SPACE},
            ),
        ),
        TrendingIn,
    ),
    Operation(
        *("POST", "/v1/{ns}/batch", BatchOut),
        (
            Example(
                {"answers": [{"status": 200, "body": listed("popular") | {"request_id": "6b3e9c0a"}}]},
                'shop.batch([{"route": "popular", "k": 2}, {"route": "similar", "item": "i299", "k": 2}])',
                body={"requests": [{"route": "popular", "k": 2}, {"route": "similar", "item": "i299", "k": 2}]},
            ),
        ),
        BatchIn,
    ),
)
