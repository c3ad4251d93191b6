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
from urllib.parse import quote, urlencode, urlsplit

Json = dict[str, Any]
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 20.0
_SCHEMES = {"http": HTTPConnection, "https": HTTPSConnection}
_BUSY = (429, 502, 503, 504)


class Listed(TypedDict):
    """An item of a list."""

    item: str
    score: float
    reason: str


class Ranked(TypedDict):
    """Items, best first, and where they come from."""

    items: list[Listed]
    model_version: str
    strategy: str
    degraded: bool
    cursor: NotRequired[str | None]
    request_id: str


class Scores(TypedDict):
    """Predictions for items, in the order they were asked for."""

    items: list[Json]
    model_version: str
    strategy: str
    degraded: bool
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


class Asked(TypedDict, total=False):
    """What a request may want of its list; see the API."""

    filter: Json
    boost: Sequence[Json]
    exclude: Sequence[str]
    promotions: Sequence[Json]
    diversity: Json
    min_score: float
    freshness: Json
    context: Json
    events: Sequence[Json]
    cursor: str


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
    server says. Nothing happens twice by that: an event counts once by its id, and the rest may be repeated.

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
            cursor = page.get("cursor")
            if not cursor:
                return
            asked["cursor"] = cursor

    def scores(self, user: str, items: Sequence[str], *, context: Json | None = None, explain: bool = False) -> Scores:
        """Return what the model predicts for named items."""
        body = {"items": items, "context": context or {}, "explain": explain}
        return cast(Scores, self._ask("POST", "users", user, "scores", body=body))

    def similar(self, item: str, k: int = 20, **fields: object) -> Ranked:
        """Return the nearest items, those with some values of declared fields if any are given."""
        return cast(Ranked, self._ask("GET", "items", item, "similar", query={"k": k, **fields}))

    def popular(self, k: int = 20, **fields: object) -> Ranked:
        """Return the items most users have, those with some values of declared fields if any are given."""
        return cast(Ranked, self._ask("GET", "popular", query={"k": k, **fields}))

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

    def _ask(self, method: str, *parts: str, query: Mapping[str, object] | None = None, body: object = None) -> Json:
        path = "/".join([self._prefix, "v1", *(quote(one, safe="") for one in (self.namespace, *parts))])
        path += f"?{urlencode(query, doseq=True)}" if query else ""
        return self.request(method, path, body)

    def request(self, method: str, path: str, body: object = None) -> Json:
        """Send a request as often as it takes; return the body of the answer, `ClientError` if there is none."""
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        failed: ClientError = UnreachableError("nothing was tried")
        for tried in range(1, self._tries + 1):
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
            if tried < self._tries:
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
