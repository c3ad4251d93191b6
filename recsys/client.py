"""A client of the REST API. It needs the standard library alone: this file can be copied into any project.

::

    ClientError
    ├── UnreachableError            no answer, for longer than the client is patient
    └── ApiError                    the server refuses; it has the problem (RFC 9457), status, field and request_id
        ├── InvalidRequestError     400, 413, 415, 422
        ├── AccessError             401, 403: the credential is not known, or not for this
        ├── MissingError            404: no such namespace, user, item or version
        └── BusyError               429, 502, 503, 504, for longer than the client is patient

Examples
--------
>>> with Client("http://127.0.0.1:8000", "shop", key="...") as shop:  # doctest: +SKIP
...     shop.send([{"user": "anna", "item": "tea", "timestamp": 1_767_225_600}])
...     answer = shop.recommend("anna", k=5, filter={"match": {"kind": "drink"}})
...     [one["item"] for one in answer["items"]]
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict, Unpack, cast
from urllib.parse import quote, urlsplit

Json = dict[str, Any]
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 20.0
_SCHEMES = {"http": HTTPConnection, "https": HTTPSConnection}
_BUSY = (429, 502, 503, 504)


class Listed(TypedDict):
    """An item of a list."""

    item: str
    score: float
    reason: str
    propensity: NotRequired[float]
    metadata: NotRequired[Json]
    raw_score: NotRequired[float]
    explanation: NotRequired[list[Json]]


class Ranked(TypedDict):
    """Items, best first, and where they come from."""

    items: list[Listed]
    model_version: str
    strategy: str
    degraded: bool
    variant: str | None
    cursor: str | None
    request_id: str


class Scores(TypedDict):
    """Predictions for items, in the order they were asked for."""

    items: list[Json]
    model_version: str
    strategy: str
    degraded: bool
    variant: str | None
    request_id: str


class Stored(TypedDict):
    """How many events were new, and how many the server had."""

    accepted: int
    duplicates: int
    request_id: str


class Event(TypedDict):
    """Something a user did; `timestamp` in UTC seconds. Without an id it gets one."""

    user: str
    item: str
    timestamp: float
    event_id: NotRequired[str]
    event: NotRequired[str]
    value: NotRequired[float]
    context: NotRequired[Json]


class Rules(TypedDict, total=False):
    """What a request may want of its list; see the API."""

    filter: Json
    boost: Sequence[Json]
    exclude: Sequence[str]
    promotions: Sequence[Json]
    diversity: Json
    min_score: float
    freshness: Json


class Listing(Rules, total=False):
    """Rules, the page, and the fields that come with each item."""

    cursor: str
    include: Sequence[str]


class Asked(Listing, total=False):
    """What lists for somebody may want besides."""

    context: Json
    events: Sequence[Json]
    explain: bool


class ClientError(Exception):
    """Base of all that a call raises."""


class UnreachableError(ClientError):
    """No answer from the server."""


class ApiError(ClientError):
    """The server refuses, or goes on failing.

    Parameters
    ----------
    status : int
    problem : dict
        What the server says (RFC 9457); `field` names what is wrong in the request, `request_id` finds it in the log.
    """

    def __init__(self, status: int, problem: Json) -> None:
        self.status, self.problem = status, problem
        self.field: str | None = problem.get("field")
        self.request_id: str | None = problem.get("request_id")
        place = f" ({self.field})" if self.field else ""
        super().__init__(f"{status}{place}: {problem.get('detail') or problem.get('title') or 'no reason given'}")


class InvalidRequestError(ApiError):
    """What was sent cannot be used."""


class AccessError(ApiError):
    """The credential is not known, or not for this."""


class MissingError(ApiError):
    """No such namespace, user, item or version."""


class BusyError(ApiError):
    """Too many requests, or something is out of reach."""


class Client:
    """Asks the API about one namespace, over connections that are kept; threads may share it.

    What comes to nothing because of a connection, 429 or 503 is tried again after growing, jittered pauses, or when the
    server says. Nothing happens twice by that: an event counts once by its id, a rollback is tried once, and the rest
    may be repeated.

    Parameters
    ----------
    url : str
        ``https://host``, or ``https://host/stage``.
    namespace : str
    key : str, optional
        API key.
    token : str, optional
        JWT.
    timeout_s : float
        Without a sign of the server, after which a try is given up.
    tries : int
        At most.

    Raises
    ------
    ClientError
        From every call; see above.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        key: str | None = None,
        token: str | None = None,
        timeout_s: float = 10.0,
        tries: int = 5,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise ClientError(f"{url!r} is no URL of an API: it begins with https:// or http://")
        self._connect = _SCHEMES[parts.scheme]
        self._host, self._prefix, self.namespace = parts.netloc, parts.path.rstrip("/"), namespace
        self._headers = {"accept": "application/json"}
        self._headers |= {"x-api-key": key} if key else {}
        self._headers |= {"authorization": f"Bearer {token}"} if token else {}
        self._timeout_s, self._tries = timeout_s, tries
        self._idle: list[HTTPConnection] = []  # append and pop of a list are atomic

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections that wait."""
        self.close()

    def close(self) -> None:
        """Close the connections that wait."""
        while self._idle:
            self._idle.pop().close()

    def recommend(self, user: str | None, k: int = 20, **asked: Unpack[Asked]) -> Ranked:
        """Return the top-k for a user, or, for None, for what is known of a session."""
        who = () if user is None else ("users", user)
        return cast(Ranked, self._ask("POST", *who, "recommendations", body={"k": k, **asked}))

    def pages(self, user: str | None, k: int = 20, **asked: Unpack[Asked]) -> Iterator[Ranked]:
        """Return one list of k items after the other, all from the same version."""
        while True:
            page = self.recommend(user, k, **asked)
            yield page
            cursor = page["cursor"]
            if not cursor:
                return
            asked["cursor"] = cursor

    def scores(self, user: str, items: Sequence[str], *, context: Json | None = None, explain: bool = False) -> Scores:
        """Return what the model predicts for named items."""
        body = {"items": items, "context": context or {}, "explain": explain}
        return cast(Scores, self._ask("POST", "users", user, "scores", body=body))

    def rerank(self, user: str, items: Sequence[str], k: int | None = None, **rules: Unpack[Rules]) -> Ranked:
        """Return named items in the user's order, the best k or all."""
        body = {"items": items, "k": k or len(items), **rules}
        return cast(Ranked, self._ask("POST", "users", user, "rerank", body=body))

    def rows(self, user: str, rows: int = 3, k: int = 20, **rules: Unpack[Rules]) -> Json:
        """Return rows of items like those the user liked last."""
        return self._ask("POST", "users", user, "rows", body={"rows": rows, "k": k, **rules})

    def similar(self, item: str, k: int = 20, **asked: Unpack[Listing]) -> Ranked:
        """Return the nearest items."""
        return cast(Ranked, self._ask("POST", "items", item, "similar", body={"k": k, **asked}))

    def popular(self, k: int = 20, **asked: Unpack[Listing]) -> Ranked:
        """Return the items most users have."""
        return cast(Ranked, self._ask("POST", "popular", body={"k": k, **asked}))

    def trending(self, k: int = 20, half_life_h: float = 720.0, **asked: Unpack[Listing]) -> Ranked:
        """Return the items with most events, of which each counts half with every half-life since."""
        return cast(Ranked, self._ask("POST", "trending", body={"k": k, "half_life_h": half_life_h, **asked}))

    def batch(self, requests: Sequence[Json]) -> list[Json]:
        """Return status and body of up to 100 requests, each a `route` with what it takes, in order."""
        return cast(list[Json], self._ask("POST", "batch", body={"requests": requests})["answers"])

    def send(self, events: Iterable[Event]) -> Stored:
        """Store events, 500 at most; each counts once by its id, however often it is sent."""
        named = [{"event_id": str(uuid.uuid4()), **one} for one in events]
        return cast(Stored, self._ask("POST", "events", body={"events": named}))

    def put_item(self, item: str, metadata: Mapping[str, object]) -> Json:
        """Store what is known of an item, in place of what was known before."""
        return self._ask("PUT", "items", item, body=metadata)

    def item(self, item: str) -> Json:
        """Return what is known of an item."""
        return self._ask("GET", "items", item)

    def delete_item(self, item: str) -> Json:
        """Take an item out of every list."""
        return self._ask("DELETE", "items", item)

    def put_catalogue(self, fields: Mapping[str, str]) -> Json:
        """Declare the fields that rules may name."""
        return self._ask("PUT", "catalogue", body={"fields": fields})

    def catalogue(self) -> Json:
        """Return the declared fields."""
        return self._ask("GET", "catalogue")

    def user(self, user: str) -> Json:
        """Return what is held of a user."""
        return self._ask("GET", "users", user)

    def erase_user(self, user: str) -> Json:
        """Erase a user."""
        return self._ask("DELETE", "users", user)

    def models(self) -> list[Json]:
        """Return the versions that were in service, newest first."""
        return cast(list[Json], self._ask("GET", "models")["models"])

    def current_model(self) -> Json:
        """Return the version in service."""
        return self._ask("GET", "models", "current")

    def activate(self, version: str, expected: int | None = None) -> Json:
        """Put a version into service; with `expected`, only if the pointer has that sequence number."""
        return self._ask("POST", "models", version, "activate", body={"expected": expected})

    def roll_back(self, expected: int | None = None) -> Json:
        """Put the version before back into service. This is tried once: done twice it would be another version."""
        return self._ask("POST", "models", "rollback", body={"expected": expected}, tries=1)

    def put_experiment(self, experiment: Mapping[str, object]) -> Json:
        """Split the users over variants."""
        return self._ask("PUT", "experiment", body=experiment)

    def experiment(self) -> Json:
        """Return the last experiment."""
        return self._ask("GET", "experiment")

    def end_experiment(self) -> Json:
        """Give everybody the version in service again."""
        return self._ask("DELETE", "experiment")

    def _ask(self, method: str, *parts: str, body: object = None, tries: int | None = None) -> Json:
        path = "/".join([self._prefix, "v1", *(quote(one, safe="") for one in (self.namespace, *parts))])
        return self._request(method, path, body, tries or self._tries)

    def _request(self, method: str, path: str, body: object, tries: int) -> Json:
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        failed: ClientError = UnreachableError("nothing was tried")
        for tried in range(1, tries + 1):
            least_s = 0.0
            try:
                status, headers, answer = self._exchange(method, path, data)
            except (OSError, HTTPException) as error:
                self.close()  # what waited as long may be as dead
                failed = UnreachableError(f"no answer from {self._host}: {error or type(error).__name__}")
            else:
                if status < 300:
                    return _read(status, answer)
                failed = _error(status, answer)
                if status not in _BUSY:
                    raise failed
                least_s = _seconds(headers.get("retry-after"))
            if tried < tries:
                time.sleep(min(_LONGEST_PAUSE_S, least_s + random.uniform(0, _FIRST_PAUSE_S * 2**tried)))
        raise failed

    def _exchange(self, method: str, path: str, data: bytes | None) -> tuple[int, Message, bytes]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect(self._host, timeout=self._timeout_s)
        try:
            headers = self._headers if data is None else {**self._headers, "content-type": "application/json"}
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            told = response.status, response.headers, response.read()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return told


def _read(status: int, answer: bytes) -> Json:
    try:
        return cast(Json, json.loads(answer))
    except ValueError:
        raise ApiError(status, {"detail": "the answer is not JSON. Is the URL that of the API?"}) from None


def _error(status: int, answer: bytes) -> ApiError:
    try:
        problem = json.loads(answer)
    except ValueError:  # of a gateway before the API
        problem = None
    kind = {401: AccessError, 403: AccessError, 404: MissingError, **dict.fromkeys(_BUSY, BusyError)}.get(status)
    other = InvalidRequestError if status in (400, 413, 415, 422) else ApiError
    return (kind or other)(status, problem if isinstance(problem, dict) else {})


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isascii() and text.isdigit() else 0.0
