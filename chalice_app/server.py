"""The API on loopback over Chalice's local gateway: ``python chalice_app/server.py --port 8000``.

Chalice's own ``chalice local`` serves the same app; this one also bounds bodies and connections, answers every error
as a problem and says in one line why it cannot start. Beyond loopback it starts only where keys are needed, or with
--open; on loopback without keys it hears nobody but this machine.
"""

import argparse
import errno
import ipaddress
import os
import signal
import sys
import threading
import time
import uuid
from contextlib import suppress
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from socket import SHUT_WR
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from chalice.config import Config  # noqa: E402 - the app is a folder, not an installed package
from chalice.local import (  # noqa: E402
    ChaliceRequestHandler,
    LocalDevServer,
    LocalGateway,
    LocalGatewayException,
    ThreadedHTTPServer,
)

from chalicelib.headers import listed_origins  # noqa: E402
from chalicelib.responses import problem  # noqa: E402
from chalicelib.wiring import cursor_key, gate, service, warm_up  # noqa: E402
from recsys.errors import ConfigError, RecsysError, StorageError  # noqa: E402

LocalGateway._has_user_defined_options_method = lambda *_: True  # the app knows whose pages may ask, Chalice does not
MAX_BODY_BYTES = 1024 * 1024  # more than the app itself takes; API Gateway would pass on 10 MB
MAX_CONNECTIONS = 256
LINGER_S = 2.0


