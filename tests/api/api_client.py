"""Clients of the API: in process as the Lambda is called, and over a socket; and what every problem must look like."""

import http.client
import json
import socket
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.parse import quote

from chalice.local import RouteMatcher
from documented import check_answer
from log_lines import Lines, check_line

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def items(self):
        return [(one["item"], one["score"]) for one in self.json["items"]]


def path_of(*parts):
    """Path with every part percent-encoded, '/' too."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def user_path(user, namespace="shop"):
    return path_of("v1", namespace, "users", user, "recommendations")


def event(event_id="e", user="u1", item="i1", **more):
    return {"event_id": event_id, "user": user, "item": item, "timestamp": 1_700_000_000, **more}


def body_of(*events):
    return json.dumps({"events": list(events)})


class InProcess:
    """Calls the app with the events of a REST API's Lambda proxy integration; what it logs of each is checked."""

    def __init__(self, app):
        self.app = app
        self.lines = Lines()  # app_over puts it in the place of stderr
        self.matcher = RouteMatcher(list(app.routes))

    def invoke(self, method, route, parameters=None, *, query=None, headers=None, body=None, base64=False):
        sent = {
            "resource": route,
            "requestContext": {"httpMethod": method, "resourcePath": route, "identity": {"sourceIp": "10.0.0.1"}},
            "headers": headers,
            "pathParameters": parameters,
            "multiValueQueryStringParameters": query,
            "stageVariables": None,
            "body": body,
            "isBase64Encoded": base64,
        }
        context = SimpleNamespace(aws_request_id=str(uuid.uuid4()))
        self.lines.take()
        found = self.app(sent, context)
        answer = Answer(
            found["statusCode"], {k.lower(): v for k, v in found["headers"].items()}, found["body"].encode()
        )
        if answer.status == 304:
            assert answer.body == b""
        elif "json" in answer.headers["content-type"] and "openapi" not in answer.json:
            assert answer.json["request_id"] == context.aws_request_id
        check_answer(method, route, answer)
        (line,) = self.lines.take()
        self.line = check_line(line, self.app.routes)
        assert (self.line["request_id"], self.line["status"]) == (context.aws_request_id, answer.status)
        assert self.line["route"] == route
        return answer

    def request(self, method, path, **more):
        match = self.matcher.match_route(path)
        return self.invoke(method, match.route, dict(match.captured) or None, query=match.query_params or None, **more)

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, body, namespace="shop", headers=JSON, **more):
        return self.request("POST", path_of("v1", namespace, "events"), headers=headers, body=body, **more)

    def ask(self, path, body):
        return self.request("POST", path, headers=JSON, body=json.dumps(body))


class Wire:
    """Speaks HTTP to a server process."""

    def __init__(self, url):
        host, _, port = url.removeprefix("http://").partition(":")
        self.address = (host, int(port))

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            return self.on(connection, method, path, body, headers)
        finally:
            connection.close()

    @contextmanager
    def connected(self):
        """Give `request` over one connection that stays."""
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            yield lambda method, path, body=None, headers=None: self.on(connection, method, path, body, headers)
        finally:
            connection.close()

    @staticmethod
    def on(connection, method, path, body=None, headers=None):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, body, namespace="shop", headers=JSON):
        return self.request("POST", path_of("v1", namespace, "events"), body, headers)

    def ask(self, path, body):
        return self.request("POST", path, json.dumps(body), JSON)

    def raw(self, data, *, half_close=True):
        """Send bytes as they are; return every answer that comes back."""
        with socket.create_connection(self.address, timeout=20) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while some := connection.recv(65536):
                received += some
        return parse_answers(received)


def parse_answers(data):
    answers = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, head
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        code = int(status.split()[1])
        if code == 100:
            continue
        length = int(headers["content-length"])
        answers.append(Answer(code, headers, data[:length]))
        data = data[length:]
    return answers


def check_problem(answer, status=None, field=None):
    """RFC 9457, the request id, the field at fault, and nothing about the machine."""
    assert answer.headers["content-type"] == "application/problem+json", answer
    problem = answer.json
    assert set(problem) <= {"type", "title", "status", "detail", "field", "request_id"}, answer
    assert problem["status"] == answer.status >= 400
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"]
    assert status is None or answer.status == status, answer
    assert field is None or problem.get("field") == field, answer
    assert ("retry-after" in answer.headers) == (answer.status in (429, 503))
    assert b"/tmp" not in answer.body
    assert b"Run:" not in answer.body  # advice for the command line
    assert b"Traceback" not in answer.body
    return problem
