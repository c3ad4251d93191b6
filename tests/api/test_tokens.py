"""Tokens: where their keys come from, how these change, and what happens while they cannot be read."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from credentials import AUDIENCE, ISSUER, issuer, token

from chalicelib import tokens
from chalicelib.responses import Problem
from chalicelib.tokens import Tokens
from recsys.errors import StorageError


class Published(BaseHTTPRequestHandler):
    """Publishes keys; `server.status` is what it answers by."""

    def do_GET(self):
        self.server.reached.set()
        self.server.may_answer.wait(10)
        body = json.dumps(self.server.jwks).encode()
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.asked += 1

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def pairs():
    return issuer()


@pytest.fixture
def site(pairs):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Published)
    server.jwks, server.status, server.asked = pairs.jwks, 200, 0
    server.reached, server.may_answer = threading.Event(), threading.Event()
    server.may_answer.set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def who(taken, headers):
    return taken.who(headers["authorization"].removeprefix("Bearer "))


def of(site):
    return Tokens(f"http://127.0.0.1:{site.server_port}/jwks.json", ISSUER, AUDIENCE)


def test_keys_are_read_once_and_again_for_one_that_is_new(pairs, site, monkeypatch):
    taken = of(site)
    for _ in range(3):
        assert who(taken, token(pairs.rs, namespaces="shop", scope="read write")).scopes == ("read", "write")
    assert site.asked == 1
    late = site.jwks["keys"][0] | {"kid": "late"}
    site.jwks = {"keys": [late]}
    with pytest.raises(Problem):
        who(taken, token(pairs.rs, kid="late"))  # it has just looked
    monkeypatch.setattr(tokens, "ASKED_S", 0.0)
    assert who(taken, token(pairs.rs, kid="late", namespaces=["a", 3])).namespaces == ("a",)
    with pytest.raises(Problem):
        who(taken, token(pairs.rs, kid="rs"))  # it is withdrawn
    assert who(taken, token(pairs.rs, kid=None)).may_see("anything")  # there is but one


@pytest.mark.parametrize("status", [500, 302])
def test_while_they_cannot_be_read_known_ones_work_for_a_while(pairs, site, monkeypatch, status):
    taken = of(site)
    site.status = status
    with pytest.raises(StorageError):
        who(taken, token(pairs.rs))
    site.status = 200
    monkeypatch.setattr(tokens, "ASKED_S", 0.0)
    assert who(taken, token(pairs.rs))
    site.status = status
    monkeypatch.setattr(tokens, "REFRESH_S", 0.0)
    assert who(taken, token(pairs.rs))
    with pytest.raises(StorageError):
        who(taken, token(pairs.rs, kid="new"))
    monkeypatch.setattr(tokens, "STALE_S", 0.0)
    with pytest.raises(StorageError):
        who(taken, token(pairs.rs))


def test_who_has_a_known_key_does_not_wait_while_a_made_up_one_is_looked_for(pairs, site, monkeypatch):
    taken, ended = of(site), []
    assert who(taken, token(pairs.rs))
    monkeypatch.setattr(tokens, "ASKED_S", 0.0)
    site.may_answer.clear(), site.reached.clear()

    def ask():
        with pytest.raises((Problem, StorageError)):
            who(taken, token(pairs.rs, kid="made up"))
        ended.append(True)

    asking = threading.Thread(target=ask)
    asking.start()
    assert site.reached.wait(10)
    assert who(taken, token(pairs.rs))
    assert not ended
    site.may_answer.set()
    asking.join()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"keys": 3}', '{"keys": [{"kty": "oct", "k": "AAAA", "kid": "rs"}]}', "[" * 100_000]
)
def test_what_is_no_set_of_keys_lets_nobody_in(tmp_path, pairs, text):
    (tmp_path / "jwks.json").write_text(text)
    with pytest.raises((StorageError, Problem)):
        who(Tokens(f"file:{tmp_path}/jwks.json", ISSUER, AUDIENCE), token(pairs.rs))
