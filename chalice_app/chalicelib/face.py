"""`Face`: Chalice with one request per thread and with problems for every error."""

import json
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

from chalice import Chalice, Response

from chalicelib.access_log import Causes, Noted, log_request
from chalicelib.counts import Counts
from chalicelib.headers import of_origin
from chalicelib.requests import path_namespace
from chalicelib.responses import SECURITY, FromModel, Problem, problem
from chalicelib.wiring import gate, service
from recsys.errors import (
    ConflictError,
    DataError,
    NoModelError,
    NotFoundError,
    PageGoneError,
    RecsysError,
    UnknownItemError,
)
from recsys.serving.loader import unpublished
from recsys.telemetry import milliseconds_since

View = Callable[..., Response]
Scope = Literal["read", "write", "admin"]
FIELDS: dict[type[RecsysError], str] = {NoModelError: "ns", PageGoneError: "cursor", NotFoundError: "version"}


class Face(Chalice):
    """Chalice whose errors are all problems, also those it raises itself.

    Chalice keeps the current request in one attribute of the app; its local server has a thread per connection, so
    that one client's answer could be built from another's request. Here the attribute is per thread.
    """

    def __init__(self, app_name: str) -> None:
        self._of_thread = threading.local()
        self._noted, self.counts = Noted(), Counts()
        self.scopes: dict[tuple[str, str], Scope | None] = {}
        super().__init__(app_name=app_name, configure_logs=False)
        self.log.addHandler(Causes(self._noted))
        self.log.propagate = False  # what is logged is in the line of its request

    @property
    def current_request(self) -> Any:
        """The request this thread works on."""
        return getattr(self._of_thread, "request", None)

    @current_request.setter
    def current_request(self, request: Any) -> None:
        self._of_thread.request = request

    @property
    def request_id(self) -> str:
        """Id of the request this thread works on, as the gateway logs it."""
        return getattr(getattr(self.current_request, "lambda_context", None), "aws_request_id", "")

    def route(self, path: str, *, methods: list[str], scope: Scope | None) -> Callable[[View], View]:
        """Register a view whose errors are problems; Chalice would answer 500 to exceptions it does not know.

        `scope` is what a key must be granted to get there; None lets everybody in. Chalice lets every content type
        pass: it would refuse a GET for one, though it has no body.
        """
        register = super().route(path, methods=methods, content_types=["*/*"])
        self.scopes |= {(method, path): scope for method in methods}

        def decorate(view: View) -> View:
            @wraps(view)
            def guarded(**arguments: str) -> Response:
                try:
                    if scope:
                        self._admit(scope, arguments.get("ns"))
                    response = view(**arguments)
                except (Problem, RecsysError) as error:
                    return self._problem(error)
                self._noted.found = response.found if isinstance(response, FromModel) else None
                return response

            return register(guarded)

        return decorate

    def __call__(self, event: Any, context: Any) -> Any:
        """Handle one event and log it in one line."""
        self._noted.begin()
        response = self._answer(event, context)
        request, status = self.current_request, response["statusCode"]
        response["headers"] = SECURITY | response["headers"] | of_origin(event, response)
        if self._noted.who:
            gate().answered(self._noted.who, status)
        log_request(self._noted, request, self.request_id, status)
        self.counts.add(request, status, milliseconds_since(self._noted.began_s), self._noted.found)
        return response

    def _answer(self, event: Any, context: Any) -> Any:
        """Chalice's own errors (no such method, unforeseen exceptions) become problems too."""
        response = super().__call__(event, context)
        headers = response.get("headers", {})
        if response.get("statusCode", 0) >= 400 and headers.get("Content-Type") != "application/problem+json":
            kept = {name: value for name, value in headers.items() if name == "Allow"}
            own = problem(response["statusCode"], _chalice_message(response), self.request_id)
            own.headers |= kept
            response = own.to_dict(self.api.binary_types)
        return response

    def _admit(self, scope: Scope, namespace: str | None) -> None:
        """Let a request in; a namespace that is not granted is answered as one that does not exist, before any view."""
        who = self._noted.who = gate().who(self.current_request.headers)
        gate().check(who, scope, namespace)
        if namespace is not None:
            path_namespace(namespace)
            if who and not who.may_see(namespace):
                raise unpublished(namespace)
            service().models.require(namespace)

    def _problem(self, error: Problem | RecsysError) -> Response:
        if isinstance(error, Problem):
            if error.status >= 500:
                self.log.error("no answer", exc_info=error)
            if error.log:
                self.log.error(error.log)
            return problem(error.status, str(error), self.request_id, field=error.field, headers=error.headers)
        if isinstance(error, NotFoundError):
            status = 410 if isinstance(error, PageGoneError) else 404
            field = error.field if isinstance(error, UnknownItemError) else FIELDS.get(type(error))
            return problem(status, str(error), self.request_id, field=field)
        if isinstance(error, ConflictError):
            return problem(409, str(error), self.request_id)
        if isinstance(error, DataError):  # of what the client sent: what is stored and unusable is an ArtifactError
            return problem(422, error.reason, self.request_id, field=error.field)
        self.log.error("no answer", exc_info=error)  # names a place in the store: for us, not for the client
        return problem(503, "a store the answer needs cannot be reached or read; try again", self.request_id)


def _chalice_message(response: dict[str, Any]) -> str:
    try:
        return str(json.loads(response["body"])["Message"])[:200]
    except (ValueError, KeyError, TypeError):
        return "the request cannot be answered"
