"""Every route of the app by every state of a credential; what is not granted is not there; nothing of it is logged."""

import json
import re
import uuid
from types import SimpleNamespace

import pytest
from api_client import Answer, check_problem
from asking import request_to, routes, target
from credentials import AUDIENCE, ISSUER, OTHERS, SECRET, add_keys, expected, issuer, tokens


@pytest.fixture(scope="module")
def pairs():
    return issuer()


@pytest.fixture
def states(shop, pairs, monkeypatch):
    """Headers by the state of what they carry, over a shop that takes keys and tokens."""
    (shop.folder / "jwks.json").write_text(json.dumps(pairs.jwks))
    monkeypatch.setenv("RECSYS_JWKS", f"file:{shop.folder}/jwks.json")
    monkeypatch.setenv("RECSYS_JWT_ISSUER", ISSUER)
    monkeypatch.setenv("RECSYS_JWT_AUDIENCE", AUDIENCE)
    return add_keys(shop.online.keys) | tokens(pairs)


@pytest.fixture
def guarded(states, api):
    """The app, with the key of which no request is left used once."""
    api.get("/v1/shop/popular", headers=states["exhausted"])
    return api


def ask(api, method, path, credential, **more):
    """Ask the app itself: not every route answers JSON."""
    headers, parameters, body = request_to(method, path, **more)
    sent = {"requestContext": {"httpMethod": method, "resourcePath": path}, "headers": {**headers, **credential}}
    sent |= {
        "pathParameters": parameters,
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "body": body,
    }
    found = api.app(sent, SimpleNamespace(aws_request_id=str(uuid.uuid4())))
    api.lines.take()
    return Answer(found["statusCode"], {k.lower(): v for k, v in found["headers"].items()}, found["body"].encode())


def secrets_of(states):
    """Every part of a credential long enough not to be there by accident."""
    texts = " ".join(value for headers in states.values() for value in headers.values())
    return {one for one in re.split(r"[\s._]+", texts) if len(one) > 11 and len(set(one)) > 3}


def wrong(api, states, lines=()):
    """Answers that are not what is expected of them."""
    found = []
    for method, path, scope in routes(api.app):
        for state, credential in states.items():
            answer = ask(api, method, path, credential, more=state)
            status = expected(state, scope, in_namespace="{ns}" in path)
            if status is None:
                if answer.status in (401, 403, 429) or (answer.status >= 500 and path != "/health/ready"):
                    found.append((method, path, state, answer))
                continue
            if answer.status != status:
                found.append((method, path, state, answer))
                continue
            check_problem(answer, status)
            assert ("www-authenticate" in answer.headers) == (status == 401)
            lines.append(json.dumps([answer.headers, answer.json]))
    return found


def test_every_route_by_every_credential(guarded, states):
    assert len(states) >= 12
    lines = []
    assert wrong(guarded, states, lines) == []
    assert len(lines) > len(states) * 5
    assert not [one for one in secrets_of(states) if one in "".join(lines)]  # nor is a refused one sent back


def test_a_route_without_the_check_is_found(guarded, states, monkeypatch):
    monkeypatch.setattr(type(guarded.app), "_admit", lambda *_: None)
    assert len(wrong(guarded, states, [])) > len(states)


def anonymous(answer, namespace):
    """What an answer says, but for its own id and the name of the namespace that was asked for."""
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    body = answer.body.replace(answer.json["request_id"].encode(), b"ID")
    return answer.status, headers, body.replace(namespace.encode(), b"NAME")


def oracles(api, credential, of_all):
    """Requests that are answered otherwise where a namespace is there, but not granted, than where it is not."""
    found = []
    for method, path, scope in routes(api.app):
        if scope and "{ns}" in path:
            for body, item, user in ((None, "i1", "u1"), ("{", "nothing", "%zz"), ('{"k": 0}', "x" * 999, "\0")):
                asked = {"body": body, "item": item, "user": user}
                there, not_there, open_ = (
                    anonymous(ask(api, method, path, one, namespace=namespace, **asked), namespace)
                    for namespace, one in ((OTHERS, credential), ("filmz", credential), ("filmz", of_all))
                )
                if there != not_there or there != open_:
                    found.append((method, path, asked, there, not_there, open_))
    return found


def test_what_is_not_granted_is_answered_as_what_is_not_there(guarded, states):
    assert oracles(guarded, states["key for the shop"], states["key"]) == []


def test_an_answer_that_gives_a_namespace_away_is_found(guarded, states, monkeypatch):
    from chalicelib.auth import Who

    monkeypatch.setattr(Who, "may_see", lambda who, namespace: namespace != OTHERS or who.namespaces == ("*",))
    monkeypatch.setattr("chalicelib.face.unpublished", lambda namespace: KeyError("not granted"))
    assert oracles(guarded, states["key for the shop"], states["key"])


def test_bodies_are_bounded_on_every_route_that_takes_one(guarded, states):
    taking = [(method, path) for method, path, scope in routes(guarded.app) if method in ("POST", "PUT") and scope]
    refused = 0
    for method, path in taking:
        for body, status in (
            (" " * (256 * 1024 + 1) + "{}", 413),
            ("[" * 100_000, 400),
            ('{"a":' * 33, 400),
            ("NaN", 400),
        ):
            answer = ask(guarded, method, path, states["key"], body=body)
            if method == "POST" and path.endswith(("/activate", "/rollback")):
                assert answer.status < 500  # they take none, and read none
                continue
            check_problem(answer, status)
            refused += 1
    assert refused >= 4 * 5


def test_over_the_wire_nothing_of_a_credential_is_written_down(shop, states, start_server, tmp_path):
    with start_server(shop) as server:
        from app import app

        server.get("/v1/shop/popular", headers=states["exhausted"])
        for method, path, scope in routes(app):
            for state in (
                "none",
                "key",
                "wrong secret",
                "unknown",
                "token",
                "token by the public key",
                "exhausted",
                "basic",
            ):
                headers, parameters, body = request_to(method, path, user="secret-user")
                answer = server.request(method, target(path, parameters), body, headers | states[state])
                status = expected(state, scope, in_namespace="{ns}" in path)
                assert answer.status == status if status else answer.status not in (401, 403, 429), (
                    path,
                    state,
                    answer,
                )
        server.request("GET", f"/{SECRET}", headers=states["key"])
        server.request("GET", "/v1/shop/users/secret-user/nowhere", headers=states["key"])
    log = (tmp_path / "server.log").read_text()
    assert log.count("\n") > 8 * 10
    assert not [one for one in (*secrets_of(states), SECRET, "secret-user", "secret-subject") if one in log]


def test_a_server_that_writes_headers_down_is_found(shop, states, start_server, tmp_path):
    planted = (
        "import http.server as s; h = s.BaseHTTPRequestHandler; p = h.parse_request\n"
        "def told(self):\n    found = p(self)\n    print(self.headers, file=sys.stderr)\n    return found\n"
        "h.parse_request = told"
    )
    with start_server(shop, planted) as server:
        server.get("/v1/shop/popular", headers=states["key"])
    log = (tmp_path / "server.log").read_text()
    assert [one for one in secrets_of(states) if one in log]