class Gateway(ChaliceRequestHandler):
    """Chalice's local gateway with bounded bodies, any method, and problems for errors."""

    timeout = 30  # seconds a silent connection may hold a thread
    disable_nagle_algorithm = True  # headers and body are two writes; the second would wait for an ACK
    default_request_version = "HTTP/1.1"  # so that the refusal of a broken request line has a status line
    server_version, sys_version = "recsys", ""

    def _generic_handle(self) -> None:
        lengths = [one.strip() for one in self.headers.get_all("content-length", ["0"])]
        if "transfer-encoding" in self.headers:
            self._refuse(411, "send a Content-Length")
        elif len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            self._refuse(400, "the Content-Length is not one number")
        elif len(lengths[0]) > 9 or int(lengths[0]) > MAX_BODY_BYTES:
            self._refuse(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")
        elif not (self.path.isascii() and self.path.isprintable()):
            self._refuse(400, "a path is ASCII, everything else in it percent-encoded")
        elif not gate().mode and _is_open() and (strange := _strange(self.headers)):
            self._refuse(403, f"{strange}. Add a key (recsys keys add), or say --open")
        else:
            self._body = self.rfile.read(int(lengths[0]))
            if len(self._body) < int(lengths[0]):
                self._refuse(400, "the body is shorter than its Content-Length")
            else:
                super()._generic_handle()

    # Chalice binds its own _generic_handle to these names; without this line the checks above would never run.
    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = _generic_handle

    def _parse_payload(self) -> tuple[dict[str, str], bytes | None]:
        # Chalice's gateway breaks on a header that is not ASCII; none that we read is.
        headers = {name: value.encode("ascii", "replace").decode() for name, value in self.headers.items()}
        return headers, self._body or None

    def _send_error_response(self, error: LocalGatewayException) -> None:
        """Answer what the gateway refuses: as there is no authorizer, only paths that lead nowhere."""
        path = self.path.split("?")[0][:200]
        self._send_problem(404, f"there is no route {path}", error.headers["x-amzn-RequestId"])

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the HTTP layer itself refuses: a bad request line, headers too large, an unknown method."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._generic_handle()  # the app knows which methods there are
        else:
            code = code if code < 500 else 400  # an HTTP version from the future is no failure of ours
            self._refuse(code, HTTPStatus(code).description or HTTPStatus(code).phrase)

    def _refuse(self, status: int, detail: str) -> None:
        """Answer and close, as the rest of what was sent is not read."""
        self._send_problem(status, detail, str(uuid.uuid4()), Connection="close")
        with suppress(OSError):  # closing over unread bytes would reset the connection, and the answer with it
            self.connection.shutdown(SHUT_WR)
            self.connection.settimeout(LINGER_S / 2)
            end = time.monotonic() + LINGER_S
            while time.monotonic() < end and self.connection.recv(65536):
                pass

    def _send_problem(self, status: int, detail: str, request_id: str, **headers: str) -> None:
        response = problem(status, detail, request_id)
        self._send_http_response(status, {**response.headers, **headers}, response.body)

    def _send_http_response(self, code: int, headers: dict[str, Any], body: str | bytes | None) -> None:
        data = body.encode() if isinstance(body, str) else body or b""
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self._send_headers(headers)
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing per request: paths carry user ids."""


class Server(ThreadedHTTPServer):
    """A thread per connection, and a bound on connections."""

    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread, or say in a word that there are too many."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.sendall(_busy())
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what is a fault of ours; clients that hang up are not."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _busy() -> bytes:
    response = problem(503, "too many connections; try again", str(uuid.uuid4()))
    headers = {**response.headers, "Connection": "close", "Content-Length": str(len(response.body))}
    lines = ["HTTP/1.1 503 Service Unavailable", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", response.body]).encode()


def _warm_up() -> None:
    """Load the models before anybody asks; what is in the way of that, /health/ready says."""
    with suppress(RecsysError):
        warm_up().ready()


def main() -> int:
    """Serve until interrupted; 2 for settings that cannot be used, 5 when the port cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--open", action="store_true", help="let everybody in, whatever keys there are")
    options = parser.parse_args()
    if options.open:
        os.environ["RECSYS_AUTH"] = "open"
    from app import app

    config = Config.create(project_dir=str(HERE), chalice_app=app, chalice_stage="dev")
    try:
        service(), gate()
        with suppress(StorageError):  # what is in the way of that, lists say
            cursor_key()
        server = LocalDevServer(app, config, options.host, options.port, handler_cls=Gateway, server_cls=Server).server
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, OverflowError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        reason = "is already in use" if taken else f"cannot be had: {getattr(error, 'strerror', None) or error}"
        print(f"error: port {options.port} of {options.host} {reason}. Choose another with --port", file=sys.stderr)
        return 5
    is_open = _is_open()
    if is_open and not options.open and not ipaddress.ip_address(server.server_address[0]).is_loopback:
        print(
            f"error: anyone who reaches {options.host} could read and write. Add a key (recsys keys add), set "
            "RECSYS_AUTH=required, or say --open",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was counted is stored
    threading.Thread(target=_warm_up, daemon=True).start()
    how = "open to all who reach it, as there is no key" if is_open else "with keys"
    with suppress(KeyboardInterrupt):
        url = f"http://{options.host}:{server.server_port}"
        print(f"Serving {url} ({how}; Ctrl-C ends it), the console at {url}/console", flush=True)
        server.serve_forever()
    server.server_close()
    gate().close()
    return 0


def _strange(headers: Message) -> str | None:
    """Return why a request to an open server may come from a web page of elsewhere in a browser of this machine.

    Such a page has its own name stand for this machine (DNS rebinding), or sends what needs no leave of ours, as a POST
    without a body.
    """
    if not all(_is_here(f"//{one}") for one in headers.get_all("host", [])):
        return "without keys this server is asked as localhost or 127.0.0.1"
    if not all(_is_here(one) or one in listed_origins() for one in headers.get_all("origin", [])):
        return "without keys this server takes nothing from pages that are not of this machine or in RECSYS_CORS"
    return None


def _is_here(url: str) -> bool:
    """Whether a URL names this machine, whatever name servers say."""
    with suppress(ValueError):
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    return False


def _is_open() -> bool:
    """Whether everybody is let in; who cannot tell, as the store is out of reach, must not serve beyond loopback."""
    try:
        return gate().is_open
    except RecsysError:
        return True


if __name__ == "__main__":
    sys.exit(main())
