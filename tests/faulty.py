"""Servers on loopback that answer as a test wishes, or stand before another server and spoil what passes."""

import json
import socket
import struct
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Lock, Thread
from urllib.parse import urlsplit

from recsys.errors import StorageError

SEED = 20261121
THROTTLED = json.dumps({"__type": "com.amazonaws.dynamodb#ProvisionedThroughputExceededException"}).encode()


@contextmanager
def server(answer, tls=None):
    """Start a server that hands each request to `answer` as (`Exchange`, body); gives its URL."""

    class Handler(Exchange):
        def do_POST(self):
            answer(self, self.rfile.read(int(self.headers.get("content-length", 0))))

        do_GET = do_PUT = do_DELETE = do_POST

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        if tls is not None:
            serving.socket = tls.wrap_socket(serving.socket, server_side=True)
        thread = Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{serving.server_port}"
        finally:
            serving.shutdown()
            thread.join()


class Exchange(BaseHTTPRequestHandler):
    """One request of a client, and what may become of it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def operation(self):
        return self.headers["x-amz-target"].partition(".")[2]

    def reply(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in {"content_length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self):
        """Close without a word, which the client learns when it next uses the connection."""
        self.close_connection = True

    def reset(self):
        """End the connection so that the client sees it reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_):
        pass


class Upstream:
    """The server behind, over connections that are kept until `close`."""

    def __init__(self, url):
        self._host, self._idle = urlsplit(url).netloc, []

    def post(self, headers, body, method="POST", path="/"):
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = HTTPConnection(self._host, timeout=30)
        kept = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        connection.request(method, path, body, kept)
        answer = connection.getresponse()
        told = answer.status, answer.read()
        self._idle.append(connection)
        return told

    def close(self):
        while self._idle:
            self._idle.pop().close()


class Weather:
    """30 % of requests are throttled, 20 % of batches partly done, and 5 % of all applied without an answer."""

    def __init__(self, url):
        self.upstream, self.random, self.lock = Upstream(url), Random(SEED), Lock()
        self.seen = Counter()

    def __call__(self, exchange, body):
        with self.lock:
            throttled, partly, reset = (self.random.random() < share for share in (0.3, 0.2, 0.05))
        left = None
        if throttled:
            self.seen["throttled"] += 1
            return exchange.reply(THROTTLED, 400)
        if partly and exchange.operation == "BatchWriteItem":
            body, left = self.parted(json.loads(body))
            self.seen["partly"] += 1
        status, answer = self.upstream.post(exchange.headers, body)
        if reset:
            self.seen["reset"] += 1
            return exchange.reset()
        return exchange.reply(json.dumps({"UnprocessedItems": left}).encode() if left else answer, status)

    def parted(self, request):
        ((table, writes),) = request["RequestItems"].items()
        done = self.random.randint(1, len(writes))
        left = {table: writes[done:]} if writes[done:] else None
        return json.dumps({"RequestItems": {table: writes[:done]}}).encode(), left


def until_done(call, *arguments, **named):
    for _ in range(100):
        try:
            return call(*arguments, **named)
        except StorageError:
            continue
    raise AssertionError("refused a hundred times")
