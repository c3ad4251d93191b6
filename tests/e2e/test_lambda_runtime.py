"""The entry point of the image as a Lambda: the real runtime client, over a stand-in of Lambda's Runtime API."""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from threading import Thread

import pytest

pytest.importorskip("awslambdaric", reason="its wheels are for Linux")


class RuntimeApi(BaseHTTPRequestHandler):
    """Hands out one event after the other, and keeps what comes back."""

    def do_GET(self):
        try:
            event = self.server.events.get(timeout=20)
        except Empty:
            return
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "1")
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:f")
        self.send_header("Lambda-Runtime-Deadline-Ms", "4102444800000")
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0")
        self._body(json.dumps(event).encode())

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.put((self.path.rpartition("/")[2], json.loads(sent)))
        self.send_response(202)
        self._body(b"{}")

    def _body(self, content):
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def api():
    server = ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
    server.daemon_threads, server.events, server.answers = True, Queue(), Queue()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_handler_answers_and_a_refusal_has_its_name_and_words(api, tmp_path):
    address = f"127.0.0.1:{api.server_address[1]}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    environment = clean | {"AWS_LAMBDA_RUNTIME_API": address}
    command = [sys.executable, "-m", "awslambdaric", "batch_jobs.handlers.ingest"]
    event = {"run": "r1", "job": {"namespace": "shop"}, "compute": "lambda"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as runtime:
        try:
            api.events.put(event)
            kind, answer = api.answers.get(timeout=60)
            assert (kind, answer["ingest"]["events_from_files"], answer["job"]) == ("response", 0, event["job"])
            for job, words in (({"model": {"kind": "svd"}}, "'svd' is not known"), (None, "the event has no settings")):
                api.events.put(event | {"job": job})
                kind, answer = api.answers.get(timeout=60)
                assert (kind, answer["errorType"]) == ("error", "ConfigError")
                assert words in answer["errorMessage"]
        finally:
            runtime.kill()
