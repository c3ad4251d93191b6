"""The API on loopback over Chalice's local gateway: ``python chalice_app/server.py --port 8000``.

Chalice's own ``chalice local`` serves the same app; this one also bounds bodies, answers the gateway's errors as
problems and says in one line why it cannot start.
"""

import argparse
import errno
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from chalice.config import Config  # noqa: E402 - the app is a folder, not an installed package
from chalice.local import ChaliceRequestHandler, LocalDevServer, LocalGatewayException  # noqa: E402

from chalicelib.responses import problem  # noqa: E402

MAX_BODY_BYTES = 10 * 1024 * 1024  # what API Gateway takes


class Gateway(ChaliceRequestHandler):
    """Chalice's local gateway with bounded bodies and problems for errors."""

    timeout = 30  # seconds a silent connection may hold a thread

    def _generic_handle(self) -> None:
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers:
            self._refuse(411, "send a Content-Length")
        elif not (length.isascii() and length.isdigit()):
            self._refuse(400, "the Content-Length is not a number")
        elif int(length[:20]) > MAX_BODY_BYTES:
            self._refuse(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")
        else:
            super()._generic_handle()

    def _send_error_response(self, error: LocalGatewayException) -> None:
        found = json.loads(error.body or b"{}").get("message") or "the gateway refuses the request"
        status = error.CODE
        if found == "Missing Authentication Token" or found.startswith("Authorization header requires"):
            status, found = 404, f"there is no route {self.path.split('?')[0][:200]}"
        self._send_problem(status, found, dict(error.headers).get("x-amzn-RequestId", ""))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the HTTP layer itself refuses: a bad request line, headers too large, an unknown method."""
        self._refuse(405 if code == 501 else code, message or "the request is not understood")

    def _refuse(self, status: int, detail: str) -> None:
        self.close_connection = True  # the body was not read
        self._send_problem(status, detail, "")

    def _send_problem(self, status: int, detail: str, request_id: str) -> None:
        response = problem(status, detail, request_id)
        self._send_http_response(status, dict(response.headers), response.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing per request: paths carry user ids."""


def main() -> int:
    """Serve until interrupted; 5 when the port cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    from app import app

    config = Config.create(project_dir=str(HERE), chalice_app=app, chalice_stage="dev")
    try:
        server = LocalDevServer(app, config, options.host, options.port, handler_cls=Gateway)
    except OSError as error:
        reason = "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror}"
        print(f"error: port {options.port} of {options.host} {reason}. Choose another with --port", file=sys.stderr)
        return 5
    print(f"Serving http://{options.host}:{server.server.server_port} (Ctrl-C ends it)", flush=True)
    try:
        server.server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
